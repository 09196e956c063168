"""Two answers to a sum, of which one is to be named: comparisons as text, for a model that is to judge.

What is true is known, by one of two principles: a right sum in columns is better than one with a wrong digit or than
the bare answer (`right`), or the better answer is the one that is written as sums are to be (`written`), right or not.
"""

import random

from r1lab_data.tasks.addition import addition
from r1lab_data.tasks.labelled_addition import addition_pairs
from r1lab_data.tasks.settings import one_of, share
from r1lab_data.tasks.written_addition import FAULTS, obeys, written

QUESTION = "{prompt}\nA: {first}\nB: {second}\nBetter:"
"""As a judge is asked: the places are those of its file."""


def addition_comparisons(
    rng: random.Random, digits: int = 3, principle: str = "right", untidy: float = 0.5, faultless: float = 0.5
) -> dict:
    """A comparison and the letter of the better answer.

    digits: of both numbers, 1-12. principle: right or written. untidy: of `right`, share of pairs whose worse side is
    the bare right answer. faultless: of `written`, share of pairs whose better side has no fault; in the others both.
    """
    if one_of("addition_comparisons", "principle", principle, ("right", "written")) == "right":
        problem = addition_pairs(rng, digits, untidy=untidy)
        (chosen,), (rejected,) = problem["answer"]["completions"]
        meta = problem["meta"]
    else:
        problem = addition(rng, digits)
        (chosen, better), (rejected, worse) = _unlike(rng, problem, faultless)
        meta = problem["meta"] | {"better": better, "worse": worse}
    is_first = rng.random() < 0.5
    first, second = (chosen, rejected) if is_first else (rejected, chosen)
    letter = "A" if is_first else "B"
    prompt = QUESTION.format(prompt=problem["prompt"], first=first, second=second)
    return {"prompt": prompt, "answer": letter, "solution": letter, "meta": meta}


def _unlike(rng: random.Random, problem: dict, faultless: float) -> list[tuple[str, str]]:
    """Two answers of which the first obeys the principle more, by the rule, each with its fault."""
    is_whole = rng.random() < share("addition_comparisons", "faultless", faultless)
    while True:
        faults = ["" if is_whole else rng.choice([*FAULTS]), rng.choice([*FAULTS])]
        pair = [(written(rng, problem, fault), fault) for fault in faults]
        one, other = (obeys(problem["prompt"], text) for text, _ in pair)
        if one != other:
            return pair if one > other else pair[::-1]
