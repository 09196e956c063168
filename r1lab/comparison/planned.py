"""A run of a comparison that is still to make: a recipe at a seed, in its folder. Loads and runs nothing
(`r1lab.comparison.jobs`)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from r1lab.recipe import load
from r1lab.recipe.load import Plan


@dataclass(frozen=True)
class Planned:
    """A run to make, or to go on with."""

    regime: str
    seed: int
    raw: dict[str, Any]
    """The recipe as plain data, with its seed and folder."""
    base: Path

    @property
    def name(self) -> str:
        return f"{self.regime}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        return Path(self.raw["out"])

    def plan(self, threads: int = 0) -> Plan:
        """Resolved; stages that leave their threads open take `threads`."""
        plan = load.resolve(self.raw, self.base)
        if not threads:
            return plan
        stages = [stage if stage.threads else stage.model_copy(update={"threads": threads}) for stage in plan.stages]
        return replace(plan, stages=tuple(stages))
