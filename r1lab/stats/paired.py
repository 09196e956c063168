"""The difference of two regimes that answered the same problems under several seeds: interval, p-value, power.

`difference_SN[s, i]` is regime A's outcome minus B's, seed s, problem i (of several completions: their means). Seeds
and problems are both samples of what else could have been drawn, and crossed: the same problems stand under every seed.
So two-way random effects (Cornfield & Tukey 1956; Searle, Casella & McCulloch 1992, ch. 4):

    difference = mu + seed_s + problem_i + rest_si     (problem_i: what these regimes make of it, difficulty cancels)
    V = Var(mean) = (MS_seeds + MS_problems - MS_rest) / (S N) = a + c

    a = MS_seeds / (S N)                             what other seeds would move, S - 1 degrees of freedom
    c = max(0, MS_problems - MS_rest) / (S N)        what other problems would move beyond that

One t with the degrees of freedom estimated from the same mean squares (Satterthwaite 1946) forgets that at three seeds
a itself is hardly known: where c is a tenth of a it covers 92 %. Here each part has a t of its own (Banerjee 1960,
Sankhya 22:357):

    mean +- sqrt(t(S - 1)^2 a + t(N - 1)^2 c)

Whatever the ratio of the parts this holds at least its level, for the distribution function of a chi-square with one
degree of freedom is concave: with w_k the parts' shares of V and X_k their mean squares over the expected ones,
P(Z^2 <= sum w_k t_k^2 X_k) >= sum w_k P(Z^2 <= t_k^2 X_k) = level. It is exact where one part is all. (c is a contrast
of mean squares, but of hundreds of degrees of freedom; cut at zero it errs on the wide side.)
Not here: one seed, which has no such a (`intervals.paired_difference`), and which runs may be compared
(`r1lab.comparison.comparable`).
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
from scipy import optimize, stats

from r1lab.stats.intervals import Interval

ALPHA = 0.05
POWER_GRID = 2_000
"""Quantiles of the seeds' mean square over which power is averaged."""


class MeanSquares(NamedTuple):
    """Mean squares of crossed differences; each field is a number, or an array over many comparisons at once."""

    mean: np.ndarray
    seeds: np.ndarray
    """MS of the seeds' means: expectation Var(rest) + N Var(seed)."""
    problems: np.ndarray
    """MS of the problems' means: expectation Var(rest) + S Var(problem)."""
    rest: np.ndarray
    """MS of what neither explains."""
    num_seeds: int
    num_problems: int

    @property
    def by_seed(self) -> np.ndarray:
        """a: variance of the mean over seeds, the chance of single completions included."""
        return self.seeds / (self.num_seeds * self.num_problems)

    @property
    def by_problem(self) -> np.ndarray:
        """c: variance of the mean over problems beyond that; a negative estimate counts as none."""
        return np.maximum(0.0, self.problems - self.rest) / (self.num_seeds * self.num_problems)


def mean_squares(difference_SN: np.ndarray, grain: float = 1.0) -> MeanSquares:
    """Mean squares over the last two axes (seeds, problems); ValueError under two of either.

    `grain` is the smallest step of an outcome, 1 / completions: the seeds' means lie on a grid of grain / N, so their
    variance is not taken to be known below that of rounding to it (step^2 / 12). It keeps equal seeds from an interval
    of width zero.
    """
    values = np.asarray(difference_SN, np.float64)
    if values.ndim < 2 or min(values.shape[-2:]) < 2:
        raise ValueError(f"differences of shape {values.shape}: at least two seeds and two problems are needed")
    S, N = values.shape[-2:]
    seeds, problems = values.mean(-1), values.mean(-2)
    mean = seeds.mean(-1)
    between_seeds = N * np.square(seeds - mean[..., None]).sum(-1)
    between_problems = S * np.square(problems - mean[..., None]).sum(-1)
    total = np.einsum("...si,...si->...", values, values) - S * N * mean**2
    rest = np.maximum(0.0, total - between_seeds - between_problems)
    floor = grain**2 / (12 * N)
    return MeanSquares(
        mean, np.maximum(between_seeds / (S - 1), floor), between_problems / (N - 1), rest / ((S - 1) * (N - 1)), S, N
    )


def half_width(squares: MeanSquares, alpha: float = ALPHA) -> np.ndarray:
    """Half the interval of level 1 - alpha (Banerjee 1960)."""
    seeds, problems = (stats.t.isf(alpha / 2, size - 1) for size in (squares.num_seeds, squares.num_problems))
    return np.sqrt(seeds**2 * squares.by_seed + problems**2 * squares.by_problem)


def interval(squares: MeanSquares, alpha: float = ALPHA) -> Interval:
    """The mean difference with its interval; `n` are the problems."""
    half = float(half_width(squares, alpha))
    return Interval(float(squares.mean), float(squares.mean) - half, float(squares.mean) + half, squares.num_problems)


def p_value(squares: MeanSquares) -> float:
    """Smallest alpha whose interval leaves out zero."""

    def apart(log_alpha: float) -> float:
        return abs(float(squares.mean)) - float(half_width(squares, np.exp(log_alpha)))

    lowest = -60.0
    if squares.mean == 0:
        return 1.0
    return float(np.exp(lowest if apart(lowest) > 0 else cast(float, optimize.brentq(apart, lowest, 0.0))))


def holm(p_values: Sequence[float], alpha: float = ALPHA) -> tuple[list[float], list[float]]:
    """Adjusted p-values, and the level each comparison is tested at (Holm 1979, step down).

    The interval of 1 - its level leaves out zero exactly where the adjusted p-value is at most alpha. Comparisons after
    the first failure are all held to the level that failed.
    """
    num, order = len(p_values), np.argsort(p_values, kind="stable")
    adjusted, levels, running, level = [1.0] * num, [alpha] * num, 0.0, alpha / max(1, num)
    for rank, at in enumerate(order):
        if running <= alpha:
            level = alpha / (num - rank)
        running = max(running, min(1.0, (num - rank) * p_values[at]))
        adjusted[at], levels[at] = running, level
    return adjusted, levels


def win_probability(seed_means: Sequence[float]) -> Interval | None:
    """Chance that a run of A scores above a run of B under a fresh seed, on these problems; None without a spread.

    Phi(mean / sd) of the seeds' differences, taken as normal; the interval inverts the noncentral t, exact there.
    """
    values = np.asarray(seed_means, np.float64)
    size, spread = len(values), values.std(ddof=1) if len(values) > 1 else 0.0
    if spread < 1e-12:
        return None
    t = np.sqrt(size) * values.mean() / spread
    low, high = (_noncentrality(t, size - 1, tail) / np.sqrt(size) for tail in (0.975, 0.025))
    value, low, high = (float(stats.norm.cdf(at)) for at in (values.mean() / spread, low, high))
    return Interval(value, low, high, size)


def _noncentrality(t: float, df: int, tail: float) -> float:
    """delta with P(T <= t | delta) = tail, averaging over the chi-square of T's denominator (stable for any t)."""
    roots = np.sqrt(_quantiles(df))
    reach = 10 + 3 * abs(t)
    return cast(float, optimize.brentq(lambda delta: stats.norm.cdf(t * roots - delta).mean() - tail, -reach, reach))


def power(squares: MeanSquares, size: float, alpha: float = ALPHA, num_seeds: int | None = None) -> float:
    """Chance that a true difference of `size` is told from zero with the variances found here, and so many seeds."""
    S = num_seeds or squares.num_seeds
    by_seed, by_problem = float(squares.by_seed) * squares.num_seeds / S, float(squares.by_problem)
    seeds, problems = (stats.t.isf(alpha / 2, n - 1) for n in (S, squares.num_problems))
    halves = np.sqrt(seeds**2 * by_seed * _quantiles(S - 1) + problems**2 * by_problem)
    spread = np.sqrt(by_seed + by_problem)
    return float((stats.norm.sf((halves - size) / spread) + stats.norm.cdf((-halves - size) / spread)).mean())


def resolvable(squares: MeanSquares, alpha: float = ALPHA, num_seeds: int | None = None, wanted: float = 0.8) -> float:
    """The smallest true difference that would be told from zero with that chance (`power`)."""

    def excess(size: float) -> float:
        return power(squares, size, alpha, num_seeds) - wanted

    high = 1.0
    while excess(high) < 0:
        high *= 2
    return cast(float, optimize.brentq(excess, 0.0, high, xtol=1e-6))


def _quantiles(df: int) -> np.ndarray:
    """Equally likely values of a chi-square over its degrees of freedom."""
    return stats.chi2.ppf((np.arange(POWER_GRID) + 0.5) / POWER_GRID, df) / df
