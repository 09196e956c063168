"""A principle that sums can be written by, as a rule on any text, and sums that break it in known ways.

The principle: write every column of the sum from the ones upward, then the answer, and nothing else. It asks nothing of
totals: a sum may be written as it says and be wrong.
"""

import random
import re
from collections.abc import Callable

from r1lab_data.tasks.labelled_addition import columns_of, wrong

# "347+285" in "What is 347+285?"
SUM = re.compile(r"([0-9]{1,12})\+([0-9]{1,12})")
# "4+8+1=13" in "4+8+1=13, 3", "Answer: 632", and any other word, as "4+8=" or "maybe"
PART = re.compile(r"([0-9]\+[0-9])(?:\+1)?=[0-9]{1,2}(?![^\s,.])|(Answer): [0-9]+(?![^\s,.])|[^\s,.]+")
MAX_PARTS = 200
"""What is written beyond counts as one part more."""
TALK = ("I do not know.", "Use a calculator.", "It is a large number.", "Why?", "Good question!", "I guess 100")


def obeys(prompt: str, text: str) -> float:
    """How far a text is written by the principle: 1 for the columns and the answer alone, in order; else by how many
    parts are missing, too many or out of place.

    Twice the longest common subsequence of the parts that are wanted and those written, over the length of both.

    >>> obeys("47+85", "7+5=12, 4+8+1=13. Answer: 132"), obeys("47+85", "Answer: 132"), obeys("47+85", "132")
    (1.0, 0.5, 0.0)
    """
    asked = SUM.search(prompt)
    if asked is None or len(asked[1]) != len(asked[2]):
        return 0.0
    wanted = [f"{x}+{y}" for x, y in zip(reversed(asked[1]), reversed(asked[2]))] + ["Answer"]
    written = [match[1] or match[2] or "" for match, _ in zip(PART.finditer(text), range(MAX_PARTS + 1))]
    return 2 * _common(wanted, written) / (len(wanted) + len(written))


def _common(one: list[str], other: list[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for left in one:
        row, above = [0], row
        for place, right in enumerate(other):
            row.append(above[place] + 1 if left == right else max(row[-1], above[place + 1]))
    return row[-1]


def _missing(rng: random.Random, columns: list[str], answer: str) -> str:
    gone = rng.randrange(len(columns))
    return _joined(columns[:gone] + columns[gone + 1 :], answer)


def _order(rng: random.Random, columns: list[str], answer: str) -> str:
    parts = [*columns, f"Answer: {answer}"]
    one, other = rng.sample(range(len(parts)), 2)
    parts[one], parts[other] = parts[other], parts[one]
    return ", ".join(parts).replace(", Answer", ". Answer")


def _twice(rng: random.Random, columns: list[str], answer: str) -> str:
    again = rng.randrange(len(columns))
    return _joined(columns[: again + 1] + columns[again:], answer)


def _bare(rng: random.Random, columns: list[str], answer: str) -> str:
    return rng.choice(("{}", "{}.", "Answer: {}", "It is {}.")).format(answer)


def _cut(rng: random.Random, columns: list[str], answer: str) -> str:
    whole = _joined(columns, answer)
    return whole[: rng.randint(1, len(whole) - len(answer))].rstrip()


def _after(rng: random.Random, columns: list[str], answer: str) -> str:
    more = rng.choice((f"Answer: {answer}", f"It is {answer}.", rng.choice(columns), rng.choice(TALK)))
    return f"{_joined(columns, answer)}{rng.choice((' ', ', ', '. '))}{more}"


def _talk(rng: random.Random, columns: list[str], answer: str) -> str:
    return rng.choice(TALK)


def _joined(columns: list[str], answer: str) -> str:
    return f"{', '.join(columns)}. Answer: {answer}" if columns else f"Answer: {answer}"


FAULTS: dict[str, Callable[[random.Random, list[str], str], str]] = {
    "missing": _missing, "order": _order, "twice": _twice, "bare": _bare, "cut": _cut, "after": _after, "talk": _talk,
}  # fmt: skip
"""Ways to break the principle, each at a random place, from the columns and the answer to a text."""


def written(rng: random.Random, problem: dict, fault: str = "") -> str:
    """The sum as it is to be written, or with a fault; its totals are right in half of the cases."""
    steps = columns_of(problem["solution"]) if rng.random() < 0.5 else wrong(rng, problem)[0]
    columns, answer = [step.strip(" ,.") for step in steps[:-1]], steps[-1].split()[-1]
    return FAULTS[fault](rng, columns, answer) if fault else _joined(columns, answer)
