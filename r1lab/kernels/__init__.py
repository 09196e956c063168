"""The loss head: hidden states and targets to a loss and its gradients, never holding all the logits. One dispatch.

It knows no loss by name: it is given `row_loss` and differentiates it on vectors [N].
"""

from collections.abc import Callable

from torch import Tensor

from r1lab.kernels import torch_head

RowLoss = Callable[[Tensor, Tensor, slice], Tensor]
"""(logp [n], entropy [n], the rows) -> loss [n], differentiable in both."""

HEADS = {"auto": torch_head, "torch": torch_head}


def policy_head(
    hidden: Tensor, weight: Tensor, target: Tensor, row_loss: RowLoss, *, temperature: float = 1.0, kernel: str = "auto"
) -> tuple[Tensor, Tensor, Tensor]:
    """One pass, three matrix products. hidden [N, D], weight [V, D], target int64 [N].

    Returns the summed loss (scalar, differentiable in hidden and weight) and, detached, float32 log-probabilities and
    entropies [N] of softmax(hidden weight^T / temperature). `row_loss` must be local to its rows.
    """
    return HEADS[kernel].policy_head(hidden, weight, target, row_loss, temperature)


def token_logps(
    hidden: Tensor, weight: Tensor, target: Tensor, *, temperature: float = 1.0, kernel: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies float32 [N], without gradient: scoring old and reference policies."""
    return HEADS[kernel].token_logps(hidden, weight, target, temperature)
