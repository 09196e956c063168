"""How the regimes of a comparison belong together: whose control one is, which stand at one value of a sweep, and so
which pairs are compared. Computes no figure (`r1lab.comparison.contrasts`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from r1lab.comparison.trials import Trial
from r1lab.recipe.base import digest

Pair = tuple[str, str]


@dataclass(frozen=True)
class Sweep:
    """One key's values, crossed with recipes."""

    key: str
    cells: Mapping[str, Mapping[str, str]]
    """Recipe -> value -> regime; a regime may stand in several cells, where their runs would be equal."""

    @property
    def values(self) -> list[str]:
        return list(dict.fromkeys(value for cells in self.cells.values() for value in cells))

    def at(self, value: str) -> dict[str, str]:
        """Recipe -> regime."""
        return {recipe: cells[value] for recipe, cells in self.cells.items() if value in cells}


@dataclass(frozen=True)
class Design:
    """What is compared with what."""

    controls: Mapping[str, str] = field(default_factory=dict)
    """Control's regime -> the regime that it controls."""
    sweep: Sweep | None = None
    match: str | None = None
    """What budgets are matched in, where that was asked for."""
    by: str = "end"
    """Which evaluation of a run counts: `end`, or `best` (`Trial.right_N`)."""

    def pairs(self, names: Sequence[str]) -> list[Pair]:
        """In the regimes' order: a control with what it controls alone; in a sweep of several recipes those of one
        value."""
        arms = [name for name in names if name not in self.controls]
        pairs: list[Pair] = []
        if self.sweep is not None and len(self.sweep.cells) > 1:
            for value in self.sweep.values:
                pairs += combinations(
                    [name for name in dict.fromkeys(self.sweep.at(value).values()) if name in arms], 2
                )
        else:
            pairs += combinations(arms, 2)
        pairs += [(arm, control) for control, arm in self.controls.items() if {arm, control} <= set(names)]
        return list(dict.fromkeys(pairs))


def controls_among(regimes: Mapping[str, Sequence[Trial]]) -> dict[str, str]:
    """Of runs that are read: each control's regime -> the one that differs from it by nothing but the verdict."""
    plain, controls = {}, {}
    for name, trials in regimes.items():
        replaced = trials[0].train_verifier or {}
        if replaced.get("use") == "control":
            controls[name] = _without_verdict(trials[0])
        elif not replaced:
            plain[_without_verdict(trials[0])] = name
    return {name: plain[key] for name, key in controls.items() if key in plain}


def _without_verdict(trial: Trial) -> str:
    """Hash of what the run is, but for its seed and what replaced its verdict."""
    identity = dict(trial.manifest["identity"])
    identity.pop("seed", None)
    stages = identity.get("stages") or {}
    kept = {name: {key: value for key, value in knobs.items() if key != "train_verifier"}
            for name, knobs in stages.items() if isinstance(knobs, dict)}  # fmt: skip
    return digest({**identity, "stages": kept})
