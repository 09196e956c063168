r"""The share of groups with signal that each curriculum draws from a bank of problems whose chances are known.

    python experiments/benchmarks/curricula.py [--json FILE] [--seeds 3]

A third of the bank is never solved, a third always, a third sometimes (chances from 0.1 to 0.9); a group has signal
where its completions are neither all right nor all wrong. Steps of 16 problems x 8 completions; the share is that of
the second half of 120 steps. The policy does not learn, so what moves is what the curriculum knows. `expected` is what
another simulation of such a bank had, whose details are not known: an order of size, no target.
"""

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import bars

from r1lab.records import Draw, Group, Scored, Settled
from r1lab.rollout import curriculum
from r1lab.rollout.sampler import Sampler
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

SIZE, GROUP, PROMPTS, STEPS = 80, 8, 16, 120
KINDS = {"never": (0.0, 0.0), "always": (1.0, 1.0), "sometimes": (0.1, 0.9)}
EXPECTED = {
    "uniform": 0.30, "no_positive_resampling": 0.44, "pools": None, "greso": 0.70, "mopps": 0.78, "sec": 0.83,
    "dump": 0.88,
}  # fmt: skip
LEAST = {name: (expected or 0.6) - 0.05 for name, expected in EXPECTED.items()}
"""Shares below which a curriculum is broken."""


def bank() -> dict[str, list[Problem]]:
    """Problems by kind, their chance in the column `chance`."""
    spread = random.Random(0)
    return {
        kind: [
            Problem(f"{kind}{i}", "q", "a", source=kind, meta={"chance": spread.uniform(*chances), "kind": kind})
            for i in range(SIZE)
        ]
        for kind, chances in KINDS.items()
    }


def answered(draw: Draw, chance: random.Random) -> Settled:
    """A group of the draw, each completion right with its problem's chance."""
    scores = [float(chance.random() < draw.problem.meta["chance"]) for _ in range(draw.group_size)]
    members = (Scored(None, Verdict(score, "correct" if score else "wrong"), score) for score in scores)
    return Settled(Group(draw, tuple(members)), None, "any")


def shares(spec, seed: int, steps: int = STEPS) -> Iterator[float]:
    """Of each step the share of groups with signal."""
    problems = bank()
    sampler = Sampler(problems, [1] * len(problems), seed, curriculum.build(spec, PROMPTS))
    for step in range(steps):
        chance = random.Random(1000 * seed + step)
        block = [answered(draw, chance) for draw in sampler.draw(0, PROMPTS, GROUP)]
        sampler.observe(block)
        yield fmean(0 < sum(member.score for member in each.drawn.members) < GROUP for each in block)


def share_with_signal(spec, seed: int) -> float:
    return fmean(list(shares(spec, seed))[STEPS // 2 :])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    print(f"{'curriculum':24} share  expected")
    for name, expected in EXPECTED.items():
        found = fmean(share_with_signal(name, seed) for seed in range(arguments.seeds))
        print(f"{name:24} {found:.2f}   {'' if expected is None else f'{expected:.2f}'}")
        rows.append(bars.row(f"{name}: groups with signal", found, ">=", LEAST[name], expected=expected))
    return bars.finish(rows, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
