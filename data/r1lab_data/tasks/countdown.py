"""Countdown: make a target of all the given numbers. Solvable by construction; the solution is one of many."""

import random

from r1lab_data.problem import DataError
from r1lab_data.tasks.settings import whole

MAX_TRIES = 10_000


def countdown(rng: random.Random, numbers: int = 4, max_number: int = 50, max_target: int = 100) -> dict:
    """One problem as {prompt, answer, solution, meta}.

    numbers: how many, 2-6. max_number: the largest of them, 1-1000. max_target: the largest target, 1-10000.
    """
    whole("countdown", "numbers", numbers, 2, 6)
    whole("countdown", "max_number", max_number, 1, 1000)
    whole("countdown", "max_target", max_target, 1, 10_000)
    for _ in range(MAX_TRIES):
        given = sorted(rng.randint(1, max_number) for _ in range(numbers))
        target, expression, steps = combine(rng, given)
        if target <= max_target:
            break
    else:
        asked = f"{numbers} numbers up to {max_number} that make at most {max_target}"
        raise DataError(f"task countdown: {asked} are too rare; raise max_target or lower max_number")
    return {
        "prompt": f"Using the numbers {given}, make {target}. Use each number once.",
        "answer": {"numbers": given, "target": target},
        "solution": f"{steps}. Answer: {expression}",
        "meta": {"numbers": numbers},
    }


def combine(rng: random.Random, numbers: list[int]) -> tuple[int, str, str]:
    """A random tree over all numbers as (value, expression, steps); every value on the way is whole and above 0."""
    parts, steps = [(number, str(number)) for number in numbers], []
    while len(parts) > 1:
        rng.shuffle(parts)
        (a, first), (b, second) = sorted((parts.pop(), parts.pop()), key=lambda part: -part[0])
        sign, value = rng.choice(moves(a, b))
        steps.append(f"{a}{sign}{b}={value}")
        parts.append((value, f"({first}{sign}{second})"))
    value, expression = parts[0]
    return value, expression[1:-1], ", ".join(steps)


def moves(a: int, b: int) -> list[tuple[str, int]]:
    """What can be made of a >= b > 0: sum, product, and difference or quotient where they are whole and above 0."""
    allowed = [("+", a + b), ("*", a * b)]
    if a > b:
        allowed.append(("-", a - b))
    if a % b == 0:
        allowed.append(("/", a // b))
    return allowed
