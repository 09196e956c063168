"""Linear equations in one unknown with a whole solution by construction: `3*x+5=20`, or with x on both sides."""

import random

from r1lab_data.tasks.settings import switch, whole


def linear(rng: random.Random, max_coefficient: int = 20, both_sides: bool = False) -> dict:
    """One problem as {prompt, answer, solution, meta}.

    max_coefficient: bound of the coefficients and of the solution, 2-1000 (from 3 with both_sides).
    both_sides: x stands on both sides.
    """
    switch("linear", "both_sides", both_sides)
    bound = whole("linear", "max_coefficient", max_coefficient, 3 if both_sides else 2, 1000)
    x, left = rng.randint(-bound, bound), rng.randint(2, bound)
    constant = rng.choice((-1, 1)) * rng.randint(1, bound)
    right = rng.choice([k for k in range(2, bound + 1) if k != left]) if both_sides else 0
    other = (left - right) * x + constant
    return {
        "prompt": f"Solve {left}*x{constant:+d}={side(right, other)} for x.",
        "answer": str(x),
        "solution": f"{worked_steps(left, constant, right, other)}. Answer: {x}",
        "meta": {"both_sides": both_sides},
    }


def side(coefficient: int, constant: int) -> str:
    """`2*x+18`, `2*x` or `18`."""
    if coefficient == 0:
        return str(constant)
    return f"{coefficient}*x{constant:+d}" if constant else f"{coefficient}*x"


def worked_steps(left: int, constant: int, right: int, other: int) -> str:
    """The steps that solve left*x+constant = right*x+other, each an equation.

    >>> worked_steps(3, 5, 0, 20)
    '3*x=20-5=15, x=15/3=5'
    >>> worked_steps(5, 3, 2, 18)
    '5*x-2*x=18-3, 3*x=15, x=15/3=5'
    """
    net, total = left - right, other - constant
    moved = f"{other}{-constant:+d}"
    gathered = f"{left}*x-{right}*x={moved}, {net}*x={total}" if right else f"{net}*x={moved}={total}"
    return f"{gathered}, x={total}/{net}={total // net}"
