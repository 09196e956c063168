import random
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1lab_data.problem import DataError
from r1lab_data.tasks.countdown import countdown


def exact(expression):
    return eval(re.sub(r"(\d+)", r"Fraction(\1)", expression), {"Fraction": Fraction})


@given(st.integers(), st.integers(2, 6), st.integers(2, 99))
def test_the_solution_makes_the_target_of_every_number_once(seed, numbers, max_number):
    drawn = countdown(random.Random(seed), numbers=numbers, max_number=max_number, max_target=200)
    steps, expression = drawn["solution"].split(". Answer: ")
    given_numbers, target = drawn["answer"]["numbers"], drawn["answer"]["target"]
    assert exact(expression) == target <= 200
    assert sorted(map(int, re.findall(r"\d+", expression))) == given_numbers
    assert drawn["prompt"] == f"Using the numbers {given_numbers}, make {target}. Use each number once."
    for step in steps.split(", "):
        work, result = step.split("=")
        assert exact(work) == int(result) > 0


def test_targets_that_hardly_occur_are_refused(monkeypatch):
    monkeypatch.setitem(countdown.__globals__, "MAX_TRIES", 10)
    with pytest.raises(DataError, match="too rare; raise max_target or lower max_number"):
        countdown(random.Random(0), numbers=6, max_number=1000, max_target=1)
