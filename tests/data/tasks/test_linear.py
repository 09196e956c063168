import random
import re
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from r1lab_data.tasks.linear import linear, worked_steps


def value(side, x):
    """`3*x+5` at x."""
    return sum(
        Fraction(term.removesuffix("*x")) * (x if term.endswith("x") else 1)
        for term in re.findall(r"[-+]?[^-+]+", side)
    )


@given(st.integers(), st.booleans(), st.integers(3, 50))
def test_the_answer_solves_the_equation(seed, both_sides, bound):
    drawn = linear(random.Random(seed), max_coefficient=bound, both_sides=both_sides)
    left, right = re.fullmatch(r"Solve (.+)=(.+) for x\.", drawn["prompt"]).groups()
    x = int(drawn["answer"])
    assert value(left, x) == value(right, x)
    assert abs(x) <= bound
    assert ("x" in right) == both_sides
    assert drawn["solution"].endswith(f"={x}. Answer: {x}")


def test_every_step_is_worked():
    assert worked_steps(3, -5, 0, 1) == "3*x=1+5=6, x=6/3=2"
    assert worked_steps(2, 3, 5, 18) == "2*x-5*x=18-3, -3*x=15, x=15/-3=-5"
