"""How a step's groups come about, with an engine and a judge that are a few lines each."""

from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from r1lab.engines.sync import publish
from r1lab.errors import RunError
from r1lab.feed import JUDGED_FROM_ROLLOUTS, ErrorWindow, Feed
from r1lab.objective import build
from r1lab.objective.group import Again, All, Keep
from r1lab.objective.samples import samples_of_group
from r1lab.policy.models import load_tokenizer
from r1lab.recipe import ObjectiveConfig
from r1lab.records import Group, Role, Rollout, Settled
from r1lab.rollout.renderer import Renderer
from r1lab.rollout.reward import Reward
from r1lab.rollout.sampler import Sampler
from r1lab.seeds import derive
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

PROBLEMS = {f"p{i}": Problem(f"p{i}", f"{i}+1", str(i + 1), source="s", solution=f" {i + 1}") for i in range(40)}
RIGHT, WRONG, ERROR = Verdict(1.0, "correct"), Verdict(0.0, "wrong"), Verdict(None, "error", reason="no gold")


class Engine:
    """Finishes the last request first."""

    has_own_layout = takes_adapter = False
    shared_names = ()

    def __init__(self):
        self.version, self.queue, self.waves, self.states = -1, [], [], []

    def wake(self):
        self.states.append("awake")

    def sleep(self):
        self.states.append("asleep")

    def submit(self, requests):
        self.queue += requests
        self.waves.append([request.id for request in requests])

    def completed(self):
        while self.queue:
            request = self.queue.pop()
            yield Rollout(
                request, (7,), np.zeros(1, np.int8), np.zeros(1, np.float32), np.zeros(1, np.int32), "eos", ""
            )

    def abort(self, ids):
        pass

    def sync(self, named_tensors, version):
        self.version, self.tensors = version, dict(named_tensors)


def done(verdict):
    future = Future()
    future.set_result(verdict)
    return future


@pytest.fixture
def feed(tiny_model, make_stage):
    """A feed whose judge answers by (draw, index); `objective` are knobs, `rule` replaces the group rule."""

    def make(verdict_of, rule=None, reward=None, max_error_rate=0.02, **knobs):
        stage = make_stage(group_size=3, prompts_per_step=4, max_error_rate=max_error_rate)
        objective = build(ObjectiveConfig(**knobs), max_new_tokens=8, group_size=3)

        def judge(rollout, problem):
            assert problem.id == rollout.request.problem_id
            return {"score": done(verdict_of(rollout.request.id.draw, rollout.request.id.index))}

        return Feed(
            stage=stage, seed=5, sampler=Sampler({"s": list(PROBLEMS.values())}, [1.0], 5), problems=PROBLEMS,
            renderer=Renderer(load_tokenizer(str(tiny_model))), engine=Engine(),
            verification=SimpleNamespace(submit=judge),
            rewards={"s": Reward(reward or {"score": 1.0}, max_new_tokens=8)},
            objective=replace(objective, rule=rule) if rule else objective,
        )  # fmt: skip

    return make


def by_index(draw, index):
    return RIGHT if index == 0 else WRONG


def numbers(block):
    return [settled.drawn.draw.number for settled in block]


def test_groups_come_in_draw_order_whatever_finished_first(feed):
    made = feed(by_index)
    block = made.block(4)
    assert numbers(block) == [0, 1, 2, 3] and {settled.reason for settled in block} == {"kept"}
    for settled in block:
        assert [m.rollout.request.id.index for m in settled.drawn.members] == [0, 1, 2]
        assert [m.reward for m in settled.kept.members] == [1.0, 0.0, 0.0]
    assert len(made.engine.waves) == 1


def test_requests_are_named_seeded_and_rendered_by_draw_and_index(feed):
    made = feed(by_index)
    request = made.block(2)[1].drawn.members[2].rollout.request
    assert str(request.id) == "train/rl:1:2" and request.seed == derive(5, "train/rl", 1, 2)
    problem = made.sampler.draw(1, 1, 3)[0].problem
    assert request.problem_id == problem.id and request.prompt_ids == made.maker.renderer.render(problem)
    assert (request.sampling.temperature, request.sampling.max_new_tokens) == (1.0, 512)


def test_a_block_changes_nothing_until_it_is_observed(feed):
    made = feed(by_index)
    assert numbers(made.block(4)) == numbers(made.block(4)) == [0, 1, 2, 3]
    made.observe(made.block(4))
    assert numbers(made.block(2)) == [4, 5]


def uneven(draw, index):
    """Draws 0, 2 and 5 have no variance."""
    return WRONG if draw in (0, 2, 5) else by_index(draw, index)


def test_a_wave_draws_what_is_missing_and_throws_nothing_away_and_ranks_agree_on_servers_before_each(feed):
    made, agreed = feed(uneven, preset="dapo"), []
    made.engine.shared_names = ("a server",)
    made.engine.agree = lambda: agreed.append(len(made.engine.waves))
    block = made.block(4)
    assert numbers(block) == [0, 1, 2, 3, 4, 5, 6]  # 4, then 2 missing, then 1
    assert [len(wave) for wave in made.engine.waves] == [12, 6, 3]
    assert agreed == [0, 1, 2]
    assert [settled.reason for settled in block if settled.kept is None] == ["zero_variance"] * 3
    made.observe(block)
    assert numbers(made.block(1)) == [7]


def test_refill_ends_at_max_draws_times_the_problems_of_a_step(feed):
    made = feed(lambda draw, index: WRONG, preset="dapo", group={"refill": {"max_draws": 2}})
    block = made.block(4)
    assert numbers(block) == list(range(8)) and not any(settled.kept for settled in block)
    late = feed(lambda draw, index: WRONG if draw < 7 else by_index(draw, index), preset="dapo",
                group={"refill": {"max_draws": 2}})  # fmt: skip
    assert [bool(settled.kept) for settled in late.block(4)] == [False] * 7 + [True]
    assert len(feed(lambda draw, index: WRONG).block(4)) == 4  # without a rule that drops, one wave


@dataclass(frozen=True)
class UntilRight(All):
    """One more sample a wave until one is right, at most `most`."""

    most: int = 5

    def settle(self, group):
        last = group.members[-1].rollout.request
        if any(member.reward == 1.0 for member in group.members) or len(group.members) >= self.most:
            return Keep(group)
        number = last.id.index + 1
        seed = derive(5, last.id.purpose, last.id.draw, number)
        return Again([replace(last, id=last.id._replace(index=number), seed=seed)])


def test_a_rule_may_ask_again_and_the_group_settles_with_all_its_members(feed):
    made = feed(lambda draw, index: RIGHT if index == 3 + draw else WRONG, rule=UntilRight())
    block = made.block(3)
    assert numbers(block) == [0, 1, 2] and [len(settled.kept.members) for settled in block] == [4, 5, 5]
    assert [len(wave) for wave in made.engine.waves] == [9, 3, 2]
    assert [member.rollout.request.id.index for member in block[1].kept.members] == [0, 1, 2, 3, 4]


def test_errors_leave_the_group_before_the_baseline_and_stay_in_what_was_drawn(feed):
    made = feed(lambda draw, index: ERROR if index == 1 else by_index(draw, index))
    settled = made.block(1)[0]
    assert [member.reward for member in settled.drawn.members] == [1.0, None, 0.0]
    assert [member.reward for member in settled.kept.members] == [1.0, 0.0]
    assert [sample.advantage[0] for sample in samples_of_group(made.objective, settled.kept)] == [0.5, -0.5]


@pytest.mark.parametrize("advantage, errors, reason", [("mean", 1, "kept"), ("mean", 2, "error"), ("mean", 3, "error"),
                                                       ("raw", 2, "kept"), ("raw", 3, "error")])  # fmt: skip
def test_a_group_of_too_few_is_dropped(feed, advantage, errors, reason):
    group = {"select": "all"}
    made = feed(lambda draw, index: ERROR if index < errors else RIGHT, advantage=advantage, group=group)
    settled = made.block(1)[0]
    assert (
        settled.reason == reason and len(settled.drawn.members) == 3 and (settled.kept is None) == (reason == "error")
    )


def test_a_part_of_the_reward_that_is_an_error_is_one_too(feed):
    class Verification:
        """The format verifier fails on the first of a group."""

        def submit(self, rollout, problem):
            return {"score": done(RIGHT), "format": done(RIGHT if rollout.request.id.index else ERROR)}

    made = feed(by_index, reward={"score": 1.0, "format": 0.5}, group={"select": "all"})
    made.verification = Verification()
    settled = made.block(1)[0]
    assert [member.reward for member in settled.drawn.members] == [None, 1.5, 1.5]
    assert settled.kept.members[0].verdicts == {"format": RIGHT}


@dataclass(frozen=True)
class Shown(All):
    """Two samples beside the problem's solution."""

    def plan(self, draw, make):
        return [make.request(draw, 0), make.demonstration(draw, 1), make.request(draw, 2)]


def test_a_plan_may_hold_a_demonstration_which_no_verifier_sees(feed):
    members = feed(lambda draw, index: WRONG, rule=Shown()).block(1)[0].kept.members
    assert [member.reward for member in members] == [0.0, 1.0, 0.0] and members[1].verdict is None
    shown = members[1].rollout
    assert set(shown.role) == {Role.DEMO} and np.isnan(shown.engine_logprobs).all() and shown.completion_ids[-1] == 1


@pytest.mark.parametrize("advantage", ["mean", "raw"])
def test_a_demonstration_does_not_save_a_group_whose_samples_could_not_be_judged(feed, advantage):
    settled = feed(lambda draw, index: ERROR, rule=Shown(), advantage=advantage).block(1)[0]
    assert settled.kept is None and settled.reason == "error"


def test_the_policys_weights_go_to_the_engine_once_a_version_and_wake_it(feed, make_policy):
    made, policy = feed(by_index), make_policy()
    made.block(1)
    publish(made.engine, policy)
    tensors = made.engine.tensors
    publish(made.engine, policy)
    assert publish(None, policy) is False
    assert made.engine.version == policy.version and made.engine.tensors is tensors
    assert made.engine.states == ["awake", "asleep", "awake"]
    assert set(tensors) == {name for name, _ in policy.model.named_parameters()}


ABSTAINED = Verdict(None, "abstained")


def test_rollouts_that_the_verifier_abstains_from_leave_their_group(feed):
    made = feed(lambda draw, index: ABSTAINED if index == 1 else by_index(draw, index))
    settled = made.block(1)[0]
    assert [m.reward for m in settled.drawn.members] == [1.0, None, 0.0] and len(settled.kept.members) == 2
    settled = feed(lambda draw, index: ABSTAINED).block(1)[0]
    assert (settled.kept, settled.reason) == (None, "abstained")
    settled = feed(lambda draw, index: ERROR if index else ABSTAINED).block(1)[0]
    assert (settled.kept, settled.reason) == (None, "error")


def test_abstentions_never_end_the_run(make_group):
    window = ErrorWindow(0.0)
    window.observe(judged(make_group, *[ABSTAINED] * 100, *[RIGHT] * 180))
    assert sum(window.recent) == 0 and len(window.recent) == 280


def judged(make_group, *verdicts):
    """A block of one group with these verdicts."""
    group = make_group([verdict.score for verdict in verdicts])
    members = tuple(replace(m, verdict=v) for m, v in zip(group.members, verdicts))
    return [Settled(Group(group.draw, members), None, "any")]


def test_errors_past_the_limit_end_the_run_from_200_rollouts_on(make_group):
    window = ErrorWindow(0.02)
    window.observe(judged(make_group, *[ERROR] * (JUDGED_FROM_ROLLOUTS - 1)))
    with pytest.raises(RunError, match=r"200 of the last 200 rollouts could not be judged .*: no gold; mend it"):
        window.observe(judged(make_group, ERROR))


def test_the_reason_given_is_the_last_errors_also_of_an_earlier_step_or_part(make_group):
    window = ErrorWindow(0.02)
    window.observe(judged(make_group, *[ERROR] * (JUDGED_FROM_ROLLOUTS - 1)))
    with pytest.raises(RunError, match=r"199 of the last 200 .*: no gold; mend it"):
        window.observe(judged(make_group, RIGHT))


def test_errors_up_to_the_limit_do_not(make_group):
    window = ErrorWindow(0.02)
    window.observe(judged(make_group, *[ERROR] * 4, *[RIGHT] * 196))
    with pytest.raises(RunError, match="5 of the last 201"):
        window.observe(judged(make_group, ERROR))


def test_what_was_the_completions_fault_never_counts(make_group):
    window = ErrorWindow(0.0)
    blamed = [Verdict(0.0, status) for status in ("timeout", "crash", "wrong", "no_answer", "unparsable", "undecided")]
    window.observe(judged(make_group, *blamed * 50))
    assert sum(window.recent) == 0


def test_only_the_last_1000_count_and_a_resume_remembers_them(make_group):
    window, again = ErrorWindow(0.5), ErrorWindow(0.5)
    window.observe(judged(make_group, *[ERROR] * 100, *[RIGHT] * 400))
    again.load_state_dict(window.state_dict())
    assert sum(again.recent) == 100
    again.observe(judged(make_group, *[RIGHT] * 900))
    assert len(again.recent) == 1000 and sum(again.recent) == 0


def test_state_comes_back(feed):
    made, again = feed(by_index, max_error_rate=1.0), feed(by_index, max_error_rate=1.0)
    made.observe(made.block(4))
    again.load_state_dict(made.state_dict())
    assert numbers(again.block(2)) == [4, 5] and list(again.errors.recent) == [0] * 12


@dataclass(frozen=True)
class Insists(All):
    """Asks for the same completions until one is right."""

    def settle(self, group):
        if any(member.reward for member in group.members):
            return Keep(group)
        request = group.members[0].rollout.request
        return Again([replace(request, id=request.id._replace(index=7))])


def test_a_rule_that_asks_again_for_what_could_not_be_judged_ends(feed):
    made = feed(lambda draw, index: ERROR if index == 7 else WRONG, rule=Insists())
    settled = made.block(1)[0]
    assert settled.kept is None and settled.reason == "error" and len(settled.drawn.members) == 4
