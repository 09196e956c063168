"""Axis 5: the entropy bonus, a term -coef H of the loss on policy tokens (METHODS 2.3)."""

import math

from torch import Tensor

from r1lab.errors import RecipeError


def bonus(*, entropy: Tensor, coef: float = 0.0) -> Tensor:
    """-coef H [N], differentiable in the entropy."""
    return -coef * entropy


def coefficient(settings: dict | None) -> float:
    """The recipe's `entropy: {coef}`; 0 is off."""
    settings = settings or {}
    unknown = set(settings) - {"coef"}
    value = settings.get("coef", 0.0)
    if unknown or type(value) not in (int, float) or not math.isfinite(value):
        raise RecipeError(f"objective.entropy: {settings!r} must be {{coef: finite number}}")
    return float(value)
