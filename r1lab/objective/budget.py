"""Axis 2, the rule that gives hard problems more samples at the same total (GVM, arXiv 2505.02391), here without the
gradient norms of each problem. Not curricula, which decide what is drawn (`r1lab.rollout.curriculum`)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from r1lab.errors import RecipeError
from r1lab.objective.group import CorrectOnly, Make, Planned
from r1lab.records import Draw, Settled


@dataclass(frozen=True)
class Gvm(CorrectOnly):
    """Of each problem as many samples as n is proportional to 1 / sqrt(p + alpha / p^(beta - 1)) by its share p of
    right ones so far, at most twice `group_size`; the right ones are kept. A problem that is new has the mean."""

    alpha: float = 1e-3
    beta: float = 2.0
    attempts: ClassVar[int] = 2

    def __post_init__(self) -> None:
        vars(self)["seen"] = {}  # no field: fields are settings

    def plan(self, draw: Draw, make: Make) -> Planned:
        return [make.request(draw, index) for index in range(self.samples_of(draw.problem.id, draw.group_size))]

    def samples_of(self, problem_id: str, group_size: int) -> int:
        """How many completions of a problem are sampled where the mean is `group_size`."""
        seen = vars(self)["seen"]
        if problem_id not in seen:
            return group_size
        weights = [self.weight(right / judged) for right, judged in seen.values()]
        right, judged = seen[problem_id]
        share = self.weight(right / judged) / (math.fsum(weights) / len(weights))
        return min(self.attempts * group_size, max(1, round(group_size * share)))

    def weight(self, solved: float) -> float:
        """1 / sqrt(p + alpha / p^(beta - 1)); 0 of a problem that was never solved, where it tends to."""
        return 1 / math.sqrt(solved + self.alpha / solved ** (self.beta - 1)) if solved else 0.0

    def observe(self, block: Sequence[Settled]) -> None:
        for settled in block:
            fresh = [each for each in settled.drawn.members if each.is_sampled and each.reward is not None]
            if fresh:
                solved = sum(each.score >= self.right for each in fresh)
                before = vars(self)["seen"].get(settled.drawn.draw.problem.id, (0, 0))
                vars(self)["seen"][settled.drawn.draw.problem.id] = (before[0] + solved, before[1] + len(fresh))

    def state_dict(self) -> dict[str, Any]:
        return {"seen": {name: list(counts) for name, counts in vars(self)["seen"].items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self)["seen"] = {name: tuple(counts) for name, counts in state.get("seen", {}).items()}

    def check(self, group_size: int) -> None:
        if self.alpha <= 0 or self.beta < 1:
            raise RecipeError(
                f"objective.group: alpha {self.alpha} must be above 0 and beta {self.beta} at least 1 (gvm)"
            )
