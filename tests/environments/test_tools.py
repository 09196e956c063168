"""Programs and functions of a turn, run and answered; whatever they do, the episode goes on."""

import os
from concurrent.futures import Future
from pathlib import Path

import pytest

from r1lab.environments.host import Host
from r1lab.environments.resolve import resolve
from r1lab.environments.tools import Tools
from r1lab_data import Problem

pytestmark = pytest.mark.sandbox
PROBLEM = Problem("p", "?", "17")
SHARED = os.environ.get("R1LAB_SHARED", "")
HOSTILE = sorted(Path(SHARED, "cases", "programs").glob("**/*.py")) if SHARED else []


@pytest.fixture(scope="module")
def play(worlds):
    """play(tools, *turns) -> what was answered to each turn."""
    host = Host(workers=2, deadline=2.0, memory_mb=1024, import_paths=(str(worlds),))

    def played(tools, *turns, seed=5, by=host, **settings):
        world = by.world(resolve("tools", {"tools": tools, **settings}), PROBLEM, seed, "k", 0)
        world.start().result()
        return [world.step(turn).result() for turn in turns]

    yield played
    host.close()


def run(code: str) -> str:
    return f"<tool>{code}</tool>"


def test_names_last_from_one_call_to_the_next_and_output_is_that_of_the_call(play):
    answers = play(["python"], run("x = 3\nprint('once')"), run("def f(n): return n + x"), run("print(f(4))"))
    assert [each["observation"] for each in answers] == ["once", "(nothing was printed)", "7"]


def test_a_call_that_raises_keeps_what_it_did_before_and_says_where(play):
    _, failed, after = play(["python"], run("a = 1"), run("a = 2\nprint('at')\n1/0"), run("print(a)"))
    assert failed["observation"] == "at\nline 3, in <module>\nZeroDivisionError: division by zero"
    assert failed["info"] == {"calls": 1, "failed_calls": 1} and after["observation"] == "2"


def test_equal_calls_give_equal_answers(play):
    code = "import random\nprint(random.random(), {'a', 'b', 'c'}, hash('x'), object())"
    first, second = play(["python"], run(code))[0], play(["python"], run(code))[0]
    assert first == second and "0x..." in first["observation"]
    assert play(["python"], run(code), seed=6)[0] != first


def test_several_calls_of_a_turn_are_answered_in_their_order(play):
    tools = ["python", "worlds_of_tests:slow_add"]
    (answer,) = play(tools, run("slow_add(1, 2)") + run("print('p')") + run("slow_add(a=5)") + run("slow_add(3, 4)"))
    assert answer["observation"] == "3\np\nerror: slow_add: argument 'b' is missing; it takes a, b\n7"
    assert answer["info"] == {"calls": 4, "failed_calls": 1} and not answer["done"]


def test_a_turn_without_a_call_is_the_end(play):
    (answer,) = play(["python"], "The answer is 4.")
    assert answer["done"] and answer["observation"] is None


@pytest.mark.parametrize("tool", ["hangs", "dies", "fails"])
def test_a_function_that_fails_is_answered_and_the_episode_goes_on(play, hasty_host, tool):
    by = {"by": hasty_host} if tool == "hangs" else {}
    failed, after = play([f"worlds_of_tests:{tool}", "python"], run(f"{tool}('x')"), run("print(1)"), **by)
    assert failed["observation"].startswith("error: ") and after["observation"] == "1"


def test_limits_of_a_call_and_of_an_episode_end_programs(play):
    slow, after, spent = play(
        ["python"], run("while True: pass"), run("print(1)"), run("print(2)"), call_seconds=0.3, episode_seconds=0.2
    )
    assert slow["observation"] == "error: too slow" and slow["info"]["timeouts"] == 1
    assert after["observation"] == spent["observation"] == "error: the time for programs is used up"


def test_a_flood_of_output_is_cut_or_ended(play):
    long, flood = play(["python"], run("print('ab' * 40_000)"), run("while True: print('x' * 10000)"))
    assert len(long["observation"]) < 21_000 and "characters cut" in long["observation"]
    assert "error: over its output limit" in flood["observation"]


@pytest.mark.parametrize("ends", [
    "import os; os._exit(0)", "import os, sys; os.execv(sys.executable, [sys.executable, '-c', '1'])",
])  # fmt: skip
def test_a_call_that_ends_its_own_process_ends_no_later_one(play, ends):
    _, first, after, left = play(["python"], run("x = 1"), run(ends), run("print(x)"), run("import sys; sys.exit()"))
    assert "error: " in first["observation"] and after["observation"] == "1"
    assert "error" not in left["observation"]


@pytest.mark.skipif(not HOSTILE, reason="hostile programs lie in $R1LAB_SHARED/cases/programs")
@pytest.mark.slow
@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.stem)
def test_hostile_programs_are_contained_and_the_episode_goes_on(play, path):
    hostile, after = play(["python"], f"```python\n{path.read_text()}\n```\n", run("print('alive')"), call_seconds=1.0)
    assert isinstance(hostile["observation"], str) and len(hostile["observation"]) < 25_000
    assert "alive" in after["observation"] or "error" in after["observation"]


class CountedCalls:
    """Means that answer at once, and count."""

    def __init__(self):
        self.called = []

    def call(self, path, arguments, seed):
        self.called.append(arguments["x"])
        done = Future()
        done.set_result(("error: the call took too long", "timeout") if arguments["x"] == "hang" else ("fine", "ok"))
        return done


@pytest.mark.parametrize(
    ("turns", "called", "last"),
    [
        (["hang"] * 2 + ["a"], ["hang", "hang", "a"], "fine"),
        (["hang"] * 3 + ["a"], ["hang"] * 3, "error: 3 calls took too long; no function is called any more"),
        (["a", "hang", "a", "hang", "a"], ["a", "hang", "a", "hang", "a"], "fine"),
        (["a"] * 9, ["a"] * 9, "fine"),
    ],
)
def test_an_episode_cannot_hang_on_and_on(worlds, turns, called, last):
    means = CountedCalls()
    tools = Tools(PROBLEM, 0, ["worlds_of_tests:fails"], means=means)
    answers = [tools.step(run(f"fails({x!r})")) for x in turns]
    assert means.called == called and answers[-1].observation == last and not answers[-1].done
