"""What training did to the problems that k samples solve: pass@k of base and trained model on the same problems, and
which problems were newly solved, lost or sharpened. Counts in, figures and a sentence out; nothing is sampled here.

pass@k is the unbiased estimate of Chen et al. 2021 (arXiv 2107.03374), for no k above the completions that there are.
That more samples of the base model would catch up is an old finding (Yue et al. 2025, arXiv 2504.13837): what lies
above the largest k is not said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from math import comb
from typing import Any, NamedTuple

import numpy as np

from r1lab.evaluation.scores import depths, share_right
from r1lab.report.tables import points
from r1lab.seeds import derive
from r1lab.stats import intervals
from r1lab.stats.intervals import Interval, pass_at_k

KINDS = {
    "solved": "newly solved: none of the base model's samples right, some of the trained one's",
    "lost": "lost: some of the base model's right, none of the trained one's",
    "sharpened": "sharpened: both have right ones, the trained model a larger share",
    "dulled": "dulled: both have right ones, the trained model a smaller share",
    "unchanged": "unchanged: the same share",
}


class PassAtK(NamedTuple):
    """pass@k of both models, and the difference, paired by problem (and seed)."""

    k: int
    base: Interval
    trained: Interval
    difference: Interval


@dataclass(frozen=True)
class Coverage:
    """Base and trained model on the same problems."""

    n: int
    """Largest k that both have samples for."""
    curve: tuple[PassAtK, ...]
    """k ascending, from 1 to n."""
    kinds: Mapping[str, int]
    """Problems of each kind, over all seeds."""
    by_chance: Mapping[str, float]
    """As many as were to be expected, had nothing changed: right samples of a problem shuffled between the models."""
    num_problems: int
    num_seeds: int

    @property
    def sentence(self) -> str:
        """What the intervals allow to say, and what not."""
        last, first = self.curve[-1], self.curve[0]
        if self.n == 1:
            return (
                f"One sample a problem says nothing of coverage: pass@1 changed by {points(first.difference)}, and "
                "pass@k for k above 1 needs k samples (eval.n)"
            )
        above = f"of k above {self.n}, the samples that there are, nothing is said"
        said = f"pass@{self.n} changed by {points(last.difference)}"
        if last.difference.low > 0:
            claim = f"expanded: more problems are solved within {self.n} samples than before ({said})"
        elif last.difference.high < 0:
            claim = f"narrowed: fewer problems are solved within {self.n} samples than before ({said})"
        elif first.difference.low > 0:
            claim = (
                f"sharpened what {self.n} samples already found: pass@1 changed by {points(first.difference)}, and "
                f"that more problems were reached is not shown ({said}, which holds zero)"
            )
        elif first.difference.high < 0:
            claim = f"lost precision: pass@1 changed by {points(first.difference)}, and {said}, which holds zero"
        else:
            claim = f"is not shown to have changed anything: pass@1 changed by {points(first.difference)}, {said}"
        return f"Training {claim}; {above}"

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        curve = [
            {"k": each.k} | {name: getattr(each, name)._asdict() for name in ("base", "trained", "difference")}
            for each in self.curve
        ]
        return asdict(self) | {"curve": curve, "sentence": self.sentence}


def coverage(base_SNK: np.ndarray, trained_SNK: np.ndarray, seed: int = 0) -> Coverage:
    """Of outcomes [seeds, problems, completions], bool, of both models on the same problems; their completions may be
    of different numbers. Intervals are over problems and, of several seeds, over those too. ValueError under two
    problems."""
    if base_SNK.shape[:2] != trained_SNK.shape[:2] or base_SNK.shape[1] < 2:
        raise ValueError(
            f"outcomes {base_SNK.shape} and {trained_SNK.shape}: the same problems on both sides, two at least"
        )
    counts_SN = [each.sum(-1) for each in (base_SNK, trained_SNK)]
    sizes = [each.shape[-1] for each in (base_SNK, trained_SNK)]
    n = min(sizes)
    curve = tuple(_pass_at(k, counts_SN, sizes, seed) for k in sorted({1, *depths(n)}))
    pairs = list(zip(counts_SN[0].ravel().tolist(), counts_SN[1].ravel().tolist()))
    found = [_kind(base, trained, *sizes) for base, trained in pairs]
    chance = [_chances(base + trained, *sizes) for base, trained in pairs]
    return Coverage(
        n,
        curve,
        {kind: found.count(kind) for kind in KINDS},
        {kind: sum(each[kind] for each in chance) for kind in KINDS},
        base_SNK.shape[1],
        base_SNK.shape[0],
    )


def outcomes(groups: Sequence[Sequence[bool]]) -> np.ndarray:
    """Each problem's outcomes as [1, problems, completions]: as many of each as the fewest have."""
    fewest = min(map(len, groups))
    return np.array([[group[:fewest] for group in groups]], bool)


def text(coverage_of_model: Coverage) -> str:
    """The figures for people, a line each."""
    lines = [
        f"  pass@{each.k:<4} {each.base.value:.4f} -> {each.trained.value:.4f}  {points(each.difference)}"
        for each in coverage_of_model.curve
    ]
    kinds = [
        f"{coverage_of_model.kinds[kind]} {said.partition(':')[0]} ({coverage_of_model.by_chance[kind]:.1f} by chance)"
        for kind, said in KINDS.items()
    ]
    return "\n".join([*lines, "  problems  " + ", ".join(kinds), coverage_of_model.sentence])


def _pass_at(k: int, counts_SN: Sequence[np.ndarray], sizes: Sequence[int], seed: int) -> PassAtK:
    passed = [np.vectorize(lambda c, n=n: pass_at_k(n, int(c), k), otypes=[float])(c) for c, n in zip(counts_SN, sizes)]
    grain = 1 / max(sizes)
    name = f"coverage/pass@{k}"
    base, trained = (_interval(values_SN, grain, derive(seed, f"{name}/{at}")) for at, values_SN in enumerate(passed))
    return PassAtK(k, base, trained, _difference(passed[1] - passed[0], grain))


def _interval(values_SN: np.ndarray, grain: float, seed: int) -> Interval:
    if len(values_SN) > 1:
        from r1lab.stats import paired  # loads scipy

        found = paired.interval(paired.mean_squares(values_SN, grain))
        return Interval(found.value, max(0.0, found.low), min(1.0, found.high), found.n)
    value, low, high = share_right([[each] for each in values_SN[0].tolist()], seed)
    assert low is not None and high is not None  # two problems at least
    return Interval(value, low, high, values_SN.shape[1])


def _difference(values_SN: np.ndarray, grain: float) -> Interval:
    if len(values_SN) > 1:
        from r1lab.stats import paired

        return paired.interval(paired.mean_squares(values_SN, grain))
    named = {str(at): value for at, value in enumerate(values_SN[0].tolist())}
    return intervals.paired_score_difference(named, dict.fromkeys(named, 0.0))


def _kind(base: int, trained: int, num_base: int, num_trained: int) -> str:
    if bool(base) != bool(trained):
        return "solved" if trained else "lost"
    apart = trained * num_base - base * num_trained
    return "unchanged" if apart == 0 else "sharpened" if apart > 0 else "dulled"


@cache
def _chances(right: int, num_base: int, num_trained: int) -> dict[str, float]:
    """Chance of each kind where all samples of a problem, so many of them right, are alike (hypergeometric)."""
    chances = dict.fromkeys(KINDS, 0.0)
    for base in range(max(0, right - num_trained), min(right, num_base) + 1):
        share = comb(num_base, base) * comb(num_trained, right - base) / comb(num_base + num_trained, right)
        chances[_kind(base, right - base, num_base, num_trained)] += share
    return chances
