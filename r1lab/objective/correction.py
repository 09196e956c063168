"""Axis 5: what corrects for an engine whose distribution is not the trainer's. Multiplies the term of policy tokens.

Each takes old and engine log-probabilities float32 [N] and returns the factor [N], without gradient. A log-probability
that is not finite gives 0: such tokens are out of the denominator too (`mask`).
"""

import torch
from torch import Tensor

from r1lab.objective.term import Term


def none(*, old: Tensor, engine: Tensor) -> Tensor:
    return torch.ones_like(old)


def tis(*, old: Tensor, engine: Tensor, cap: float = 2.0) -> Tensor:
    """min(exp(old - engine), cap), token level (truncated importance sampling; METHODS 2.3)."""
    rho = (old - engine).clamp(max=20).exp().clamp(max=cap)
    return torch.where(torch.isfinite(engine), rho, 0.0)


CORRECTIONS = {"none": Term(none), "tis": Term(tis)}
