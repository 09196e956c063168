"""Do forecasts order what came? Spearman's rank correlation with its exact permutation p.

    python experiments/benchmarks/forecast_ranks.py FORECASTS COMPARISON [--by mixed] [--json FILE]

FORECASTS is a JSON list of {setting, regime, seed, ...} with the figure forecast by; COMPARISON a comparison's folder.
Each forecast goes with the score at the end of that regime's run of that seed. The p is the share of all orders whose
correlation is at least as far from its mean, ties as they are; nothing is sampled, and up to 16 forecasts are counted
in seconds. That seeds of one setting resemble each other it does not know.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

import bars  # isort: skip

MOST = 16


def exact_spearman(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Rank correlation, ties at their mean rank, and its two-sided p over all orders."""
    if not 2 <= len(first) == len(second) <= MOST:
        raise ValueError(f"{len(first)} and {len(second)} values: give as many of each, from 2 to {MOST}")
    one, other = (np.rint(2 * rankdata(values) - 2).astype(int) for values in (first, second))
    centre = one.sum() * other.sum() / len(one)
    spread = np.sqrt(one.var() * other.var()) * len(one)
    if not spread:
        raise ValueError("all values of one side are equal: they have no order")
    told = int(one @ other)
    counts = _product_counts(one, other)
    distance = abs(np.arange(len(counts)) - centre)
    return (told - centre) / spread, float(counts[distance >= abs(told - centre) - 1e-9].sum() / counts.sum())


def _product_counts(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How many orders of `other` have each sum of products with `one`, float64 [sums]; exact below 2^53 orders.

    By sets of what is placed: those of the first i places are made of those of i - 1.
    """
    size = int(np.sort(one) @ np.sort(other)) + 1  # the largest sum is that of equal orders
    placed = {0: np.eye(1, size)[0]}
    for place, value in enumerate(one):
        further: dict[int, np.ndarray] = {}
        for chosen in combinations(range(len(other)), place + 1):
            counts = np.zeros(size)
            for index in chosen:
                before, step = placed[sum(1 << each for each in chosen if each != index)], int(value * other[index])
                counts[step:] += before[: size - step]
            further[sum(1 << each for each in chosen)] = counts
        placed = further
    return placed[(1 << len(other)) - 1]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("forecasts", type=Path)
    parser.add_argument("comparison", type=Path, help="folder of a comparison")
    parser.add_argument("--by", default="mixed", help="the figure of a forecast")
    parser.add_argument("--json", type=Path, help="write the rows here")
    asked = parser.parse_args()
    forecasts = json.loads(asked.forecasts.read_text(encoding="utf-8"))
    regimes = json.loads((asked.comparison / "comparison.json").read_text(encoding="utf-8"))["regimes"]
    ends = [regimes[each["regime"]]["by_seed"][str(each["seed"])] for each in forecasts]
    for each, end in zip(forecasts, ends):
        print(f"{each['setting']:<14} seed {each['seed']}  forecast {each[asked.by]:.3f}  came {end:.3f}")
    correlation, p = exact_spearman([each[asked.by] for each in forecasts], ends)
    rows = [bars.row(f"rank correlation by {asked.by}", correlation, ">=", None, p=p, forecasts=len(forecasts))]
    print(f"rank correlation by {asked.by}: {correlation:+.2f}, exact two-sided p {p:.2g}, {len(forecasts)} forecasts")
    return bars.finish(rows, asked.json)


if __name__ == "__main__":
    sys.exit(main())
