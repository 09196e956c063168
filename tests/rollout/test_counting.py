"""What counts as sampled, as trained and as a length: by the role of each token, not by how many there are."""

from dataclasses import replace

import numpy as np
import pytest

from r1lab.objective.group import Gfpo
from r1lab.objective.mask import token_mask
from r1lab.records import Draw, Group, Role, Sample, Scored, Settled, TurnRecord
from r1lab.rollout.reward import Reward, length, repetition, soft_overlong
from r1lab.rollout.steps import steps_of_turns
from r1lab.run.ledger import Ledger
from r1lab.run.metrics import rollout_metrics
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

P, C = Role.POLICY, Role.CONTEXT
TURNS = (TurnRecord(2, 5), TurnRecord(6, 6, 1.0, {"calls": 1}))


@pytest.fixture
def episode(make_rollout):
    """Two turns of two and one sampled tokens, three observed between them."""
    made = make_rollout((3, 4), (7, 8, 20, 21, 22, 9), role=np.array([P, P, C, C, C, P]), finish="done")
    return replace(made, turns=TURNS)


def sample_of(rollout) -> Sample:
    numbers = np.ones(len(rollout.role), np.float32)
    return Sample(rollout, rollout.role, numbers, numbers)


def test_an_episode_counts_what_was_sampled(episode):
    assert (episode.num_sampled, episode.num_trained, episode.length) == (3, 3, 3)


def test_a_demonstration_is_as_long_as_what_it_teaches(make_rollout):
    shown = make_rollout((3,), (7, 8, 20), role=np.array([Role.DEMO, Role.DEMO, C]))
    assert (shown.num_sampled, shown.num_trained, shown.length) == (0, 2, 2)


def test_of_a_labelled_completion_every_token_is_read(make_rollout):
    assert make_rollout((3,), (7, 8, 20), role=np.array([C, C, Role.PAIR])).num_trained == 3


def test_forced_tokens_are_not_sampled_whatever_their_role(make_rollout):
    made = make_rollout((3,), (7, 8, 9))
    assert replace(made, request=replace(made.request, forced_ids=(7,))).num_sampled == 2


@pytest.mark.parametrize(
    ("finish", "is_cut"),
    [
        ("eos", False), ("stop", False), ("done", False), ("abort", False),
        ("length", True), ("turns", True), ("context", True),
    ],
)  # fmt: skip
def test_truncated_is_what_ended_at_a_limit_of_ours(make_rollout, finish, is_cut):
    made = make_rollout((3,), (7, 8), finish=finish)
    assert made.is_truncated == is_cut
    assert token_mask(sample_of(made), truncated="mask").counted.any() == (not is_cut)
    paid = Reward({"score": 1.0}, max_new_tokens=8, truncated="zero").scored(made, {"score": Verdict(1.0, "correct")})
    assert paid.reward == (0.0 if is_cut else 1.0)


def test_parts_of_the_reward_read_the_models_tokens_alone(episode):
    assert length(episode, target=1, max_new_tokens=4) == -0.5
    assert soft_overlong(episode, buffer=2, max_new_tokens=4) == -0.5
    assert repetition(replace(episode, completion_ids=(7, 8, 7, 8, 7, 8)), n=1) == pytest.approx(-1 / 3)  # 7, 8, 8


def test_ledger_and_metrics_count_observed_tokens_as_flops_only(episode):
    draw = Draw(0, Problem("p0", "1", "1", source="s"), 1)
    group = Group(draw, (Scored(episode, Verdict(1.0, "correct"), 1.0),))
    block, ledger = [Settled(group, group, "kept")], Ledger()
    ledger.rollouts(block, parameters=10)
    ledger.update([sample_of(episode)], forwarded_tokens=8, parameters=10)
    assert ledger.tokens["sampled"] == 3 and ledger.tokens["trained"] == 3
    assert ledger.flops["rollout"] == 2 * 10 * (2 + 3 + 3)
    assert rollout_metrics(block)["completion/mean"] == 3


def test_gfpo_keeps_the_members_of_fewest_sampled_tokens(episode, make_rollout):
    short = make_rollout((3, 4), (7, 8, 9, 10), index=1)  # four sampled tokens; the episode has six, of them three
    members = tuple(Scored(each, Verdict(1.0, "correct"), 1.0) for each in (short, episode))
    kept = Gfpo(keep=1).settle(Group(Draw(0, Problem("p0", "1", "1"), 2), members))
    assert [member.rollout for member in kept.group.members] == [episode]


def test_turns_rewards_are_steps_for_process_credit(episode):
    assert steps_of_turns(episode) == ((2, 0.0), (6, 1.0))
