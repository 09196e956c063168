"""Results of a comparison as plain data. Numbers come from `contrasts`; nothing is drawn here."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from r1lab.comparison.contrasts import Contrast, contrasts, gain, ranking, score
from r1lab.comparison.design import Design, controls_among
from r1lab.comparison.spent import QUANTITIES, is_matched
from r1lab.comparison.trials import Trial, shared_set
from r1lab.errors import RunError
from r1lab.evaluation.coverage import Coverage, coverage
from r1lab.run.manifest import r1lab_version
from r1lab.stats.intervals import Interval

COSTS = ("tokens", "flops", "seconds")
STEPS = (0.25, 0.5, 0.75)
"""Shares of the way from where the regimes begin to the best final score, whose cost is told."""


@dataclass(frozen=True)
class Reached:
    """Budget tokens until a score was reached, by interpolation between evaluations."""

    target: float
    by_seed: Mapping[int, float | None]
    """None: not reached."""

    @property
    def median(self) -> float | None:
        """Over the seeds that reached it; None where fewer than all did."""
        reached = [tokens for tokens in self.by_seed.values() if tokens is not None]
        return median(reached) if len(reached) == len(self.by_seed) else None

    @property
    def num(self) -> int:
        return sum(value is not None for value in self.by_seed.values())


@dataclass(frozen=True)
class Regime:
    """A regime's runs and what they came to."""

    name: str
    trials: Sequence[Trial]
    score: Interval
    """Last evaluation; its 95 % interval is over seeds and problems, of one seed over problems alone."""
    by_seed: Mapping[int, float]
    base: float | None
    """Mean of the evaluations before the first step."""
    reached: Sequence[Reached]
    gain: Interval | None = None
    """The last evaluation minus that before the first step, paired; None where it is not known."""
    end: Interval | None = None
    """Its last evaluation, which `score` is unless the best one counts."""
    best: Interval | None = None
    """The best evaluation instead of the last, chosen for each half of the problems by the other half."""
    shifted: Mapping[str, Interval] = field(default_factory=dict)
    """Last evaluation on sets of another distribution than training's."""
    coverage: Coverage | None = None
    """Beside the model it began with; None where that was not evaluated."""

    @property
    def has_one_seed(self) -> bool:
        return len(self.trials) == 1

    def mean(self, what: str) -> float:
        """Mean over the runs of `tokens`, `flops` or `seconds`."""
        return fmean(getattr(each, what) for each in self.trials)

    @cached_property
    def spent(self) -> dict[str, float | None]:
        """Each quantity of `r1lab.comparison.spent`, mean over the runs; None where one of them does not know it."""
        runs = [each.spent() for each in self.trials]
        columns = {name: [run[name] for run in runs] for name in QUANTITIES}
        return {
            name: None if None in values else fmean(value for value in values if value is not None)
            for name, values in columns.items()
        }


@dataclass(frozen=True)
class Findings:
    """Everything the report says."""

    on: str
    unit: str
    """In which budgets are matched: tokens or flops."""
    regimes: Sequence[Regime]
    contrasts: Sequence[Contrast]
    failed: Mapping[str, str]
    """Why, by run."""
    design: Design = field(default_factory=Design)
    shifted: Mapping[str, Sequence[Contrast]] = field(default_factory=dict)
    """The same pairs on each set of another distribution than training's."""

    @property
    def arms(self) -> list[Regime]:
        """All but the controls."""
        return [each for each in self.regimes if each.name not in self.design.controls]

    @property
    def matched(self) -> dict[str, bool | None]:
        """Whether all regimes had each quantity alike; None where it is not known."""
        return {name: is_matched([each.spent[name] for each in self.regimes]) for name in QUANTITIES}

    @property
    def num_seeds(self) -> int:
        """The most that any pair shares; a pair with one says so itself."""
        return max((each.num_seeds for each in self.contrasts), default=1)

    @property
    def num_problems(self) -> int:
        return self.regimes[0].score.n

    @property
    def ranking(self) -> list[tuple[str, str]]:
        return ranking(self.contrasts)

    @property
    def notes(self) -> list[str]:
        """What is no reason against a ranking, and has to be known."""
        data = {trial.data for each in self.regimes for trial in each.trials}
        names = ", ".join(each.name for each in self.regimes)
        notes = [f"{names}: not all were trained on one set of problems"] if len(data) > 1 else []
        keeping = {each.name for each in self.regimes for trial in each.trials if trial.keeps_best}
        if keeping and len(keeping) < len(self.regimes):
            notes.append(
                f"keep_best is set in {', '.join(sorted(keeping))} alone; the ends and, for every regime alike, the "
                "best evaluations are both shown"
            )
        return notes

    @property
    def best_first(self) -> list[Regime]:
        """The arms, by their scores."""
        return sorted(self.arms, key=lambda each: -each.score.value)

    def between(self, a: str, b: str) -> Contrast:
        """The pair, whichever way round it stands."""
        return next(each for each in self.contrasts if {each.a, each.b} == {a, b})

    def pair(self, a: str, b: str) -> Contrast | None:
        """The same; None where it is not of the design, or one of the two has no run."""
        return next((each for each in self.contrasts if {each.a, each.b} == {a, b}), None)

    def named(self, name: str) -> Regime:
        return next(each for each in self.regimes if each.name == name)

    def summary(self, answer: str, folder: Path | None = None) -> dict[str, Any]:
        """As plain data, with the `answer` in words; paths are relative to `folder`. Only what stands under `seconds`
        may differ on another day."""
        return {
            "answer": answer,
            "on": self.on,
            "seeds": self.num_seeds,
            "one_seed": self.num_seeds == 1,
            "problems": self.num_problems,
            "matched_in": self.unit,
            "r1lab": r1lab_version(),
            "ranking": [{"higher": higher, "lower": lower} for higher, lower in self.ranking],
            "regimes": {each.name: _regime(each, folder) for each in self.regimes},
            "contrasts": [_contrast(each) for each in self.contrasts],
            "failed": dict(self.failed),
            "notes": self.notes,
            "by": self.design.by,
            "matched": self.matched,
            "controls": dict(self.design.controls),
            "sweep": {"key": self.design.sweep.key, "cells": self.design.sweep.cells} if self.design.sweep else None,
            "shifted": {name: [_contrast(each) for each in pairs] for name, pairs in self.shifted.items()},
        }


def findings(
    regimes: Mapping[str, Sequence[Trial]],
    set_name: str | None,
    targets: Sequence[float],
    failed: Mapping[str, str],
    design: Design | None = None,
) -> Findings:
    """Compare what is there. RunError where fewer than two regimes have a run that was evaluated."""
    having = {name: trials for name, trials in regimes.items() if trials}
    if len(having) < 2:
        why = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise RunError(f"only {', '.join(having) or 'none'} of the regimes has a run to compare ({why})")
    design = design or Design()
    design = replace(design, controls={**controls_among(having), **design.controls})
    every = [each for trials in having.values() for each in trials]
    marked = [set_name for set_name in every[0].shifted_sets if all(set_name in each.sets for each in every)]
    name = shared_set({each.name: each.sets for each in every}, set_name, marked)
    unit = design.match or _unit(every)
    aims = sorted({*_targets(having, name), *targets})
    shifted = [each for each in marked if each != name]
    made = [_of_regime(regime, trials, name, aims, shifted, design.by) for regime, trials in having.items()]
    further = {each: contrasts(having, each, unit, failed, design) for each in shifted}
    return Findings(name, unit, made, contrasts(having, name, unit, failed, design), failed, design, further)


def _unit(trials: Sequence[Trial]) -> str:
    by_flops = [each.stop.get("max_flops") and not each.stop.get("max_tokens") for each in trials]
    return "flops" if all(by_flops) else "tokens"


def _targets(regimes: Mapping[str, Sequence[Trial]], set_name: str) -> list[float]:
    """Scores at a quarter, a half and three quarters of the way from the lowest start to the best mean end."""
    start = min(each.points(set_name)[0][1] for trials in regimes.values() for each in trials)
    end = max(fmean(each.points(set_name)[-1][1] for each in trials) for trials in regimes.values())
    return [round(start + share * (end - start), 3) for share in STEPS] if end > start else []


def _of_regime(
    name: str, trials: Sequence[Trial], set_name: str, aims: Sequence[float], shifted: Sequence[str], by: str
) -> Regime:
    firsts = [each.points(set_name)[0][1] for each in trials if each.points(set_name)[0][0] == 0]
    base = fmean(firsts) if len(firsts) == len(trials) else None
    reached = [Reached(aim, {each.seed: tokens_to(each.points(set_name), aim) for each in trials}) for aim in aims]
    best, end = score(trials, set_name, "best"), score(trials, set_name)
    counted, by = (best, "best") if by == "best" and best is not None else (end, "end")
    by_seed = {
        each.seed: float(right_N.mean()) for each in trials if (right_N := each.right_N(set_name, by)) is not None
    }
    assert counted is not None  # the last evaluations are there, of one number of problems or refused
    further = {each: value for each in shifted if (value := score(trials, each)) is not None}
    known: dict[str, Any] = {
        "gain": gain(trials, set_name),
        "end": end,
        "best": best,
        "shifted": further,
        "coverage": _coverage(trials, set_name),
    }
    return Regime(name, trials, counted, by_seed, base, reached, **known)


def _coverage(trials: Sequence[Trial], set_name: str) -> Coverage | None:
    pairs = [(each.first_evaluation(set_name), each.last_evaluation(set_name)) for each in trials]
    known = [(first, last) for first, last in pairs if first is not None]
    asked = {(each.problems, each.completions) for pair in known for each in pair}
    if len(known) < len(pairs) or len(asked) > 1 or len(known[0][0].problems) < 2:
        return None
    base, trained = (np.stack([pair[at].right_NK for pair in known]) for at in (0, 1))
    return coverage(base, trained)


def tokens_to(points: Sequence[tuple[float, float]], target: float) -> float | None:
    """Where a curve of (tokens, score) first comes to `target`, on straight lines between its points.

    >>> tokens_to([(0, 0.0), (100, 0.5), (200, 1.0)], 0.75)
    150.0
    """
    if points[0][1] >= target:
        return float(points[0][0])
    for (x, low), (right, high) in pairwise(points):
        if low < target <= high:
            return x + (right - x) * (target - low) / (high - low)
    return None


def _regime(regime: Regime, folder: Path | None) -> dict[str, Any]:
    def place(path: Path) -> str:
        return os.path.relpath(path, folder) if folder else str(path)

    return {
        "score": regime.score._asdict(),
        "by_seed": {str(seed): value for seed, value in regime.by_seed.items()},
        "gain": regime.gain and regime.gain._asdict(),
        "best": regime.best and regime.best._asdict(),
        "shifted": {name: value._asdict() for name, value in regime.shifted.items()},
        "coverage": regime.coverage and regime.coverage.plain(),
        "spent": regime.spent,
        "one_seed": regime.has_one_seed,
        "base": regime.base,
        **{cost: {str(trial.seed): getattr(trial, cost) for trial in regime.trials} for cost in COSTS},
        "runs": {str(trial.seed): place(trial.path) for trial in regime.trials},
        "hashes": {str(trial.seed): trial.manifest.get("hash") for trial in regime.trials},
        "tokens_to_reach": [
            {"score": aim.target, "by_seed": {str(seed): value for seed, value in aim.by_seed.items()}}
            for aim in regime.reached
        ],
    }


def _contrast(contrast: Contrast) -> dict[str, Any]:
    def bounds(interval: Interval | None) -> dict | None:
        return interval._asdict() if interval else None

    return {
        "a": contrast.a,
        "b": contrast.b,
        "difference": bounds(contrast.difference),
        "by_seed": {str(seed): value for seed, value in contrast.by_seed.items()},
        "one_seed": contrast.num_seeds == 1,
        "p": contrast.p,
        "p_holm": contrast.adjusted_p,
        "holm_interval": bounds(contrast.corrected),
        "win_probability": bounds(contrast.win),
        "resolvable": {str(size): value for size, value in contrast.resolvable.items()},
        "winner": contrast.winner,
        "refused": [asdict(refusal) for refusal in contrast.refusals],
    }
