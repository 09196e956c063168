"""An instance is a cache, a failure has somebody to blame, and nothing is left behind."""

import gc
import itertools
import os

import pytest

from r1lab.environments.host import Host
from r1lab.environments.pool import Broken
from r1lab.environments.resolve import resolve
from r1lab_data import Problem

PROBLEM = Problem("p", "?", "17")
NUMBERS = itertools.count()


@pytest.fixture
def opened(host):
    """opened("Counter") -> a world that has started."""

    def make(name, by=host, **settings):
        number = next(NUMBERS)
        world = by.world(resolve(f"worlds_of_tests:{name}", settings), PROBLEM, 5, f"k{number}", number)
        world.start().result()
        return world

    return make


def test_an_episode_is_answered_turn_by_turn_and_judged_at_its_end(opened):
    world = opened("Counter", scale=3)
    assert world.step("a").result() == {
        "observation": "turn 3", "done": False, "reward": 0.5, "info": {"calls": 1}
    }  # fmt: skip
    assert world.step("end").result()["done"]
    assert world.end().result()["verdict"] == {"score": 1.0, "status": "correct", "extracted": None, "reason": ""}


def test_an_environment_without_a_verdict_says_nothing(opened):
    assert opened("Silent").end().result() == {"verdict": None}


def test_a_worker_that_is_killed_loses_nothing(opened):
    world = opened("Counter")
    world.step("a").result()
    os.kill(world.step("pid").result()["info"]["pid"], 9)
    assert world.step("b").result()["observation"] == "turn 3"


@pytest.mark.parametrize(
    ("action", "status"), [("die", "crash"), ("raise", "crash"), ("eat", "crash"), ("hang", "timeout")]
)
def test_an_action_that_breaks_its_world_twice_is_to_blame(opened, host, hasty_host, action, status):
    world = opened("Counter", hasty_host if action == "hang" else host)
    world.step("a").result()
    answer = world.step(action).result()
    assert isinstance(answer, Broken) and answer.status == status and answer.reason


@pytest.mark.parametrize(
    ("needs", "actions", "status"),
    [
        (0, ("a", "zero"), "crash"),
        (0, ("zero", "a"), "crash"),  # the last action is harmless: an episode of none has a verdict
        (0, ("die",), "crash"),
        pytest.param(0, ("hang",), "timeout", marks=pytest.mark.slow),
        (1, ("a", "zero"), "crash"),  # there is none before the first turn, and one behind it
        (1, (), "error"),
        (5, ("a",), "error"),
        (9, ("a", "zero"), "error"),
    ],
)
def test_a_verdict_that_fails_is_the_actions_fault_where_fewer_have_one(opened, needs, actions, status):
    world = opened("Fragile", needs=needs)
    for action in actions:
        world.step(action).result()
    answer = world.end().result()
    assert isinstance(answer, Broken) and answer.status == status


def test_a_verdict_that_is_none_and_numbers_beyond_a_table_do_no_harm(opened):
    world = opened("Fragile")
    assert world.step("big").result()["info"] == {"n": 2**62}
    assert world.end().result()["verdict"]["score"] == 0.5


@pytest.mark.parametrize("name", ["Broken", "Unmade"])
def test_a_world_that_cannot_even_begin_is_an_error_of_its_own(host, name):
    world = host.world(resolve(f"worlds_of_tests:{name}", {}), PROBLEM, 5, name, 0)
    started = world.start().result()
    if name == "Unmade":
        assert isinstance(started, Broken) and started.status == "error"


def test_the_first_action_is_to_blame_where_the_beginning_works(opened):
    assert opened("Broken").step("x").result().status == "crash"


@pytest.mark.parametrize("action", ["no turn", "nan"])
def test_what_is_no_answer_is_the_worlds_error_whatever_the_action(opened, action):
    answer = opened("Counter").step(action).result()
    assert isinstance(answer, Broken) and answer.status == "error" and "worlds_of_tests:Counter" in answer.reason


def test_a_replay_that_answers_otherwise_is_an_error(opened):
    world = opened("Forgetful")
    world.step("a").result()
    world.step("b").result()
    answer = world.step("die").result()
    assert answer.status == "error"


def test_a_pinned_world_is_not_played_again(opened):
    world = opened("Pinned")
    assert world.step("a").result()["observation"] == "turn 1"
    assert world.step("die").result().status == "error"


def test_what_is_drawn_depends_on_the_seed_and_the_turn_alone(opened):
    one, other = opened("Counter"), opened("Counter")
    first = one.step("draw").result()
    assert other.step("draw").result() == first
    assert one.step("draw").result() != first


def test_long_observations_are_cut_and_reserved_names_are_ours(opened):
    answer = opened("Counter").step("long").result()
    assert 100_000 < len(answer["observation"]) < 100_100 and "characters cut" in answer["observation"]
    assert answer["info"] == {"n": 2}


@pytest.mark.parametrize(
    ("name", "said", "status"),
    [
        ("slow_add", "3", "ok"),
        ("fails", "error: KeyError: 'x'", "failed"),
        ("hangs", "error: the call took too long", "timeout"),
        ("dies", "error: the worker ended without an answer", "crash"),
        ("grows", "error: ValueError: Exceeds the limit", "failed"),
    ],
)
def test_a_function_that_fails_answers_with_its_error(host, hasty_host, name, said, status):
    arguments = {"slow_add": {"a": 1, "b": 2}, "grows": {"x": 3}}.get(name, {"x": "x"})
    by = hasty_host if name == "hangs" else host
    answer = by.call(f"worlds_of_tests:{name}", arguments, 0).result()
    assert answer[0].startswith(said) and answer[1] == status


def test_a_function_draws_by_the_calls_seed(host):
    drawn = [host.call("worlds_of_tests:draws", {"x": ""}, seed).result() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_few_workers_serve_many_episodes_and_nothing_grows(worlds):
    with_workers = Host(workers=2, deadline=5.0, memory_mb=1024, import_paths=(str(worlds),))
    spec = resolve("worlds_of_tests:Counter", {})
    try:
        before = None
        for block in range(3):
            open_worlds = [with_workers.world(spec, PROBLEM, 5, f"{block}.{n}", n) for n in range(100)]
            [each.result() for each in [world.start() for world in open_worlds]]
            for turn in range(3):
                asked = [each.step("a") for each in open_worlds]
                assert {each.result()["observation"] for each in asked} == {f"turn {turn + 1}"}
            [each.result() for each in [world.end() for world in open_worlds]]
            gc.collect()
            now = len(os.listdir("/proc/self/fd"))
            before = now if before is None else before
            assert now <= before
    finally:
        with_workers.close()


def test_a_closed_host_leaves_no_process(worlds):
    made = Host(workers=2, deadline=2.0, memory_mb=1024, import_paths=(str(worlds),))
    world = made.world(resolve("worlds_of_tests:Counter", {}), PROBLEM, 5, "k", 0)
    world.start().result()
    pid = world.step("pid").result()["info"]["pid"]
    made.close()
    assert not os.path.exists(f"/proc/{pid}")
