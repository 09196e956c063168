"""Addition of two whole numbers, column by column. Difficulty: the number of digits and how many columns carry."""

import random

from r1lab_data.tasks.settings import whole


def addition(rng: random.Random, digits: int = 3, min_carries: int = 0) -> dict:
    """One problem as {prompt, answer, solution, meta}.

    digits: digits of both numbers, 1-12. min_carries: columns that must carry, at most `digits`.
    """
    whole("addition", "digits", digits, 1, 12)
    whole("addition", "min_carries", min_carries, 0, digits)
    while True:
        a, b = (rng.randint(10 ** (digits - 1), 10**digits - 1) for _ in range(2))
        columns, carries = worked_columns(a, b)
        if carries >= min_carries:
            break
    return {
        "prompt": f"{a}+{b}",
        "answer": str(a + b),
        "solution": f"{columns}. Answer: {a + b}",
        "meta": {"digits": digits, "carries": carries},
    }


def worked_columns(a: int, b: int) -> tuple[str, int]:
    """The columns from the ones upward, each `x+y=s` or `x+y+1=s` after a carry, and the number of carries.

    >>> worked_columns(347, 285)
    ('7+5=12, 4+8+1=13, 3+2+1=6', 2)
    """
    steps, carry, carries = [], 0, 0
    for x, y in zip(reversed(str(a)), reversed(str(b)), strict=True):
        total = int(x) + int(y) + carry
        steps.append(f"{x}+{y}{'+1' if carry else ''}={total}")
        carry = int(total > 9)
        carries += carry
    return ", ".join(steps), carries
