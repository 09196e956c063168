r"""A learned reward against the truth it was learned from, over training: a table, and a figure of runs that are there.

    python experiments/benchmarks/learned_reward.py DIR/runs [--figure FIGURE.png] [--json FILE]

DIR is that of `r1lab compare tidy_rlvr tidy_ppo tidy_grpo tidy_dpo`: a run's folder is its recipe's name and seed. The
learned reward is the mean raw score of a step's own samples, the truth the mean score of the held-out set.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from matplotlib.figure import Figure

from r1lab.report.theme import DASHES, MARKERS, Theme, axes_grid, dress_axes, legend, png_pair

TRUTH, LEARNED, TOKENS = "eval/held_out/score", "reward/raw/learned", "tokens/budget"


class Point(NamedTuple):
    """A step at which the truth was measured."""

    tokens: int
    truth: float
    learned: float | None


def points(run: Path) -> list[Point]:
    """Of a run's policy, in order."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [row for row in rows if row.get(TRUTH) is not None]
    return [Point(row[TOKENS], row[TRUTH], row.get(LEARNED)) for row in told]


def arms(folder: Path) -> dict[str, list[list[Point]]]:
    """The finished runs of each recipe, seed by seed."""
    finished: dict[str, list[list[Point]]] = defaultdict(list)
    for run in sorted(folder.iterdir()):
        name, _, seed = run.name.rpartition("-")
        if seed.isdigit() and (run / "model").exists() and (of_run := points(run)):
            finished[name].append(of_run)
    return dict(finished)


def mean_of(runs: Sequence[Sequence[Point]]) -> list[Point]:
    """The mean over seeds at each evaluation that all have."""
    return [
        Point(
            round(fmean(point.tokens for point in at)),
            fmean(point.truth for point in at),
            fmean(point.learned for point in at if point.learned is not None)
            if all(point.learned is not None for point in at)
            else None,
        )
        for at in zip(*runs)
    ]


def table(recipes: Mapping[str, Sequence[Sequence[Point]]]) -> Iterator[dict]:
    """What each recipe ends with, and its best truth, by seed."""
    for name, runs in recipes.items():
        for seed, run in enumerate(runs):
            best, last = max(run, key=lambda point: point.truth), run[-1]
            yield {
                "recipe": name, "seed": seed, "truth at the end": last.truth, "best truth": best.truth,
                "at tokens": best.tokens, "learned at the end": last.learned, "learned at the best": best.learned,
            }  # fmt: skip


def curve(run: Sequence[Point], column: str) -> list[tuple[int, float]]:
    """(budget tokens, value) where a run has one."""
    return [(point.tokens, value) for point in run if (value := getattr(point, column)) is not None]


def painted(recipes: Mapping[str, Sequence[Sequence[Point]]]) -> bytes:
    """PNG of two panels over budget tokens: the learned reward, and the truth."""

    def paint(figure: Figure, theme: Theme) -> None:
        of_learned, of_truth = axes_grid(figure, 2, 1)
        dress_axes(of_learned, theme, "budget tokens", "learned reward, mean of samples")
        dress_axes(of_truth, theme, "budget tokens", "truth, held out")
        handles = {}
        for place, (name, runs) in enumerate(recipes.items()):
            style = {"color": theme.runs[place], "marker": MARKERS[place], "linestyle": DASHES[place % len(DASHES)]}
            for ax, column in ((of_learned, "learned"), (of_truth, "truth")):
                for run in filter(None, (curve(run, column) for run in runs)):
                    ax.plot(*zip(*run), color=theme.runs[place], linewidth=0.6, alpha=0.4)
                if mean := curve(mean_of(runs), column):
                    (handles[name],) = ax.plot(*zip(*mean), label=name, markersize=3.5, linewidth=1.4, **style)
        legend(figure, list(handles.values()), theme)

    light, _ = png_pair((7.2, 6.0), paint)
    return light


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    recipes = arms(given.runs)
    rows = list(table(recipes))
    for row in rows:
        print("  ".join(f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in
                        row.items()))  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if given.figure:
        given.figure.write_bytes(painted(recipes))


if __name__ == "__main__":
    main()
