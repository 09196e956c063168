"""Addition with completions that are labelled: pairs, right and wrong ones, and right and wrong columns.

What is true is known, so a reward model can be measured; `flip` makes a share of the labels wrong.
"""

import random

from r1lab_data.labelled import Labelled, answer_of
from r1lab_data.tasks.addition import addition
from r1lab_data.tasks.settings import share


def addition_pairs(rng: random.Random, digits: int = 3, flip: float = 0.0, untidy: float = 0.5) -> dict:
    """A right sum in columns, and beside it a wrong one or, in a share `untidy`, the bare right answer.

    digits: of both numbers, 1-12. flip: share of pairs with chosen and rejected exchanged.
    """
    problem = addition(rng, digits)
    right = problem["solution"]
    worse = f"Answer: {problem['answer']}" if rng.random() < share("addition_pairs", "untidy", untidy) else ""
    sides = ((right,), (worse or "".join(wrong(rng, problem)[0]),))
    is_flipped = rng.random() < share("addition_pairs", "flip", flip)
    pair = Labelled("pairs", sides[::-1] if is_flipped else sides, ((1,), (0,)))
    return labelled(problem, pair, is_flipped)


def addition_labels(rng: random.Random, digits: int = 3, flip: float = 0.0) -> dict:
    """A sum in columns, right in half of the cases, labelled 1 or 0.

    digits: of both numbers, 1-12. flip: share of labels that are wrong.
    """
    problem = addition(rng, digits)
    is_right = rng.random() < 0.5
    said = problem["solution"] if is_right else "".join(wrong(rng, problem)[0])
    is_flipped = rng.random() < share("addition_labels", "flip", flip)
    return labelled(problem, Labelled("completions", ((said,),), ((int(is_right != is_flipped),),)), is_flipped)


def addition_steps(rng: random.Random, digits: int = 3, flip: float = 0.0) -> dict:
    """A sum in columns and its answer as steps, in half of the cases wrong from one of them on; a step is labelled 1
    up to the first mistake.

    digits: of both numbers, 1-12. flip: share of problems whose labels are all wrong.
    """
    problem = addition(rng, digits)
    steps, first = wrong(rng, problem)
    if rng.random() < 0.5:
        steps, first = columns_of(problem["solution"]), len(steps)
    is_flipped = rng.random() < share("addition_steps", "flip", flip)
    marks = tuple(int((number < first) != is_flipped) for number in range(len(steps)))
    return labelled(problem, Labelled("steps", (steps,), (marks,)), is_flipped)


def columns_of(solution: str) -> tuple[str, ...]:
    """The steps that a worked solution consists of, separators with the one before.

    >>> columns_of("7+5=12, 4+8+1=13. Answer: 132")
    ('7+5=12,', ' 4+8+1=13.', ' Answer: 132')
    """
    parts = solution.split(" ")
    steps, last = parts[:-2], " ".join(parts[-2:])
    return (steps[0], *(f" {step}" for step in [*steps[1:], last]))


def wrong(rng: random.Random, problem: dict) -> tuple[tuple[str, ...], int]:
    """The worked solution with one digit of one step changed, and which step that is: a column's sum, or the answer."""
    steps = list(columns_of(problem["solution"]))
    place = rng.randrange(len(steps))
    step = steps[place]
    end = len(step.rstrip(",.")) - 1  # a column's last digit, or the answer's
    begin = step.rfind(" ") + 1 if place == len(steps) - 1 else end
    at = rng.randint(begin, end)
    digits = [digit for digit in "0123456789" if digit != step[at] and not (at == begin < end and digit == "0")]
    steps[place] = step[:at] + rng.choice(digits) + step[at + 1 :]
    return tuple(steps), place


def labelled(problem: dict, truth: Labelled, is_flipped: bool) -> dict:
    """The problem with what is said of its completions in the answer's place."""
    return {**problem, "answer": answer_of(truth), "meta": {**problem["meta"], "flipped": is_flipped}}
