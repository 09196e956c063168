"""Demonstrations of unsolved problems wait until a whole update of them is due, and are learned in it alone."""

import json

import pytest

import r1lab
from r1lab.errors import RecipeError
from r1lab.loop import split_into_updates
from r1lab.objective.samples import prepared_updates
from r1lab.recipe import RlStageConfig
from r1lab.records import Role, Settled

GROUP = {"select": "set_aside", "batch": 2}
RUN = {
    "name": "relift", "prompts_per_step": 2, "group_size": 2, "max_new_tokens": 24, "threads": 1, "steps": 4,
    "data": {"task": "addition", "size": 8, "settings": {"digits": 3}}, "prompt": {"format": "Sum {prompt}"},
    "optimizer": {"warmup_updates": 0}, "workers": {"count": 1}, "learning_rate": 1e-3, "checkpoint_every": 1,
    "objective": {"preset": "relift", "group": {"batch": 3}},
}  # fmt: skip


@pytest.fixture
def objective(made):
    return made(preset="relift", group=GROUP)


@pytest.fixture
def block_of(objective, draw_group):
    """A settled step of groups with these rewards, observed."""

    def block_of(*rewards, first=0):
        groups = [draw_group(objective, each, number=first + place) for place, each in enumerate(rewards)]
        block = [Settled(group, objective.rule.settle(group).group, "kept") for group in groups]
        objective.rule.observe(block)
        return block

    return block_of


def updates(objective, block):
    stage = RlStageConfig(name="rl", data={"data": {"task": "addition"}}, steps=1, updates_per_step=2)
    return prepared_updates(objective, split_into_updates(block, objective, stage), 1)


def test_full_batches_of_unsolved_problems_are_one_more_update_and_the_rest_waits(objective, block_of):
    first = updates(objective, block_of([0.0, 1.0], [0.0, 0.0]))
    assert len(first) == 2, "one demonstration is no batch of two"
    assert all(Role.DEMO not in sample.role for batch in first for sample in batch)
    *policy, alone = updates(objective, block_of([0.0, 0.0], [0.0, 0.0], first=2))
    assert len(policy) == 2 and [sample.rollout.request.id.draw for sample in alone] == [1, 2]
    assert all((sample.role == Role.DEMO).all() and (sample.advantage == 1).all() for sample in alone)
    # Z = N x max_new_tokens, of the demonstrations alone: 2 x 16
    assert {float(scale) for sample in alone for scale in sample.scale} == {1 / 32}
    assert not any(sample.left_out for sample in alone)
    assert len(updates(objective, block_of([0.0, 1.0], [1.0, 1.0], first=4))) == 2, "a batch is learned once"


def test_what_waits_is_plain_and_comes_back_as_it_was(objective, block_of, made):
    block_of([0.0, 0.0])
    other = made(preset="relift", group=GROUP)
    other.load_state_dict(json.loads(json.dumps(objective.state_dict())))
    assert other.rule.state_dict() == objective.rule.state_dict()
    block = block_of([0.0, 0.0], first=1)
    other.rule.observe(block)
    ours, theirs = ([each.members[0] for each in rule.alone()] for rule in (objective.rule, other.rule))
    assert [each.rollout.completion_ids for each in ours] == [each.rollout.completion_ids for each in theirs]
    assert [each.rollout.request.prompt_ids for each in ours] == [each.rollout.request.prompt_ids for each in theirs]
    assert [each.rollout.role.tolist() for each in ours] == [each.rollout.role.tolist() for each in theirs]
    assert made(preset="relift", group=GROUP).rule.state_dict() == {"waiting": []}, "a rule remembers its own alone"


def test_a_group_that_could_not_be_judged_sets_nothing_aside(objective, draw_group):
    group = draw_group(objective, [0.0, 0.0])
    unpaid = tuple(member for member in group.members if not member.is_sampled)
    objective.rule.observe([Settled(type(group)(group.draw, unpaid), None, "error")])
    assert objective.rule.state_dict() == {"waiting": []}


@pytest.mark.parametrize("batch, says", [(0, "0 demonstrations make no update"), (1.5, "1.5 must be int")])
def test_a_batch_is_a_whole_number_from_one_on(made, batch, says):
    with pytest.raises(RecipeError, match=rf"^objective\.group\.batch: {says}"):
        made(preset="relift", group={"select": "set_aside", "batch": batch})


def test_a_run_imitates_what_it_could_not_solve_and_resumes_bit_for_bit(tmp_path):
    run = r1lab.train({**RUN, "out": str(tmp_path / "whole")})
    steps = [row["tokens/trained"] - before for row, before in zip(run.metrics, [0] + [
        row["tokens/trained"] for row in run.metrics
    ])]  # fmt: skip
    sampled = [row["tokens/sampled"] for row in run.metrics]
    taken = [now - before for now, before in zip(sampled, [0, *sampled])]
    assert [trained > of_step for trained, of_step in zip(steps, taken)] == [False, True, True, False]
    r1lab.train({**RUN, "out": str(tmp_path / "parts"), "steps": 3})
    parts = r1lab.train({**RUN, "out": str(tmp_path / "parts")})
    strip = lambda row: {key: value for key, value in row.items() if not key.startswith("time/")}  # noqa: E731
    assert list(map(strip, parts.metrics)) == list(map(strip, run.metrics))
