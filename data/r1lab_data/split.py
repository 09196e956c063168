"""Parts of one set of problems: which to keep, which to hold out. Not the search for leaks (`r1lab_data.overlap`).

Both work on what is asked, not on rows: problems that differ in numbers alone are one template. Equal texts never stand
in two parts, and a template does so only where single problems are held out (`text`, a plain random split).
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from r1lab_data.overlap import mask_numbers, normalise, prompt_text
from r1lab_data.problem import DataError, Problem

DISTINCT = ("rows", "text", "template")
PARTS = ("rest", "held_out")
HOLDOUT_BY = ("template", "text")


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


def part(problems: Iterable[Problem], *, holdout: float, take: str, by: str = "template") -> list[Problem]:
    """The templates whose hash falls below the share `holdout` in (0, 1), or the others; by `text` single problems.

    A problem's part depends on its own text alone: rows that come or go, and their order, move no other problem.
    """
    if by not in HOLDOUT_BY:
        raise DataError(f"holdout_by: {by!r} is none of {', '.join(HOLDOUT_BY)}")
    if not 0 < holdout < 1:
        raise DataError(f"holdout: {holdout!r} is no share between 0 and 1")
    if take not in PARTS:
        raise DataError(f"part: {take!r} is none of {', '.join(PARTS)}")
    problems = list(problems)
    kept = [problem for problem in problems if (place(problem, by) < holdout) == (take == "held_out")]
    if not kept:
        templates = len({key(problem, masked=True) for problem in problems})
        remedy = "choose another share" if templates > 1 else "hold out single problems with holdout_by: text"
        raise DataError(
            f"holdout: {holdout} leaves no problem in the part {take!r}: the {len(problems)} problems are {templates} "
            f"template{'s' * (templates > 1)}, texts that differ in numbers alone; {remedy}"
        )
    return kept


def key(problem: Problem, *, masked: bool) -> str:
    """What is asked, normalised; with every number written in digits masked where asked for."""
    text = normalise(prompt_text(problem))
    return mask_numbers(text) if masked else text


def place(problem: Problem, by: str = "template") -> float:
    """The place in [0, 1) of its template, or of its text, by hash."""
    digest = blake2b(key(problem, masked=by == "template").encode(), digest_size=8, person=b"holdout").digest()
    return int.from_bytes(digest, "big") / 2**64
