r"""How often the intervals of `r1lab.stats.paired` hold the true difference, and how often they find one that is none.

    python experiments/benchmarks/interval_coverage.py [--json FILE] [--simulations 2000] [--base 0.5]
                                                       [--interaction 0.5]

Simulated comparisons of four arms with binary outcomes, one completion of each problem under each seed, on every cell
of seeds x problems x seed sd x problem sd x effect. An outcome of arm a, seed s, problem i is a threshold of normals:

    right = [ level_a + S_as + D_i + I_ai + noise_asi > 0 ],   noise ~ N(0, 1)

- S_as, the run: arm x seed, drawn for each run alone (arms share nothing but the seed's number: the hardest case). Its
  variance makes the *seed sd* the standard deviation of a run's expected score, in points of score.
- D_i the problem's difficulty, the same in all arms, and I_ai what arm a in particular makes of problem i (arm x
  problem). Together they make the *problem sd* the standard deviation over problems of an arm's chance to be right, in
  points of score; `--interaction` is I's share of their variance, on the scale of the threshold.
- What one run alone makes of one problem (arm x seed x problem) is in the noise: with one completion they are the same.
- `level_a` makes arm a's expected score, over all seeds and problems that could be drawn, exactly `base`; arm 0's is
  `base` + `effect`. Both standard deviations are exact at `base`. Every simulation draws seeds and problems anew.

`coverage` is of arm 0 minus arm 1 at 95 %. A *false win* is an interval without zero where there is no effect.
Familywise: all six pairs under Holm, at least one difference claimed where there is none, or with the wrong sign.
"""

import argparse
import itertools
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import bars
import numpy as np
from scipy import optimize, stats

from r1lab.seeds import derive
from r1lab.stats.paired import ALPHA, half_width, mean_squares

SEEDS, PROBLEMS, SEED_SDS, PROBLEM_SDS, EFFECTS = (3, 5, 10), (64, 512), (0.0, 0.03, 0.10), (0.1, 0.4), (0.0, 0.05)
ARMS = 4
PAIRS = list(itertools.combinations(range(ARMS), 2))
CHUNK = 2_000_000
"""Outcomes held in memory at a time; part of the draws, so figures repeat only under the same one."""
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(201)


def spread(base: float, part: float) -> float:
    """Standard deviation of P(right), the overall share being `base`, given a normal that makes up `part` of the
    threshold's variance."""
    share = stats.norm.cdf((stats.norm.ppf(base) + np.sqrt(part) * NODES) / np.sqrt(1 - part))
    return float(np.sqrt(WEIGHTS @ (share - base) ** 2 / WEIGHTS.sum()))


@cache
def scales(base: float, seed_sd: float, problem_sd: float) -> tuple[float, float]:
    """Standard deviations of S and of D + I beside a noise of 1 that give these on the scale of scores."""
    seed, problem = (
        optimize.brentq(lambda part, sd=sd: spread(base, part) - sd, 0.0, 0.999) if sd else 0.0
        for sd in (seed_sd, problem_sd)
    )
    noise = 1 - seed - problem
    if noise <= 0:
        raise ValueError(f"base {base} leaves no room for spreads of {seed_sd} and {problem_sd}")
    return float(np.sqrt(seed / noise)), float(np.sqrt(problem / noise))


def outcomes(rng, count: int, cell: tuple, base: float, interaction: float) -> np.ndarray:
    """right_BASN as float32: simulations, arms, seeds, problems."""
    S, N, seed_sd, problem_sd, effect = cell
    seed, problem = scales(base, seed_sd, problem_sd)
    total = np.sqrt(1 + seed**2 + problem**2)
    level = np.full(ARMS, stats.norm.ppf(base) * total)
    level[0] = stats.norm.ppf(base + effect) * total

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    run = level[:, None, None] + seed * normal(count, ARMS, S, 1)
    difficulty = problem * np.sqrt(1 - interaction) * normal(count, 1, 1, N)
    own = problem * np.sqrt(interaction) * normal(count, ARMS, 1, N)
    noise = normal(count, ARMS, S, N)
    noise += (difficulty + own).astype(np.float32)
    noise += run.astype(np.float32)
    return (noise > 0).astype(np.float32)


def simulate(cell: tuple, simulations: int, base: float, interaction: float) -> dict:
    """Shares over the simulations of one cell."""
    S, N, *_, effect = cell
    rng = np.random.default_rng(derive(0, f"interval_coverage/{cell}"))
    size = max(1, CHUNK // (ARMS * S * N))
    counts = np.zeros(3)
    for start in range(0, simulations, size):
        right = outcomes(rng, min(size, simulations - start), cell, base, interaction)
        found = [mean_squares(right[:, a] - right[:, b]) for a, b in PAIRS]
        half = half_width(found[0])
        counts[0] += (abs(found[0].mean - effect) <= half).sum()
        counts[1] += (abs(found[0].mean) > half).sum() if effect == 0 else 0
        counts[2] += familywise(found, effect).sum()
    covered, false, family = (counts / simulations).tolist()
    names = ("seeds", "problems", "seed_sd", "problem_sd", "effect")
    return dict(zip(names, cell)) | {
        "coverage": covered, "false_wins": false if effect == 0 else None, "familywise_false_wins": family,
    }  # fmt: skip


def familywise(differences: list, effect: float) -> np.ndarray:
    """For each simulation, whether Holm over all pairs claims a difference that is none, or turns one round.

    Holm rejects the r smallest p-values, r the largest number such that for every j <= r at least j are within
    alpha / (m - j + 1): counted here, so that no p-value has to be solved for.
    """
    num = len(PAIRS)
    within = np.array([[abs(of.mean) > half_width(of, ALPHA / (num - j)) for of in differences] for j in range(num)])
    passes = np.logical_and.accumulate(within.sum(1) >= np.arange(1, num + 1)[:, None])
    rejected = passes.sum(0)
    # the level of the last step that passed admits exactly the rejected ones
    claimed = np.where(rejected > 0, np.take_along_axis(within, np.maximum(rejected - 1, 0)[None, None], 0)[0], False)
    true = np.array([effect if a == 0 else 0.0 for a, _ in PAIRS])[:, None]
    means = np.array([of.mean for of in differences])
    return (claimed & (np.sign(means) != np.sign(true))).any(0)


def rows(cells: list[dict]) -> list[dict]:
    """The bars, each with the cell that decides it."""
    nulls = [cell for cell in cells if cell["false_wins"] is not None]
    return [
        decided("coverage_min", ">=", 0.925, min(cells, key=lambda cell: cell["coverage"]), "coverage"),
        decided("coverage_max", "<=", 0.985, max(cells, key=lambda cell: cell["coverage"]), "coverage"),
        decided("false_wins_max", "<=", 0.065, max(nulls, key=lambda cell: cell["false_wins"]), "false_wins"),
        decided(
            "familywise_false_wins_max",
            "<=",
            0.065,
            max(cells, key=lambda cell: cell["familywise_false_wins"]),
            "familywise_false_wins",
        ),
    ]


def decided(name: str, sense: str, limit: float, cell: dict, key: str) -> dict:
    return bars.row(name, cell[key], sense, limit, cell=cell)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows and every cell there")
    parser.add_argument("--simulations", type=int, default=2000, help="of each cell")
    parser.add_argument("--base", type=float, default=0.5, help="expected score of an arm without effect")
    parser.add_argument("--interaction", type=float, default=0.5, help="the arm's own share of the problems' variance")
    given = parser.parse_args()
    if given.simulations < 1 or not 0 <= given.interaction <= 1:
        parser.error("--simulations is at least 1, --interaction between 0 and 1")
    try:
        scales(given.base, max(SEED_SDS), max(PROBLEM_SDS))
    except ValueError as error:
        parser.error(f"--base {given.base}: {error}; take one nearer to 0.5")
    began, grid = time.monotonic(), list(itertools.product(SEEDS, PROBLEMS, SEED_SDS, PROBLEM_SDS, EFFECTS))
    one = partial(simulate, simulations=given.simulations, base=given.base, interaction=given.interaction)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        cells = list(pool.map(one, grid))
    found = rows(cells)
    print("\n".join(map(bars.line, found)))
    print(f"{len(cells)} cells of {given.simulations} simulations in {time.monotonic() - began:.0f} s")
    found[0]["cells"] = cells
    return bars.finish(found, given.json)


if __name__ == "__main__":
    sys.exit(main())
