"""Comparisons of two sums: the letter is that of the better one, by the principle that is asked for."""

import re
from collections import Counter

import pytest

from r1lab_data.problem import DataError
from r1lab_data.tasks import generate
from r1lab_data.tasks.written_addition import FAULTS, obeys


def made(size=400, **settings):
    settings = {"digits": 2, **settings}
    return generate("addition_comparisons", size=size, seed=0, split="train", source="s", settings=settings)


def sides(problem) -> tuple[str, str, str]:
    """The sum, the better answer and the worse one."""
    prompt, first, second = re.fullmatch(r"(.*)\nA: (.*)\nB: (.*)\nBetter:", problem.prompt).groups()
    return (prompt, first, second) if problem.answer == "A" else (prompt, second, first)


def test_a_comparison_names_the_better_of_a_pair_by_its_letter_as_often_one_as_the_other():
    problems = made(size=200)
    letters = [problem.answer for problem in problems]
    assert set(letters) == {"A", "B"} and 70 <= letters.count("A") <= 130
    for problem in problems:
        prompt, first, second, last = problem.prompt.split("\n")
        chosen = (first if problem.answer == "A" else second).split(": ", 1)[1]
        assert chosen.endswith(f"Answer: {sum(map(int, prompt.split('+')))}") and "=" in chosen and last == "Better:"
        assert problem.solution == problem.answer and problem.verifier == "exact"


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_by_the_principle_the_better_answer_is_the_one_that_the_rule_prefers(digits):
    problems = made(digits=digits, size=200, principle="written")
    assert 70 <= [problem.answer for problem in problems].count("A") <= 130
    for problem in problems:
        prompt, better, worse = sides(problem)
        assert obeys(prompt, better) > obeys(prompt, worse)
        if problem.meta["better"] != "order":  # two equal columns exchanged are no fault
            assert (obeys(prompt, better) == 1) == (problem.meta["better"] == "")


def test_every_fault_is_the_worse_one_at_times_and_half_of_the_better_answers_have_one_too():
    problems = made(principle="written")
    assert set(Counter(problem.meta["worse"] for problem in problems)) == set(FAULTS)
    assert 160 <= sum(problem.meta["better"] == "" for problem in problems) <= 240
    assert all(problem.meta["better"] for problem in made(size=50, principle="written", faultless=0))


def test_by_the_principle_a_wrong_total_is_no_fault():
    bettered = [sides(problem) for problem in made(principle="written")]
    wrong = [not better.endswith(f" {sum(map(int, prompt.split('+')))}") for prompt, better, _ in bettered]
    assert 40 <= sum(wrong) <= 240


@pytest.mark.parametrize(("settings", "told"), [
    ({"principle": "writen"}, "principle is 'writen'; give one of right, written; did you mean 'written'?"),
    ({"principle": None}, "principle is None; give one of right, written"),
    ({"principle": "written", "faultless": 2}, "faultless is 2; give a number from 0 to 1"),
])  # fmt: skip
def test_settings_out_of_range_are_refused_in_one_line(settings, told):
    with pytest.raises(DataError) as error:
        made(**settings)
    assert told in str(error.value)
