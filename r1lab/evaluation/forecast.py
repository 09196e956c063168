"""Forecast whether RL has signal, and at what group size, from the verdicts on n completions a problem. Pure.

A group teaches by its differences: where all completions of a problem score the same, its advantages are zero. So what
counts is the share of *mixed* groups. Of G completions drawn from a problem's n without replacement it is known without
bias (hypergeometric), which putting c/n in the place of the solve rate is not.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

from r1lab.evaluation.scores import Row, by_problem, share_right
from r1lab.seeds import derive

SIZES = (2, 4, 8, 16, 32, 64)
ENOUGH_MIXED = 0.2
"""Share of mixed groups from which on RL has signal: of 32 problems a step some six teach. Below, most of what is
sampled is thrown away, and the few right answers are often right by chance."""
GOOD_MIXED = 0.5
"""Share at which a larger group buys little."""
UNREADABLE, CUT = 0.3, 0.3
"""Shares of completions without a readable answer, and cut off, from which on these are what to mend first."""
FEW_PROBLEMS = 8
"""Problems of one difficulty below which nothing is said of it."""


@dataclass(frozen=True)
class Share:
    """The share of mixed groups, with its interval over problems."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        bounds = "" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{bounds}"


def mixed_chance(scores_K: Sequence[float], size: int) -> float:
    """Chance that `size` of a problem's completions, drawn without replacement, do not all score the same."""
    if not 1 <= size <= len(scores_K):
        raise ValueError(f"a group of {size} of {len(scores_K)} completions: needs 1 <= size <= completions")
    return 1 - sum(comb(count, size) for count in Counter(scores_K).values()) / comb(len(scores_K), size)


def mixed_shares(scores_NK: Sequence[Sequence[float]], sizes: Sequence[int], seed: int) -> dict[int, Share]:
    """For each group size that n completions can say. A problem with fewer scored completions is left out of it."""
    shares = {}
    for size in sizes:
        chances = [[mixed_chance(scores_K, size)] for scores_K in scores_NK if len(scores_K) >= size]
        if size >= 2 and chances:
            shares[size] = Share(*share_right(chances, derive(seed, f"mixed/{size}")))
    return shares


def scores_of(rows: Sequence[Row]) -> list[list[float]]:
    """Each problem's scores; an error has none and is in no group."""
    return [[row["score"] for row in group if row["score"] is not None] for group in by_problem(rows).values()]


def solved(scores_NK: Sequence[Sequence[float]]) -> dict[str, float]:
    """Shares of problems that no completion, some, and every completion solves."""
    rates = [sum(score == 1.0 for score in scores_K) / len(scores_K) for scores_K in scores_NK if scores_K]
    total = max(1, len(rates))
    never, always = sum(rate == 0 for rate in rates), sum(rate == 1 for rate in rates)
    return {"never": never / total, "sometimes": (total - never - always) / total, "always": always / total}


def difficulties(
    rows: Sequence[Row], meta_of: Mapping[str, Mapping[str, Any]], size: int
) -> list[tuple[str, float, int]]:
    """(`column=value`, share of mixed groups, problems) where a column sorts the problems into kinds, best first."""
    groups = by_problem(rows)
    chance = {
        problem: mixed_chance(scores, size)
        for problem, group in groups.items()
        if len(scores := [row["score"] for row in group if row["score"] is not None]) >= size
    }
    kinds: dict[tuple[str, str], list[float]] = {}
    for problem, value in chance.items():
        for column, cell in meta_of.get(problem, {}).items():
            if isinstance(cell, str | int | bool) and len(str(cell)) <= 40:
                kinds.setdefault((column, str(cell)), []).append(value)
    ranked = [
        (f"{column}={cell}", sum(values) / len(values), len(values))
        for (column, cell), values in kinds.items()
        if FEW_PROBLEMS <= len(values) < len(chance)
    ]
    return sorted(ranked, key=lambda each: (-each[1], each[0]))


@dataclass(frozen=True)
class Forecast:
    """The forecast in a sentence, and what it rests on."""

    has_signal: bool
    size: int
    """The group size it is said for."""
    mixed: Share
    sentence: str
    remedies: tuple[str, ...]
    """What would give signal, or more of it."""


def forecast(
    figures: Mapping[str, Any], mixed: Mapping[int, Share], kinds: Sequence[tuple[str, float, int]], size: int
) -> Forecast:
    """Whether RL has signal, which it has where at least ENOUGH_MIXED of the groups of `size` are mixed.

    `figures` are an evaluation's; with `readable`, the share of completions whose answer could be read, and `solved`.
    """
    size = size if size in mixed else max(each for each in mixed if each <= size)
    share = mixed[size]
    has_signal = share.value >= ENOUGH_MIXED
    is_close = share.low is not None and share.high is not None and share.low < ENOUGH_MIXED <= share.high
    rule = f"{share} of groups of {size} are expected to be mixed, and {ENOUGH_MIXED} is the least"
    sentence = f"{'Yes' if has_signal else 'No'}: RL from here has {'' if has_signal else 'no '}signal: {rule}"
    if is_close:
        sentence += "; the interval holds both answers, more problems would tell"
    return Forecast(has_signal, size, share, sentence + ".", _remedies(figures, mixed, kinds, size))


def _remedies(
    figures: Mapping[str, Any], mixed: Mapping[int, Share], kinds: Sequence[tuple[str, float, int]], size: int
) -> tuple[str, ...]:
    remedies = []
    share, solved_ = mixed[size].value, figures["solved"]
    wanted = ENOUGH_MIXED if share < ENOUGH_MIXED else GOOD_MIXED
    larger = next((each for each in sorted(mixed) if each != size and mixed[each].value >= wanted), None)
    if share < wanted and larger is not None:
        remedies.append(f"group_size {larger} would make {mixed[larger]} of the groups mixed")
    elif share < ENOUGH_MIXED and solved_["always"] <= ENOUGH_MIXED:
        said = "n completions a problem say no more"
        remedies.append(f"no group size up to {max(mixed)} reaches {ENOUGH_MIXED} ({said})")
    if solved_["always"] > GOOD_MIXED:
        remedies.append(f"{solved_['always']:.0%} of the problems are always solved: harder ones would teach")
    elif solved_["never"] > GOOD_MIXED:
        remedies.append(f"{solved_['never']:.0%} of the problems are never solved: easier ones would teach")
    if kinds and share < GOOD_MIXED and kinds[0][1] > max(share + 0.1, ENOUGH_MIXED):
        remedies.append(f"problems with {kinds[0][0]}: {kinds[0][1]:.2f} mixed ({kinds[0][2]} problems)")
    if figures["truncated"] > CUT:
        remedies.append(f"{figures['truncated']:.0%} of the completions are cut off: raise max_new_tokens")
    if figures["readable"] < 1 - UNREADABLE:
        remedies.append(
            f"in {1 - figures['readable']:.0%} no answer can be read: another prompt, worked examples, or a warm-up by "
            "SFT on demonstrations"
        )
    elif share < ENOUGH_MIXED and solved_["always"] <= ENOUGH_MIXED:
        remedies.append(
            "a warm-up by SFT on demonstrations, or worked examples in the prompt, would raise the solve rate"
        )
    return tuple(remedies)
