"""Right completions of earlier steps come back as they were, with the log-probabilities they were sampled with."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

import r1lab
from r1lab.errors import RecipeError
from r1lab.objective import build
from r1lab.objective.replay import Replay
from r1lab.recipe import ObjectiveConfig
from r1lab.records import Draw, Group, Request, Settled
from r1lab_data import Problem

RUN = {
    "name": "replay", "prompts_per_step": 4, "group_size": 4, "max_new_tokens": 24, "threads": 1, "steps": 3,
    "data": {"task": "addition", "size": 4, "settings": {"digits": 1}}, "prompt": {"format": "Q: {prompt}\nA:"},
    "optimizer": {"warmup_updates": 0}, "workers": {"count": 1}, "learning_rate": 1e-3, "checkpoint_every": 1,
    "objective": {"preset": "rlep"},
}  # fmt: skip
FIRST = Problem("p0", "1+1", "2", source="s")


def rule(**knobs) -> Replay:
    group = {"select": "replay", **knobs}
    return build(ObjectiveConfig(group=group), max_new_tokens=16, group_size=4).rule


def sampled(made, make, answer, rewards, number):
    """The group of draw `number` of one problem, its requests answered with these rewards."""
    draw = Draw(number, FIRST, 4)
    given = iter(rewards)
    plan = made.plan(draw, make)
    members = tuple(answer(item, next(given)) if isinstance(item, Request) else item for item in plan)
    return Settled(Group(draw, members), Group(draw, members), "kept")


def test_the_newest_right_ones_stand_in_for_samples_and_come_back_as_they_were(make, answer):
    made = rule(keep=2, each=3)
    first = sampled(made, make, answer, [1.0, 0.0, 1.0, 0.0], 0)
    assert not any(member.replayed_from for member in first.drawn.members)
    made.observe([first])
    second = sampled(made, make, answer, [1.0, 0.0], 1)
    again = second.drawn.members[2:]
    assert [member.replayed_from for member in again] == ["train/rl:0:0", "train/rl:0:2"]
    assert [str(member.rollout.request.id) for member in again] == ["train/rl:1:2", "train/rl:1:3"]
    for member, before in zip(again, (first.drawn.members[0], first.drawn.members[2])):
        assert member.rollout.completion_ids == before.rollout.completion_ids and member.reward == before.reward
        assert member.rollout.engine_logprobs.tobytes() == before.rollout.engine_logprobs.tobytes()
        assert member.score == 1 and not member.is_fresh
    made.observe([second])  # of both steps the newest 3; a replayed one is not stored again
    assert [entry["from"] for entry in made.state_dict()["stored"]["p0"]] == [
        "train/rl:0:0", "train/rl:0:2", "train/rl:1:0"
    ]  # fmt: skip


def test_what_is_wrong_unpaid_or_not_all_sampled_is_not_stored_and_the_state_is_plain(make, answer):
    made = rule()
    settled = sampled(made, make, answer, [0.0, 1.0, 1.0, 1.0], 0)
    wrong, unpaid, *rest = settled.drawn.members
    made.observe([Settled(Group(settled.drawn.draw, (wrong, replace(unpaid, reward=None))), None, "error")])
    assert made.state_dict() == {"stored": {}}
    made.observe([Settled(Group(settled.drawn.draw, tuple(rest)), None, "kept")])
    other = rule()
    other.load_state_dict(json.loads(json.dumps(made.state_dict())))
    assert other.state_dict() == made.state_dict() and len(made.state_dict()["stored"]["p0"]) == 2
    assert rule() == made and rule().state_dict() == {"stored": {}}, "what one rule remembers no other does"


@pytest.mark.parametrize("knobs", [{"keep": 0}, {"keep": 4}, {"keep": 3, "each": 2}])
def test_there_must_be_a_sample_beside_and_room_for_what_is_kept(knobs):
    with pytest.raises(RecipeError, match=r"^objective\.group: keep . must be from 1 to below group_size 4"):
        rule(**knobs)


def test_a_run_replays_counts_what_it_sampled_alone_and_resumes_bit_for_bit(tmp_path):
    run = r1lab.train({**RUN, "out": str(tmp_path / "whole")})
    rows = [row for step in (2, 3) for row in pq.read_table(run.path / "rollouts" / f"rl-{step}.parquet").to_pylist()]
    again = [row for row in rows if row["replayed_from"]]
    assert again and all(row["score"] == 1 for row in again)
    first = pq.read_table(run.path / "rollouts" / "rl-1.parquet").to_pylist()
    sampled = sum(row["num_tokens"] for row in [*first, *rows] if not row["replayed_from"])
    assert run.metrics[-1]["tokens/sampled"] == sampled
    r1lab.train({**RUN, "out": str(tmp_path / "parts"), "steps": 2})
    parts = r1lab.train({**RUN, "out": str(tmp_path / "parts")})
    strip = lambda row: {key: value for key, value in row.items() if not key.startswith("time/")}  # noqa: E731
    assert list(map(strip, parts.metrics)) == list(map(strip, run.metrics))
