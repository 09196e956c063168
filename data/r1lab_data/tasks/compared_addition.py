"""Two answers to a sum, of which one is to be named: comparisons as text, for a model that is to judge.

What is true is known: a right sum in columns is better than one with a wrong digit or than the bare answer.
"""

import random

from r1lab_data.tasks.labelled_addition import addition_pairs

QUESTION = "{prompt}\nA: {first}\nB: {second}\nBetter:"
"""As a judge is asked: the places are those of its file."""


def addition_comparisons(rng: random.Random, digits: int = 3, untidy: float = 0.5) -> dict:
    """A comparison and the letter of the better answer.

    digits: of both numbers, 1-12. untidy: share of pairs whose worse side is the bare right answer.
    """
    problem = addition_pairs(rng, digits, untidy=untidy)
    (chosen,), (rejected,) = problem["answer"]["completions"]
    is_first = rng.random() < 0.5
    first, second = (chosen, rejected) if is_first else (rejected, chosen)
    letter = "A" if is_first else "B"
    prompt = QUESTION.format(prompt=problem["prompt"], first=first, second=second)
    return {"prompt": prompt, "answer": letter, "solution": letter, "meta": problem["meta"]}
