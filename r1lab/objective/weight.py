"""Axis 4: the per-token loss of a role and its trust region. Not its mask or denominator (`aggregate`).

Every function takes float32 vectors [N] and returns the loss [N], differentiable in `logp`; the weight of METHODS 2.2
is minus its derivative. `old` carries no gradient. R = exp(logp - old), the log-ratio clamped to +-20.
"""

import torch
from torch import Tensor

from r1lab.objective.term import Term

LOG_RATIO_BOUND = 20.0


def ratio(logp: Tensor, old: Tensor) -> Tensor:
    """R = exp(logp - old) [N], finite for every pair of finite log-probabilities."""
    return (logp - old).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()


def one(*, logp: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
    """-A logp: w = A. With A = 1 the negative log-likelihood of SFT; with A = r REINFORCE."""
    return -advantage * logp


def ppo(
    *, logp: Tensor, old: Tensor, advantage: Tensor, clip_low: float = 0.2, clip_high: float = 0.2, dual: float = 0.0
) -> Tensor:
    """-min(R A, clip(R, 1 - clip_low, 1 + clip_high) A) (arXiv 1707.06347); `dual` c > 1 bounds it by c A for A < 0
    (arXiv 1912.09729)."""
    r = ratio(logp, old)
    loss = torch.maximum(-r * advantage, -r.clamp(1 - clip_low, 1 + clip_high) * advantage)
    if dual > 1:
        loss = torch.where(advantage < 0, torch.minimum(loss, -dual * advantage), loss)
    return loss


WEIGHTS = {"one": Term(one), "ppo": Term(ppo)}
