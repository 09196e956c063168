"""Runs of a comparison by their whole curves: the area below, the score at a budget, and each beside a first recipe.

    python experiments/benchmarks/curve_area.py COMPARISON --at 100000 [--beside zero] [--json FILE]

A curve is straight between evaluations and flat behind the last; a run without an evaluation before its first step
begins where another of its seed does. The area is the mean height from 0 to the budget. Intervals are Student's t over
the seeds, differences paired by seed: with three seeds they are wide. Trains nothing.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import bars  # isort: skip
from r1lab.comparison import trials
from r1lab.stats.intervals import Interval, mean_interval


def points(folder: Path, answer: dict) -> dict[str, dict[int, list[tuple[float, float]]]]:
    """Regime -> seed -> (budget tokens, share of right answers)."""
    curves = {
        name: {int(seed): trials.trial(folder / run, name).points(answer["on"]) for seed, run in regime["runs"].items()}
        for name, regime in answer["regimes"].items()
    }
    starts = {seed: curve[0] for runs in curves.values() for seed, curve in runs.items() if curve and curve[0][0] == 0}
    return {
        name: {
            seed: curve if curve[0][0] == 0 or seed not in starts else [starts[seed], *curve]
            for seed, curve in runs.items()
        }
        for name, runs in curves.items()
    }


def area(curve: list[tuple[float, float]], budget: float) -> float:
    """Mean height of the curve from 0 to the budget."""
    at, right = zip(*curve)
    grid = np.unique([0.0, *(tokens for tokens in at if tokens < budget), budget])
    return float(np.trapezoid(np.interp(grid, at, right), grid) / budget)


def score_at(curve: list[tuple[float, float]], budget: float) -> float:
    """Height of the curve at the budget."""
    at, right = zip(*curve)
    return float(np.interp(budget, at, right))


def shown(interval: Interval, sign: str = "") -> str:
    """A share with its interval, in per cent."""
    value, low, high = (f"{100 * each:{sign}.1f}" for each in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of a comparison")
    parser.add_argument("--at", type=float, required=True, help="budget tokens")
    parser.add_argument("--beside", help="the recipe that others are compared with; else the first")
    parser.add_argument("--json", type=Path, help="write the rows here")
    asked = parser.parse_args()
    curves = points(asked.folder, json.loads((asked.folder / "comparison.json").read_text(encoding="utf-8")))
    beside = asked.beside or next(iter(curves))
    rows = []
    print(f"| regime | area, % | beside {beside} | at {asked.at:,.0f} tokens, % | beside {beside} |")
    print("|---|---|---|---|---|")
    for name, runs in curves.items():
        cells = []
        for measure in (area, score_at):
            values = {seed: measure(curve, asked.at) for seed, curve in runs.items()}
            others = {seed: measure(curve, asked.at) for seed, curve in curves[beside].items()}
            interval = mean_interval(list(values.values()))
            gap = mean_interval([values[seed] - others[seed] for seed in values]) if name != beside else None
            cells += [shown(interval), shown(gap, "+") if gap else "-"]
            more = {"low": interval.low, "high": interval.high, "by_seed": values}
            rows.append(bars.row(f"{name} {measure.__name__}", interval.value, ">=", None, **more))
        print(f"| `{name}` | {' | '.join(cells)} |")
    return bars.finish(rows, asked.json)


if __name__ == "__main__":
    sys.exit(main())
