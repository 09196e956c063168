"""Labelled sums: what is right is right, what is wrong differs in one digit, and `flip` turns a known share around."""

import re

import pytest

from r1lab_data import labelled
from r1lab_data.problem import DataError
from r1lab_data.tasks import LABELLED, generate

EQUATION = re.compile(r"(\d+)\+(\d+)(\+1)?=(\d+)")
"""`7+5=12`, `4+8+1=13`."""


def made(task, size=200, **settings):
    problems = generate(task, size=size, seed=0, split="train", source="s", settings=settings)
    return [(problem, labelled.of(problem)) for problem in problems]


def holds(step: str, prompt: str) -> bool:
    """Whether a column, or the answer, is right."""
    if "Answer" in step:
        return sum(map(int, prompt.split("+"))) == int(step.split()[-1])
    a, b, carry, total = EQUATION.search(step).groups()
    return int(a) + int(b) + bool(carry) == int(total)


def steps_of(text: str) -> list[str]:
    return [*text.split(". Answer")[0].split(", "), "Answer" + text.split("Answer")[1]]


def test_the_chosen_sum_is_right_and_the_rejected_one_wrong_or_bare():
    bare = 0
    for problem, given in made("addition_pairs"):
        (chosen,), (rejected,) = given.completions
        assert all(holds(step, problem.prompt) for step in steps_of(chosen))
        if rejected.startswith("Answer"):
            bare += 1
            assert holds(rejected, problem.prompt)
        else:
            assert sum(not holds(step, problem.prompt) for step in steps_of(rejected)) == 1
    assert 70 <= bare <= 130


def test_a_label_says_whether_all_columns_are_right():
    labels = [
        (given.labels[0][0], all(holds(step, problem.prompt) for step in steps_of(given.completions[0][0])))
        for problem, given in made("addition_labels")
    ]
    assert all(label == is_right for label, is_right in labels)
    assert 70 <= sum(label for label, _ in labels) <= 130


def test_steps_are_right_up_to_the_first_mistake():
    for problem, given in made("addition_steps"):
        right = [holds(step, problem.prompt) for step in given.completions[0]]
        first = right.index(False) if False in right else len(right)
        assert given.labels[0] == tuple(int(number < first) for number in range(len(right)))


@pytest.mark.parametrize("task", LABELLED)
def test_flipped_labels_are_known_and_of_the_share_asked_for(task):
    flipped = [problem.meta["flipped"] for problem, _ in made(task, size=1000, flip=0.2)]
    assert 160 <= sum(flipped) <= 240
    with pytest.raises(DataError, match=r"flip is 1\.5; give a number from 0 to 1"):
        made(task, flip=1.5)
