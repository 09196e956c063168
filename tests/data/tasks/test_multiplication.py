import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1lab_data.problem import DataError
from r1lab_data.tasks.multiplication import multiplication, partial_products


@given(st.integers(), st.integers(1, 12))
def test_the_answer_is_the_product_and_every_step_holds(seed, digits):
    drawn = multiplication(random.Random(seed), digits=digits)
    a, b = map(int, drawn["prompt"].split("*"))
    assert len(str(a)) == len(str(b)) == digits
    assert drawn["answer"] == str(a * b) and drawn["solution"].endswith(f"Answer: {a * b}")
    for left, sign, right, value in re.findall(r"(\d+)([*+])(\d+)=(\d+)", drawn["solution"]):
        assert (int(left) * int(right) if sign == "*" else int(left) + int(right)) == int(value)


def test_a_digit_of_zero_has_its_line_too():
    assert partial_products(12, 104) == "12*4=48, 12*0=0, 48+0=48, 12*100=1200, 48+1200=1248"


def test_digits_are_bounded():
    with pytest.raises(DataError, match="digits is 13"):
        multiplication(random.Random(0), digits=13)
