"""Parts of one set of problems: which to keep, which to hold out. Not the search for leaks (`r1lab_data.overlap`).

Both work on what is asked, not on rows: problems that differ in numbers alone are one template, and a template never
stands in two parts.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from r1lab_data.overlap import mask_numbers, normalise, prompt_text
from r1lab_data.problem import DataError, Problem

DISTINCT = ("rows", "text", "template")
PARTS = ("rest", "held_out")


def distinct(problems: Sequence[Problem], by: str) -> list[Problem]:
    """The first problem of each text, or of each template (the text once numbers are masked); `rows` keeps all."""
    if by not in DISTINCT:
        raise DataError(f"distinct: {by!r} is none of {', '.join(DISTINCT)}")
    if by == "rows":
        return list(problems)
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(key(problem, masked=by == "template"), problem)
    return list(first.values())


def part(problems: Iterable[Problem], *, holdout: float, take: str) -> list[Problem]:
    """The templates whose hash falls below the share `holdout` in (0, 1), or the others.

    A problem's part depends on its own text alone: rows that come or go, and their order, move no other problem.
    """
    if not 0 < holdout < 1:
        raise DataError(f"holdout: {holdout!r} is no share between 0 and 1")
    if take not in PARTS:
        raise DataError(f"part: {take!r} is none of {', '.join(PARTS)}")
    kept = [problem for problem in problems if (place(problem) < holdout) == (take == "held_out")]
    if not kept:
        raise DataError(f"holdout: {holdout} leaves no problem in the part {take!r}; choose another share")
    return kept


def key(problem: Problem, *, masked: bool) -> str:
    """What is asked, normalised; with every number written in digits masked where asked for."""
    text = normalise(prompt_text(problem))
    return mask_numbers(text) if masked else text


def place(problem: Problem) -> float:
    """The template's place in [0, 1), by its hash."""
    digest = blake2b(key(problem, masked=True).encode(), digest_size=8, person=b"holdout").digest()
    return int.from_bytes(digest, "big") / 2**64
