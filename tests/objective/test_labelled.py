"""The losses of labelled completions against their formulas in float64, and what becomes of a group."""

import numpy as np
import pytest
import torch

from r1lab.objective.labelled import binary, bradley_terry, reward_objective
from r1lab.objective.samples import prepared_updates, samples_of_group
from r1lab.objective.segments import Segments
from r1lab.records import Draw, Group, Role, Scored
from r1lab_data import Problem
from r1lab_data.labelled import Labelled, answer_of

DOUBLE = torch.float64


def test_bradley_terry_is_minus_log_sigma_of_the_lead_less_the_margin():
    scores = torch.tensor([1.5, -0.25, 0.5, 2.0], dtype=DOUBLE, requires_grad=True)
    advantage, unit = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=DOUBLE), torch.tensor([1, 1, 2, 2])
    margin = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=DOUBLE)
    pairs = Segments(unit, torch.ones(4, dtype=torch.bool))
    loss = bradley_terry(logp=scores, old=scores.detach(), advantage=advantage, margin=margin, pairs=pairs)
    loss.sum().backward()
    leads = np.array([1.75 - 0.5, -1.5])
    assert loss.detach().numpy() == pytest.approx(np.repeat(np.log1p(np.exp(-leads)), 2) / 2, rel=1e-12)
    pull = 1 / (1 + np.exp(leads))  # sigma(-lead)
    assert scores.grad.numpy() == pytest.approx([-pull[0], pull[0], -pull[1], pull[1]], rel=1e-12)


def test_binary_is_cross_entropy_with_the_label():
    scores = torch.tensor([3.0, -40.0, 0.5, 90.0], dtype=DOUBLE)
    labels = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=DOUBLE)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, labels, reduction="none")
    found = binary(logp=scores, old=scores, advantage=2 * labels - 1)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-15)


def group_of(make_rollout, kind, marks, number=0, margin=0.0):
    """A group of completions with a step of two tokens for each mark."""
    texts = tuple(tuple("ab" for _ in each) for each in marks)
    problem = Problem(f"p{number}", "1+1", answer_of(Labelled(kind, texts, marks, margin)), source="s")
    members = []
    for index, each in enumerate(marks):
        role = [Role.CONTEXT, Role.PAIR] * len(each)
        rollout = make_rollout((5, 6), range(7, 7 + len(role)), draw=number, index=index, role=role)
        members.append(Scored(rollout, None, float(min(each))))
    return Group(Draw(number, problem, 1), tuple(members))


def prepared(kind, groups):
    objective = reward_objective(kind)
    samples = [sample for group in groups for sample in samples_of_group(objective, group)]
    return prepared_updates(objective, [samples], 1)[0]


def test_a_pair_counts_once_however_many_there_are(make_rollout):
    samples = prepared("pairs", [group_of(make_rollout, "pairs", ((1,), (0,)), n, margin=0.25) for n in range(3)])
    assert [sample.advantage.tolist() for sample in samples] == [[0, 1], [0, -1]] * 3
    assert all(sample.scale.tolist() == pytest.approx([0, 1 / 3]) for sample in samples)
    assert [sample.unit for sample in samples] == [1, 1, 2, 2, 3, 3]
    assert all((sample.margin == 0.25).all() and not sample.left_out for sample in samples)


def test_a_completion_counts_once_and_all_steps_count_alike(make_rollout):
    marks = [((1,),), ((0,),)]
    samples = prepared("completions", [group_of(make_rollout, "completions", each, n) for n, each in enumerate(marks)])
    assert [sample.advantage[1] for sample in samples] == [1, -1] and {s.scale[1] for s in samples} == {0.5}
    marks = [((1, 0, 0),), ((1,),)]
    samples = prepared("steps", [group_of(make_rollout, "steps", each, n) for n, each in enumerate(marks)])
    assert [sample.advantage.tolist() for sample in samples] == [[0, 1, 0, -1, 0, -1], [0, 1]]
    assert {float(value) for sample in samples for value in sample.scale} == {0.0, 0.25}
