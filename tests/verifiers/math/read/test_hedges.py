"""Prose around a number: what leaves it the answer, and what takes it away."""

import pytest

from r1lab_verifiers import Item, resolve
from r1lab_verifiers.math.read.hedges import is_no_unit

MATH = resolve("math").build()
SAID = (
    "She has a total of 18 apples.",
    "Therefore the value is equal to 18.",
    "This adds up to 18.",
    "That is a profit of $18.",
    "So it simplifies to 18.",
    "18 is the answer.",
    "First 7 + 11\n18",
    "It is not 17, it is 18.",
    "Thus he needs 18 more dollars.",
    "The limit is 18.",
    "He is 18 times as tall.",
)
NOT_SAID = (
    "The number cannot be 18.",
    "It is not equal to $18$.",
    "Clearly it is somewhere between 17 and 18",
    "x stays below $18$",
    "The result exceeds 18.",
    "So the answer is an upper bound of 18",
    "It is 50% of 18.",
    "Candidates: 16, 17, 18",
    "18 is a lower bound.",
    "18 is my guess.",
    "He is 18 times two",
    "We get $18$ squared.",
    r"We get 18\text{ factorial}",
)


@pytest.mark.parametrize("text", SAID)
def test_a_number_that_is_said_is_the_answer(text):
    assert MATH.verify(Item(text, "18")).score == 1


@pytest.mark.parametrize("text", NOT_SAID)
def test_a_number_denied_bounded_or_worked_on_is_not(text):
    assert MATH.verify(Item(text, "18")).score == 0


@pytest.mark.parametrize(
    "unit", ["apples", "m/s^2", "square units", "feet squared", "times", "five-dollar bills", "more"]
)
def test_what_is_counted_or_measured_is_a_unit(unit):
    assert not is_no_unit(unit)


@pytest.mark.parametrize("unit", ["or 6", "squared", "minus one", "times two", "thirds", "isn't it", "less than ten"])
def test_what_works_on_a_number_is_no_unit(unit):
    assert is_no_unit(unit)
