"""Results of a comparison as plain data. Numbers come from `contrasts`; nothing is drawn here."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

from r1lab.comparison.contrasts import Contrast, contrasts, ranking, score
from r1lab.comparison.trials import Trial, shared_set
from r1lab.errors import RunError
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

    @property
    def has_one_seed(self) -> bool:
        return len(self.trials) == 1

    def mean(self, what: str) -> float:
        """Mean over the runs of `tokens`, `flops` or `seconds`."""
        return fmean(getattr(each, what) for each in self.trials)


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

    @property
    def num_seeds(self) -> int:
        """The most that any pair shares; a pair with one says so itself."""
        return max(each.num_seeds for each in self.contrasts)

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
        return [f"{names}: not all were trained on one set of problems"] if len(data) > 1 else []

    @property
    def best_first(self) -> list[Regime]:
        return sorted(self.regimes, key=lambda each: -each.score.value)

    def between(self, a: str, b: str) -> Contrast:
        """The pair, whichever way round it stands."""
        return next(each for each in self.contrasts if {each.a, each.b} == {a, b})

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
        }


def findings(
    regimes: Mapping[str, Sequence[Trial]], set_name: str | None, targets: Sequence[float], failed: Mapping[str, str]
) -> Findings:
    """Compare what is there. RunError where fewer than two regimes have a run that was evaluated."""
    having = {name: trials for name, trials in regimes.items() if trials}
    if len(having) < 2:
        why = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise RunError(f"only {', '.join(having) or 'none'} of the regimes has a run to compare ({why})")
    name = shared_set({each.name: each.sets for trials in having.values() for each in trials}, set_name)
    unit = _unit([each for trials in having.values() for each in trials])
    aims = sorted({*_targets(having, name), *targets})
    made = [_of_regime(regime, trials, name, aims) for regime, trials in having.items()]
    return Findings(name, unit, made, contrasts(having, name, unit, failed), failed)


def _unit(trials: Sequence[Trial]) -> str:
    by_flops = [each.stop.get("max_flops") and not each.stop.get("max_tokens") for each in trials]
    return "flops" if all(by_flops) else "tokens"


def _targets(regimes: Mapping[str, Sequence[Trial]], set_name: str) -> list[float]:
    """Scores at a quarter, a half and three quarters of the way from the lowest start to the best mean end."""
    start = min(each.points(set_name)[0][1] for trials in regimes.values() for each in trials)
    end = max(fmean(each.points(set_name)[-1][1] for each in trials) for trials in regimes.values())
    return [round(start + share * (end - start), 3) for share in STEPS] if end > start else []


def _of_regime(name: str, trials: Sequence[Trial], set_name: str, aims: Sequence[float]) -> Regime:
    firsts = [each.points(set_name)[0][1] for each in trials if each.points(set_name)[0][0] == 0]
    by_seed = {each.seed: float(each.last_evaluation(set_name).right_N.mean()) for each in trials}
    base = fmean(firsts) if len(firsts) == len(trials) else None
    reached = [Reached(aim, {each.seed: tokens_to(each.points(set_name), aim) for each in trials}) for aim in aims]
    return Regime(name, trials, score(trials, set_name), by_seed, base, reached)


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
