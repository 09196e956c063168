"""Multiplication of two whole numbers, one partial product a digit. Difficulty: the digits of either number."""

import random

from r1lab_data.tasks.settings import whole


def multiplication(rng: random.Random, digits: int = 3) -> dict:
    """One problem as {prompt, answer, solution, meta}. digits: digits of both numbers, 1-12."""
    whole("multiplication", "digits", digits, 1, 12)
    a, b = (rng.randint(10 ** (digits - 1), 10**digits - 1) for _ in range(2))
    return {
        "prompt": f"{a}*{b}",
        "answer": str(a * b),
        "solution": f"{partial_products(a, b)}. Answer: {a * b}",
        "meta": {"digits": digits},
    }


def partial_products(a: int, b: int) -> str:
    """`a` times each digit of `b` in its place, from the ones upward, each with the sum so far.

    >>> partial_products(23, 45)
    '23*5=115, 23*40=920, 115+920=1035'
    """
    steps, total = [], 0
    for place, digit in enumerate(reversed(str(b))):
        value = int(digit) * 10**place
        product = a * value
        steps.append(f"{a}*{value}={product}")
        if place:
            steps.append(f"{total}+{product}={total + product}")
        total += product
    return ", ".join(steps)
