"""`objective.kl`: estimators of KL(policy || reference) per token, as terms of the loss or of the reward.

Each takes logp and ref float32 [N] and returns [N], differentiable in logp; `k3_is` takes old too. As a loss k1 has a
gradient of mean zero and teaches nothing, so it is for the reward alone. Source: J. Schulman, Approximating KL
Divergence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from r1lab.objective.term import Need, Term
from r1lab.objective.weight import ratio

if TYPE_CHECKING:  # a recipe is checked without torch
    from torch import Tensor


def k1(*, logp: Tensor, ref: Tensor) -> Tensor:
    """logp - ref."""
    return logp - ref


def k2(*, logp: Tensor, ref: Tensor) -> Tensor:
    """(logp - ref)^2 / 2: its gradient is that of the reverse KL on policy."""
    return 0.5 * (logp - ref).square()


def k3(*, logp: Tensor, ref: Tensor) -> Tensor:
    """exp(d) - d - 1 with d = ref - logp clamped to +-20 (GRPO, arXiv 2402.03300)."""
    d = (ref - logp).clamp(-20, 20)
    return d.exp() - d - 1


def k3_is(*, logp: Tensor, ref: Tensor, old: Tensor) -> Tensor:
    """R k3 with R = exp(logp - old): k2's gradient, corrected for the ratio (DeepSeek-V3.2)."""
    return ratio(logp, old) * k3(logp=logp, ref=ref)


def distance(*, logp: Tensor, ref: Tensor) -> Tensor:
    """|logp - ref|."""
    return (logp - ref).abs()


DEFAULTS = {"estimator": "k3", "coef": 0.0, "where": "loss", "to_go": True, "ref_refresh_steps": 0}
"""Settings of `objective.kl`."""
REF: frozenset[Need] = frozenset({"ref"})
ESTIMATORS = {
    "k1": Term(k1, needs=REF),
    "k2": Term(k2, needs=REF),
    "k3": Term(k3, needs=REF),
    "k3_is": Term(k3_is, needs=REF, takes=("old",)),
    "abs": Term(distance, needs=REF),
}
