import random

from hypothesis import given
from hypothesis import strategies as st

from r1lab_data.tasks.addition import addition, worked_columns


def test_columns_are_worked_from_the_ones_upward():
    assert worked_columns(347, 285) == ("7+5=12, 4+8+1=13, 3+2+1=6", 2)


@given(st.integers(), st.integers(1, 6))
def test_the_answer_is_the_sum_and_ends_the_solution(seed, digits):
    drawn = addition(random.Random(seed), digits=digits, min_carries=1)
    a, b = drawn["prompt"].split("+")
    assert len(a) == len(b) == digits
    assert int(drawn["answer"]) == int(a) + int(b)
    assert drawn["solution"].endswith(f". Answer: {drawn['answer']}")
    assert drawn["meta"]["carries"] >= 1
