"""Intervals for scores, and the unbiased pass@k. Pure: numbers in, numbers out; seeds are arguments.

Not which runs or problems are compared (`r1lab.comparison`), nor how completions are verified (`r1lab_verifiers`).
A *problem* is the unit of chance: completions of one problem resemble each other, so more of them are no more problems.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import comb, fsum, sqrt
from typing import NamedTuple

import numpy as np

ROUNDING = 1e-12
"""Width below which an interval has none."""
CHUNK_PROBLEMS = 1_000_000
"""Resampled problems held in memory at a time."""


class Interval(NamedTuple):
    """An estimate with its confidence interval."""

    value: float
    low: float
    high: float
    n: int
    """How many independent units it rests on: trials, values or problems."""


def wilson(right: int, n: int, level: float = 0.95) -> Interval:
    """Share of `right` in `n` independent trials with the Wilson score interval (Wilson 1927).

    Never of width zero, never outside [0, 1]. For several completions of one problem take `clustered_bootstrap`.
    """
    if n < 1 or not 0 <= right <= n:
        raise ValueError(f"{right} right of {n}: a share needs at least one trial and 0 <= right <= n")
    from scipy import stats  # takes a second to load

    bounds = stats.binomtest(right, n).proportion_ci(_checked(level), method="wilson")
    return Interval(right / n, float(bounds.low), float(bounds.high), n)


def clustered_bootstrap(
    right_NK: Sequence[Sequence[float]], seed: int, level: float = 0.95, draws: int = 10_000
) -> Interval:
    """Mean over problems of each problem's mean, with the percentile bootstrap over problems.

    `right_NK[i]` are the outcomes (0 or 1, or scores) of problem i, K may differ; every problem counts the same.
    With fewer than some 20 problems it is too narrow, and of width zero where all problems agree: `wilson` is not.
    """
    empty = [i for i, right_K in enumerate(right_NK) if not len(right_K)]
    if empty or len(right_NK) < 2:
        raise ValueError(f"{len(right_NK)} problems, without outcomes: {empty[:5]}: two are needed, all with outcomes")
    means = np.array([fsum(right_K) / len(right_K) for right_K in right_NK])
    rng, num = np.random.default_rng(seed), len(means)
    rows = max(1, CHUNK_PROBLEMS // num)
    parts = [means[rng.integers(num, size=(min(rows, draws - i), num))].mean(1) for i in range(0, draws, rows)]
    tail = (1 - _checked(level)) / 2
    low, high = np.quantile(np.concatenate(parts), [tail, 1 - tail])
    return Interval(fsum(means) / num, float(low), float(high), num)


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean with Student's t interval. `values` are independent: one a problem, or one a seed."""
    n = len(values)
    if n < 2:
        raise ValueError(f"{n} values have no interval: at least two are needed (more seeds, or more problems)")
    mean = fsum(values) / n
    spread = sqrt(fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    from scipy import stats

    half = float(stats.t.ppf((1 + _checked(level)) / 2, n - 1)) * spread
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(a: Mapping[str, float], b: Mapping[str, float], level: float = 0.95) -> Interval:
    """Mean of `a - b` over problems, Student's t on the differences; both must hold the same problems.

    Pairing takes the problems' difficulty out of the noise. The interval is over problems, not over training seeds.
    """
    if a.keys() != b.keys():
        alone = sorted(a.keys() ^ b.keys())
        raise ValueError(f"{len(alone)} problems are on one side only, as {alone[0]!r}: compare on the same problems")
    return mean_interval([a[problem] - b[problem] for problem in sorted(a)], level)


def paired_score_difference(a: Mapping[str, float], b: Mapping[str, float], level: float = 0.95) -> Interval:
    """`paired_difference` of scores in [0, 1], never of width zero.

    Where all n problems differ by the same d, Student's t knows no spread. At most the share h of problems, Wilson's
    upper bound for none in n, would show another difference, and that lies in [-1, 1]: [d - h (1 + d), d + h (1 - d)].
    """
    difference = paired_difference(a, b, level)
    value, low, high, n = difference
    if high - low > ROUNDING:
        return difference
    others = wilson(0, n, level).high
    return Interval(value, value - others * (1 + value), value + others * (1 - value), n)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that k of a problem's n completions hold a right one, c being right: 1 - C(n-c, k) / C(n, k).

    Unbiased (Chen et al. 2021, arXiv 2107.03374), which 1 - (1 - c/n)^k is not.
    """
    if not (1 <= k <= n and 0 <= c <= n):
        raise ValueError(f"pass@{k} with {c} right of {n}: needs 1 <= k <= n and 0 <= right <= n (sample more?)")
    return 1 - comb(n - c, k) / comb(n, k)


def mean_pass_at_k(right_NK: Sequence[Sequence[bool]], k: int) -> float:
    """Mean of `pass_at_k` over problems."""
    if not right_NK:
        raise ValueError("pass@k of no problems: at least one is needed")
    return fsum(pass_at_k(len(right_K), sum(map(bool, right_K)), k) for right_K in right_NK) / len(right_NK)


def running_mean(values: Sequence[float], reach: int) -> list[float]:
    """Mean of each value and up to `reach` on both sides; as many on either, so that ends are not shifted."""
    sums = [0.0, *accumulate(values)]
    reaches = [min(reach, i, len(values) - 1 - i) for i in range(len(values))]
    return [(sums[i + r + 1] - sums[i - r]) / (2 * r + 1) for i, r in enumerate(reaches)]


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level {level}: a confidence level lies between 0 and 1, as 0.95")
    return level
