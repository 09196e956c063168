"""Every two regimes against each other: the paired difference, what it shows, and which of the two stands higher.

Numbers come from `r1lab.stats.paired`, reasons not to rank from `r1lab.comparison.comparable`. Nothing is read or drawn
here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from r1lab.comparison.comparable import Refusal, reasons_not_to_rank
from r1lab.comparison.design import Design
from r1lab.comparison.trials import Trial
from r1lab.stats import paired
from r1lab.stats.intervals import Interval, mean_interval, wilson

MORE_SEEDS = (3, 5, 10)
"""Numbers of seeds that the power note speaks of, beside the one at hand."""
LEVEL = 1 - paired.ALPHA


@dataclass(frozen=True)
class Contrast:
    """Regime `a` minus regime `b` on one evaluation set."""

    a: str
    b: str
    by_seed: Mapping[int, float] = field(default_factory=dict)
    """Difference of the scores at each seed that both have."""
    difference: Interval | None = None
    """With its 95 % interval over seeds and problems, of one seed over problems alone. None: not the same problems."""
    corrected: Interval | None = None
    """The interval of the level that Holm's correction holds this difference to; it decides."""
    p: float | None = None
    adjusted_p: float | None = None
    """After Holm, over all differences that could be tested."""
    win: Interval | None = None
    """Chance that a run of `a` beats one of `b` under a fresh seed on these problems."""
    resolvable: Mapping[int, float] = field(default_factory=dict)
    """Smallest true difference that so many seeds would tell from zero four times of five, with the variances found
    and at the level of Holm's first step."""
    refusals: tuple[Refusal, ...] = ()
    parts: paired.MeanSquares | None = field(default=None, repr=False)

    @property
    def num_seeds(self) -> int:
        return len(self.by_seed)

    @property
    def winner(self) -> str | None:
        """The regime that ends higher, where the two are ranked."""
        if self.refusals or self.difference is None:
            return None
        return self.a if self.difference.value > 0 else self.b

    @property
    def is_tested(self) -> bool:
        """Whether nothing but its interval stands against a ranking."""
        return self.parts is not None and not [each for each in self.refusals if each.name != "not_separated"]


def contrasts(
    regimes: Mapping[str, Sequence[Trial]],
    set_name: str,
    unit: str = "tokens",
    failed: Mapping[str, str] | None = None,
    design: Design | None = None,
) -> list[Contrast]:
    """The pairs of a design (else all), in the regimes' order; regimes without a run are left out."""
    having, design = {name: trials for name, trials in regimes.items() if trials}, design or Design()
    budgets = (unit, failed or {})
    return _corrected(
        [_contrast(having[a], having[b], set_name, design.by, *budgets) for a, b in design.pairs(list(having))]
    )


def score(trials: Sequence[Trial], set_name: str, by: str = "end") -> Interval | None:
    """A regime's mean score: over seeds and problems, of one seed over problems alone. None where it is not known."""
    right_SN = [right_N for each in trials if (right_N := each.right_N(set_name, by)) is not None]
    if len(right_SN) < len(trials) or len({len(right_N) for right_N in right_SN}) > 1:
        return None
    return _of_outcomes(np.stack(right_SN), trials[0].last_evaluation(set_name).completions)


def gain(trials: Sequence[Trial], set_name: str) -> Interval | None:
    """By how much a regime ends above where it began, paired by problem and seed; None where it is not known."""
    pairs = [(each.first_evaluation(set_name), each.last_evaluation(set_name)) for each in trials]
    differences = [
        last.right_N - first.right_N for first, last in pairs if first is not None and first.problems == last.problems
    ]
    if len(differences) < len(pairs) or len(differences[0]) < 2 or len({len(each) for each in differences}) > 1:
        return None
    if len(differences) == 1:
        return mean_interval(differences[0].tolist())
    return paired.interval(paired.mean_squares(np.stack(differences), 1 / pairs[0][1].completions))


def _of_outcomes(right_SN: np.ndarray, completions: int) -> Interval:
    if min(right_SN.shape) >= 2:
        found = paired.interval(paired.mean_squares(right_SN, 1 / completions))
        return Interval(found.value, max(0.0, found.low), min(1.0, found.high), found.n)
    values = right_SN.ravel()
    if completions == 1 or len(values) < 2:
        return wilson(round(values.sum() * completions), len(values) * completions)
    return mean_interval(values.tolist())


def _contrast(
    a: Sequence[Trial], b: Sequence[Trial], set_name: str, by: str, unit: str, failed: Mapping[str, str]
) -> Contrast:
    contrast = Contrast(a[0].regime, b[0].regime, refusals=tuple(reasons_not_to_rank(a, b, set_name, unit, failed)))
    last_evaluations = [{each.seed: each.last_evaluation(set_name) for each in trials} for trials in (a, b)]
    seeds = sorted(last_evaluations[0].keys() & last_evaluations[1].keys())
    problems = {last_evaluation.problems for each in last_evaluations for last_evaluation in each.values()}
    if not seeds or len(problems) > 1:
        return contrast
    right = [{each.seed: each.right_N(set_name, by) for each in trials} for trials in (a, b)]
    rows = [(right[0][seed], right[1][seed]) for seed in seeds]
    known = [(one, other) for one, other in rows if one is not None and other is not None]
    if len(known) < len(rows):
        gone = Refusal("best", "an evaluation's table is gone, so the best one is not known")
        return replace(contrast, refusals=(*contrast.refusals, gone))
    difference_SN = np.stack([one - other for one, other in known])
    contrast = replace(contrast, by_seed={seed: float(row.mean()) for seed, row in zip(seeds, difference_SN)})
    if difference_SN.shape[1] < 2:
        return contrast
    if len(seeds) == 1:
        return replace(contrast, difference=mean_interval(difference_SN[0].tolist()))
    parts = paired.mean_squares(difference_SN, 1 / last_evaluations[0][seeds[0]].completions)
    return replace(contrast, difference=paired.interval(parts), parts=parts, p=paired.p_value(parts))


def _corrected(pairs: Sequence[Contrast]) -> list[Contrast]:
    """Holm over the differences that could be ranked; those that it does not separate are refused."""
    tested = [(pair, pair.parts, pair.p) for pair in pairs if pair.is_tested and pair.parts and pair.p is not None]
    adjusted, levels = paired.holm([p for _, _, p in tested])
    strictest = paired.ALPHA / max(1, len(tested))
    decided = {
        (pair.a, pair.b): _decided(pair, parts, p, *corrected, strictest)
        for (pair, parts, p), corrected in zip(tested, zip(adjusted, levels))
    }
    return [decided.get((pair.a, pair.b), pair) for pair in pairs]


def _decided(
    contrast: Contrast, parts: paired.MeanSquares, p: float, adjusted: float, level: float, strictest: float
) -> Contrast:
    sizes = sorted({contrast.num_seeds, *MORE_SEEDS})
    decided = replace(
        contrast,
        adjusted_p=adjusted,
        corrected=paired.interval(parts, level),
        win=paired.win_probability(list(contrast.by_seed.values())),
        resolvable={size: paired.resolvable(parts, strictest, size) for size in sizes},
    )
    if adjusted <= paired.ALPHA:
        return decided
    if p <= paired.ALPHA:
        pairs = round(paired.ALPHA / strictest)
        reason = f"its interval leaves out zero, but not after Holm's correction for {pairs} pairs"
    else:
        reason = "the interval holds zero"
    return replace(decided, refusals=(*decided.refusals, Refusal("not_separated", reason)))


def ranking(pairs: Sequence[Contrast]) -> list[tuple[str, str]]:
    """(higher, lower) of every pair that is ranked."""
    return [(each.winner, each.b if each.winner == each.a else each.a) for each in pairs if each.winner]
