"""What a run was given and what it spent: problems, demonstrations, verdicts, tokens, FLOPs. Read from its folder;
which of them several had alike is said here too, what follows from it is not.

    match: tokens      sampled and trained tokens (the default, by `stop.max_tokens`)
    match: flops       FLOPs of training (`stop.max_flops`)
    match: problems    distinct problems that were trained on, however often
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1lab.errors import RecipeError
from r1lab.recipe.base import digest
from r1lab.run import journal

MOST_APART_SHARE = 0.02
"""Of a quantity, up to which two runs had it alike."""
MATCHES = ("tokens", "flops", "problems")
QUANTITIES = {
    "problems": "distinct problems",
    "demonstrations": "given demonstrations",
    "teacher_tokens": "tokens of these",
    "verdicts": "verdicts asked for",
    "sampled": "tokens sampled",
    "trained": "tokens trained on",
    "tokens": "budget tokens",
    "flops": "training FLOPs",
    "evaluated": "tokens evaluated",
}
COLUMNS = ("problem_id", "source", "status", "num_tokens")
CHOOSES = ("limit", "size", "weight", "verifier", "on_bad_row", "on_long_prompt", "shift")
"""Keys of a source that choose among its problems, or judge them: the same problem has the same id without them."""


@dataclass(frozen=True)
class Given:
    """What training was shown."""

    problems: int
    """Distinct ones, sampled for or demonstrated."""
    demonstrations: int
    """Distinct ones that the data holds; those that the run itself sampled are none."""
    teacher_tokens: int
    """Tokens of these, once each."""
    verdicts: int
    """Completions that a verifier judged in training."""


def given(run: Path, stages: Sequence[Mapping[str, Any]]) -> Given | None:
    """Of a run's rollout tables, by its recipe's stages; None where it has none that can be read."""
    problems: set[tuple[str, str]] = set()
    demonstrations: dict[tuple[str, str], int] = {}
    verdicts = 0
    sources = {str(each.get("name")): each.get("data") or {} for each in stages}
    try:
        for stage, rows in _tables(run):
            origins = {name: _origin(source) for name, source in sources.get(stage, {}).items()}
            for row in rows:
                origin = origins.get(row.get("source") or "", row.get("source") or "")
                verdicts += row.get("status") is not None
                if origin is None:  # sampled by an earlier stage, in whose tables its problems stand
                    continue
                key = (origin, row["problem_id"])
                problems.add(key)
                if row.get("status") is None:
                    demonstrations[key] = row.get("num_tokens") or 0
    except (ValueError, LookupError):
        return None
    if not problems:
        return None
    return Given(len(problems), len(demonstrations), sum(demonstrations.values()), verdicts)


def _tables(run: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for path in sorted((run / "rollouts").glob("*.parquet")):
        # "rl-12"; not "rl"
        if match := re.fullmatch(r"(.+)-\d+", path.stem):
            yield match[1], journal.read_rows(path, COLUMNS)


def _origin(source: Mapping[str, Any]) -> str | None:
    """Which problems the source has, whichever of them it takes; None where an earlier stage makes them."""
    if source.get("stage"):
        return None
    return digest({key: value for key, value in source.items() if key not in CHOOSES})


def check_match(match: str | None) -> None:
    if match is not None and match not in MATCHES:
        raise RecipeError(f"--match {match!r}: budgets are matched in one of {', '.join(MATCHES)}")


def apart(values: Sequence[float]) -> float:
    """How far the least lies below the most, as a share of it."""
    return (max(values) - min(values)) / max(1, *values)


def is_matched(values: Sequence[float | None]) -> bool | None:
    """Whether all had it alike; None where it is not known of all."""
    known = [value for value in values if value is not None]
    return apart(known) <= MOST_APART_SHARE if known and len(known) == len(values) else None
