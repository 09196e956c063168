"""Axis 5: estimators of KL(policy || reference) per token, as terms of the loss (METHODS 2.3).

Each takes logp and ref float32 [N] and returns [N], differentiable in logp. As a loss k1 has gradient of mean zero and
teaches nothing; it is here for rewards and comparison. Source: J. Schulman, Approximating KL Divergence.
"""

from torch import Tensor

from r1lab.objective.term import Term


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


ESTIMATORS = {
    "k1": Term(k1, needs=frozenset({"ref"})),
    "k2": Term(k2, needs=frozenset({"ref"})),
    "k3": Term(k3, needs=frozenset({"ref"})),
}
