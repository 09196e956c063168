"""A rollout that went to another rank is the same; one of which only the outcome went decides the same."""

import operator
import pickle
from dataclasses import replace

import numpy as np
import pytest

from r1lab.distributed import exchange
from r1lab.distributed.partition import by_tokens
from r1lab.objective import build
from r1lab.objective.group import Keep
from r1lab.objective.samples import prepared_updates, samples_of_group
from r1lab.recipe import ObjectiveConfig
from r1lab.records import Group, Role, Scored, Settled, TurnRecord
from r1lab.run import journal
from r1lab_verifiers.verdict import Verdict


def sent(scored, is_whole):
    """To another rank and back; both have the request."""
    whole = exchange._sent(scored, scored.rollout.request)
    wire = pickle.dumps(whole if is_whole else exchange._outcome(whole))
    return exchange._received(pickle.loads(wire), scored.rollout.request), len(wire)


def hard(make_rollout):
    """Roles mixed, log-probabilities that are not finite, no token at all, turns, verdicts that steps and texts hang
    on, a request of the episode's own."""
    mixed = make_rollout((5, 6), range(7, 13), role=[Role.PREFIX, Role.POLICY, Role.CONTEXT] * 2, index=1)
    broken = make_rollout((5,), (7, 8), index=2)
    broken.engine_logprobs[1] = np.nan
    turn = TurnRecord(
        2, 3, 1.0, {"text": "a", "observation": "b", "verdict": {"score": 0.0, "status": "crash"}, "failed": True}
    )
    episode = replace(make_rollout((5,), (70_000, 8, 9), index=4), turns=(turn,))
    verdict = Verdict(0.0, "wrong", "7", "not 8", ((3, 1.0),))
    error = Verdict(None, "error", reason="the verifier fell over")
    plain = make_rollout((5, 6, 7), range(40, 60))
    return [
        Scored(plain, verdict, 0.5, {"score": 0.5}, {"format": verdict}, verdict, {"it": ((1, 0.25),)}, ((20, 1.0),)),
        Scored(mixed, error, None), Scored(broken, verdict, 1.0), Scored(make_rollout((5,), (), index=3), verdict, 0.0),
        Scored(episode, verdict, -1.0, replayed_from="train/rl:1:2"), Scored(plain, None, 1.0),
    ]  # fmt: skip


def test_a_whole_rollout_arrives_as_it_was(make_rollout):
    for scored in hard(make_rollout):
        found, _ = sent(scored, True)
        assert {**vars(found), "rollout": None} == {**vars(scored), "rollout": None}
        ours, theirs = found.rollout, scored.rollout
        assert (ours.completion_ids, ours.finish, ours.text, ours.turns) == (
            theirs.completion_ids, theirs.finish, theirs.text, theirs.turns)  # fmt: skip
        assert type(ours.completion_ids) is tuple and ours.request == theirs.request
        for name in ("role", "version", "engine_logprobs"):
            mine, true = getattr(ours, name), getattr(theirs, name)
            assert mine.dtype == true.dtype
            np.testing.assert_array_equal(mine, true)


def test_what_decides_is_the_same_without_the_tokens(make_rollout):
    names = ("num_sampled", "num_trained", "length", "is_truncated", "failure")
    for scored in hard(make_rollout):
        found, _ = sent(scored, False)
        ours, theirs = found.rollout, scored.rollout
        assert len(ours.completion_ids) == len(theirs.completion_ids) and ours.text == ""
        assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]
        outcomes = ("reward", "parts", "score", "is_sampled", "is_fresh", "steps", "raw")
        assert [getattr(found, name) for name in outcomes] == [getattr(scored, name) for name in outcomes]
        assert (found.failed and found.failed.reason) == (scored.failed and scored.failed.reason)
        assert (found.verdict and found.verdict.status) == (scored.verdict and scored.verdict.status)
        policy = theirs.role == Role.POLICY
        assert (np.isfinite(ours.engine_logprobs) == np.isfinite(theirs.engine_logprobs))[policy].all()


def test_ids_that_are_elsewhere_are_never_read_by_mistake(make_rollout):
    absent = sent(hard(make_rollout)[0], False)[0].rollout.completion_ids
    for read in (list, tuple, lambda ids: ids[0], lambda ids: ids[:1], lambda ids: (1, *ids)):
        with pytest.raises(RuntimeError, match="on another rank"):
            read(absent)
    with pytest.raises(TypeError):
        operator.add((1, 2), absent)


@pytest.mark.parametrize("preset", ["default", "grpo", "dapo", "gspo", "rloo", "pods"])
def test_advantages_scales_and_shares_are_those_of_whole_rollouts(make_group, preset):
    objective = build(ObjectiveConfig(preset=preset), max_new_tokens=16, group_size=4)
    groups = [make_group([0, 1, 1, 0.5], draw, [3, 9, 1, 4]) for draw in range(3)]
    light = [Group(each.draw, tuple(sent(member, False)[0] for member in each.members)) for each in groups]
    found = []
    for block in (groups, light):
        decisions = [objective.rule.settle(group) for group in block]
        kept = [decision.group for decision in decisions if isinstance(decision, Keep)]
        samples = [sample for group in kept for sample in samples_of_group(objective, group)]
        (batch,) = prepared_updates(objective, [samples], 1)
        shares = by_tokens([sample for sample in batch if not sample.left_out], 2)
        found.append(
            (shares, [(sample.left_out, sample.advantage.tolist(), sample.scale.tolist()) for sample in batch])
        )
    assert found[0] == found[1]


def test_an_outcome_takes_no_room_for_its_tokens(make_rollout):
    sizes = [
        sent(Scored(make_rollout((5,), range(count)), Verdict(1.0, "correct"), 1.0), False)[1] for count in (9, 9000)
    ]
    assert sizes[1] - sizes[0] < 20
    whole = sent(Scored(make_rollout((5,), range(9000)), Verdict(1.0, "correct"), 1.0), True)[1]
    assert whole < 9000 * 8 + 2000  # ids and log-probabilities


def test_a_block_that_came_from_other_ranks_is_journalled_as_one_that_did_not(make_group, tmp_path):
    groups = [make_group([0, 1, None], draw) for draw in range(2)]
    came = [Group(each.draw, tuple(sent(member, True)[0] for member in each.members)) for each in groups]
    for name, block in (("own", groups), ("came", came)):
        journal.write_block(tmp_path / name, [Settled(group, group, "kept") for group in block])
    assert (tmp_path / "own").read_bytes() == (tmp_path / "came").read_bytes()


def test_one_process_samples_all_and_delivers_nothing(make_rollout):
    requests = [make_rollout((1,), (2,), draw=draw).request for draw in range(3)]
    assert exchange.gathered(requests, list, is_lean=True) == requests
    assert exchange.delivered(samples := []) is samples
