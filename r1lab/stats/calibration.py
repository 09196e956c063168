"""How well scores tell right from wrong, and how far their probabilities can be believed. Pure functions of numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BINS = 10
"""Of equal width over the probabilities from 0 to 1."""


class Bin(NamedTuple):
    """Cases whose probabilities lie in one bin."""

    low: float
    high: float
    count: int
    probability: float
    """Their mean."""
    share: float
    """Of them that came true."""


def auc(scores: Sequence[float], labels: Sequence[int]) -> float | None:
    """The probability that a case labelled 1 has a larger score than one labelled 0, ties half (Mann and Whitney's U);
    None where one of the labels does not occur."""
    from scipy.stats import rankdata

    is_one = np.asarray(labels) == 1
    ones, zeros = int(is_one.sum()), int((~is_one).sum())
    if not ones or not zeros:
        return None
    ranks = rankdata(np.asarray(scores, np.float64))
    return float((ranks[is_one].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def reliability(probabilities: Sequence[float], outcomes: Sequence[int]) -> list[Bin]:
    """The bins that hold cases; a probability on a border lies in the higher bin, 1 in the last."""
    p, came = np.asarray(probabilities, np.float64), np.asarray(outcomes, np.float64)
    place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    chosen = [(number, place == number) for number in range(BINS) if (place == number).any()]
    return [
        Bin(number / BINS, (number + 1) / BINS, int(at.sum()), float(p[at].mean()), float(came[at].mean()))
        for number, at in chosen
    ]


def ece(bins: Sequence[Bin]) -> float:
    """Expected calibration error: |probability - share| over the bins, weighted by their counts (arXiv 1706.04599)."""
    total = sum(each.count for each in bins)
    return sum(each.count * abs(each.probability - each.share) for each in bins) / total
