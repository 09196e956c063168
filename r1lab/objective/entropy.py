"""`objective.entropy`: the entropy bonus, a term -coef H on policy tokens, fixed or steered to a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a recipe is checked without torch
    from torch import Tensor


def bonus(*, entropy: Tensor, coef: float = 0.0) -> Tensor:
    """-coef H [N], differentiable in the entropy."""
    return -coef * entropy


class Coefficient:
    """The bonus's coefficient at a step, from the recipe's `entropy: {coef, target, delta}`.

    With a target it rises by `delta` after a step whose mean entropy was at most the target and falls after another,
    never below 0, and acts only while the entropy is at most the target (Skywork-OR1, arXiv 2505.22312).
    """

    def __init__(self, coef: float = 0.0, target: float | None = None, delta: float = 0.005):
        self.coef, self.target, self.delta = coef, target, delta
        self.is_low = target is None

    @property
    def is_on(self) -> bool:
        """Whether it acts at any step."""
        return bool(self.coef) or self.target is not None

    @property
    def value(self) -> float:
        return self.coef if self.is_low else 0.0

    def observe(self, entropy: float | None) -> None:
        """The mean entropy of the step that just ended; None, where it was not measured, changes nothing."""
        if self.target is None or entropy is None:
            return
        self.is_low = entropy <= self.target
        self.coef = max(0.0, self.coef + (self.delta if self.is_low else -self.delta))

    def state_dict(self) -> dict:
        return {"coef": self.coef, "is_low": self.is_low}

    def load_state_dict(self, state: dict) -> None:
        self.coef, self.is_low = state["coef"], state["is_low"]
