"""Log-probability and entropy of a row of logits, and their slopes, from sums over it. Vectors [n] only, no logits.

With e = exp(z - peak), whatever was taken for the peak: log-probability and entropy are exact for confident tokens
(log1p of the others' share) and for tokens of vanishing probability (from their logit) alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from r1lab.kernels.layer import Layer


@dataclass(eq=False)
class Sums:
    """Of n rows of logits z, each float32 [n]."""

    peak: Tensor
    """What was subtracted from the logits before exp."""
    logit: Tensor
    """The target's z - peak."""
    others: Tensor
    """The sum of e over all but the target."""
    moment: Tensor
    """The sum of e (z - peak) over all."""
    cool_others: Tensor | None = None
    """`others` of exp((z - peak) / kappa)."""

    @cached_property
    def own(self) -> Tensor:
        """The target's e."""
        return self.logit.exp()

    @cached_property
    def total(self) -> Tensor:
        return self.others + self.own

    def logp(self) -> Tensor:
        return _log_share(self.logit, self.others)

    @cached_property
    def log_total(self) -> Tensor:
        return torch.where(self.own > self.others, self.logit + torch.log1p(self.others / self.own), self.total.log())

    def entropy(self) -> Tensor:
        return self.log_total - self.moment / self.total

    def logq(self, kappa: float) -> Tensor:
        """Log-probability at temperature kappa times the layer's."""
        assert self.cool_others is not None  # summed wherever the layer has a kappa
        return _log_share(self.logit / kappa, self.cool_others)


def _log_share(logit: Tensor, others: Tensor) -> Tensor:
    """log(e^logit / (e^logit + others))."""
    own = logit.exp()
    return torch.where(own > others, -torch.log1p(others / own), logit - (own + others).log())


@dataclass(eq=False)
class Slopes:
    """Derivatives of a loss by what the head computes, float32 [n]; None where it does not depend on it."""

    logp: Tensor | None
    entropy: Tensor | None = None
    logq: Tensor | None = None

    def active(self) -> Tensor:
        """Rows that any gradient comes from, bool [n]."""
        present = [slope != 0 for slope in (self.logp, self.entropy, self.logq) if slope is not None]
        return torch.stack(present).any(dim=0)

    def take(self, rows: slice) -> "Slopes":
        return Slopes(*(None if each is None else each[rows] for each in (self.logp, self.entropy, self.logq)))


class Terms:
    """The vectors [n] that G is made of when it is more than w e."""

    def __init__(self, sums: Sums, slopes: Slopes, layer: Layer):
        self.sums, self.layer = sums, layer
        self.by_logp = torch.zeros_like(sums.peak) if slopes.logp is None else slopes.logp
        self.by_entropy, self.cool = slopes.entropy, None
        self.shift = sums.entropy() - sums.log_total
        if slopes.logq is not None:
            assert layer.kappa and sums.cool_others is not None  # logq exists with a kappa alone
            own = (sums.logit / layer.kappa).exp()
            self.cool = slopes.logq / layer.kappa * sums.total / (own + sums.cool_others)

    def of_target(self) -> Tensor:
        """G of the target: what is left of a one-hot minus a probability is the others' sum."""
        sums, entry = self.sums, -self.by_logp * self.sums.others
        if self.by_entropy is not None:
            entry = entry + self.by_entropy * sums.own * (sums.logit + self.shift)
        if self.cool is not None and sums.cool_others is not None:
            entry = entry - self.cool * sums.cool_others
        cap = self.slope_of_cap(sums.logit + sums.peak)
        return entry if cap is None else entry * cap

    def slope_of_cap(self, z: Tensor) -> Tensor | None:
        """dz/dr = outer (1 - tanh(r)^2) for z = outer tanh(r)."""
        outer = self.layer.outer
        return None if outer is None else outer * (1 - (z / outer).square())


def differentiate(spec: Callable, values: list[Tensor], at: slice) -> tuple[Tensor, Slopes]:
    """The summed loss of the rows `at` and its slopes, by autograd on vectors; values: logp, entropy and maybe logq."""
    with torch.enable_grad():
        leaves = [value.detach().requires_grad_() for value in values]
        loss = spec(*leaves, at).sum()
        if not loss.requires_grad:  # it does not read them: a constant
            return loss, Slopes(torch.zeros_like(leaves[0]))
        slopes = torch.autograd.grad(loss, leaves, allow_unused=True)
    return loss.detach(), Slopes(*slopes)
