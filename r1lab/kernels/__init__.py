"""The loss head: hidden states and targets to a loss and its gradients, never holding all the logits. One dispatch.

It knows no loss by name: it is given `spec` and differentiates it on vectors [N]. Two heads of one meaning:
`policy_head` for what is local to each row (three products), `token_logps` for all else (four) and scoring (one).
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from r1lab.kernels import torch_head
from r1lab.kernels.layer import Layer, check
from r1lab.kernels.one_pass import HeadPlan, PolicyHead, TokenLogps

Spec = Callable[..., Tensor]
"""(logp [n], entropy [n], the rows) -> loss [n], differentiable in both, local to its rows; with `kappa`
(logp, entropy, logq, the rows). `the rows` is a slice of [N]."""


KERNELS = ("auto", "torch", "triton")
"""auto: triton on a GPU where it is installed, else torch."""


class PolicyHeadOutput(NamedTuple):
    """What `policy_head` returns; all but the loss are float32 [N] without gradient."""

    loss: Tensor
    """Scalar, summed over the rows; one backward pass, by hidden, weight and bias."""
    logp: Tensor
    entropy: Tensor
    logq: Tensor | None
    """With `kappa`: log softmax(z / kappa) of the target."""


class TokenScores(NamedTuple):
    """What `token_logps` returns, float32 [N], each differentiable."""

    logp: Tensor
    entropy: Tensor | None
    logq: Tensor | None


def policy_head(hidden: Tensor, weight: Tensor, target: Tensor, spec: Spec, **options: Any) -> PolicyHeadOutput:
    """One pass, three matrix products, two where weight carries no gradient. hidden [N, D], weight [V, D], target
    int64 [N].

    The options are those of `_plan`. Logits z = (hidden weight^T + bias) / temperature, or
    softcap tanh((...) / softcap) / temperature. `mixed` allows bfloat16 where the logits do not lose by it; bfloat16
    inputs do too. `anchor` [N] is about the target's log-probability (a sampler's; NaN where there is none) and changes
    only the time.
    ValueError where shapes or devices do not fit.
    """
    plan = _plan(hidden, weight, target, **options)
    return PolicyHeadOutput(*PolicyHead.apply(hidden, weight, plan.layer.bias, target, spec, plan))


def token_logps(hidden: Tensor, weight: Tensor, target: Tensor, *, entropy: bool = True, **options: Any) -> TokenScores:
    """Log-probabilities, entropies and, with `kappa`, log softmax(z / kappa): any loss may be made of them.

    The arguments are those of `policy_head`. The backward pass computes the logits again; without gradient it is
    scoring, one product.
    """
    plan = _plan(hidden, weight, target, entropy=entropy, **options)
    return TokenScores(*TokenLogps.apply(hidden, weight, plan.layer.bias, target, plan))


def _plan(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    *,
    temperature: float = 1.0,
    bias: Tensor | None = None,
    softcap: float | None = None,
    kappa: float | None = None,
    anchor: Tensor | None = None,
    mixed: bool = False,
    kernel: str = "auto",
    entropy: bool = True,
) -> HeadPlan:
    """ValueError where the arguments do not fit each other or the machine."""
    layer = Layer(weight, bias, temperature, softcap, kappa)
    check(hidden, target, layer)
    make, chunk_rows = _implementation(kernel, hidden.device)
    is_mixed = mixed or hidden.dtype == torch.bfloat16
    return HeadPlan(layer, make, chunk_rows, is_mixed, torch.is_grad_enabled(), anchor, entropy)


def _implementation(kernel: str, device: torch.device) -> tuple[Callable, Callable]:
    """What makes the exponentials, and its rows of a chunk. Triton is imported where it is used only."""
    if kernel not in KERNELS:
        raise ValueError(f"kernel: {kernel!r} is unknown; use {', '.join(KERNELS)}")
    on_gpu, is_installed = device.type == "cuda", find_spec("triton") is not None
    if kernel == "torch" or (kernel == "auto" and not (on_gpu and is_installed)):
        return torch_head.TorchHead, torch_head.chunk_rows
    if not is_installed:
        raise ValueError("kernel: 'triton' is not installed; pip install triton, or use kernel: auto")
    from r1lab.kernels import triton_head

    if not on_gpu and not triton_head.IS_INTERPRETED:
        raise ValueError(f"kernel: 'triton' needs a GPU, and hidden is on {device}; use kernel: auto")
    return triton_head.TritonHead, triton_head.chunk_rows
