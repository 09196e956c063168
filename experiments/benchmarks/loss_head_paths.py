"""The ways to a policy loss and its gradients that `loss_head` times, each a function of the same inputs.

Every path reads [N, D] hidden states and the [V, D] weight and leaves their gradients; where nothing else is said it
computes the clipped policy-gradient loss, with entropies as a metric. `Absent` where its package is not installed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from r1lab import kernels

CLIP = (0.2, 0.28)
BARE_CHUNK = {"cpu": 512, "cuda": 4096}
"""Rows at once of the bare products."""


class Absent(Exception):
    """A package that a path needs is not installed; the message names it."""


@dataclass(eq=False)
class Given:
    """The same for every path."""

    hidden: Tensor
    weight: Tensor
    target: Tensor
    old: Tensor
    advantage: Tensor

    def leaves(self) -> tuple[Tensor, Tensor]:
        """Fresh leaves over the same memory."""
        return self.hidden.detach().requires_grad_(), self.weight.detach().requires_grad_()

    def loss(self, logp: Tensor, at: slice = slice(None)) -> Tensor:
        """Of each row, PPO's clipped one."""
        advantage = self.advantage[at]
        ratio = (logp - self.old[at]).exp()
        return torch.maximum(-ratio * advantage, -ratio.clamp(1 - CLIP[0], 1 + CLIP[1]) * advantage)


def make(rows: int, dimension: int, vocabulary: int, device: str, dtype: torch.dtype) -> Given:
    """Random inputs with logits of about unit size; the old log-probabilities are near the current ones."""
    random = torch.Generator(device).manual_seed(0)
    hidden = torch.randn(rows, dimension, generator=random, device=device).to(dtype)
    weight = (torch.randn(vocabulary, dimension, generator=random, device=device) / dimension**0.5).to(dtype)
    target = torch.randint(vocabulary, (rows,), generator=random, device=device)
    old = kernels.token_logps(hidden, weight, target, kernel="torch").logp
    noise = torch.randn(rows, generator=random, device=device)
    return Given(hidden, weight, target, old + 0.05 * noise, torch.sign(noise) + 0.5 * noise)


def one_pass(given: Given, *, mixed: bool = False, kernel: str = "auto") -> None:
    def spec(logp, entropy, at):
        return given.loss(logp, at)

    hidden, weight = given.leaves()
    found = kernels.policy_head(hidden, weight, given.target, spec, anchor=given.old, mixed=mixed, kernel=kernel)
    found.loss.backward()


def mixed(given: Given) -> None:
    one_pass(given, mixed=True)


def recompute(given: Given) -> None:
    hidden, weight = given.leaves()
    given.loss(kernels.token_logps(hidden, weight, given.target, anchor=given.old).logp).sum().backward()


def scoring(given: Given) -> None:
    with torch.no_grad():
        kernels.token_logps(given.hidden, given.weight, given.target, anchor=given.old)


def one_matmul(given: Given) -> None:
    size = BARE_CHUNK[given.hidden.device.type]
    z = torch.empty(size, len(given.weight), dtype=given.hidden.dtype, device=given.hidden.device)
    for start in range(0, len(given.target), size):
        x = given.hidden[start : start + size]
        torch.mm(x, given.weight.t(), out=z[: len(x)])


def three_matmuls(given: Given) -> None:
    """Bare products of the head's shapes, in the inputs' precision, summed where a gradient is."""
    size, device = BARE_CHUNK[given.hidden.device.type], given.hidden.device
    by_hidden, by_weight = torch.empty_like(given.hidden), torch.zeros_like(given.weight)
    z = torch.empty(size, len(given.weight), dtype=given.hidden.dtype, device=device)
    for start in range(0, len(given.target), size):
        x = given.hidden[start : start + size]
        torch.mm(x, given.weight.t(), out=z[: len(x)])
        torch.mm(z[: len(x)], given.weight, out=by_hidden[start : start + size])
        by_weight.addmm_(z[: len(x)].t(), x)


def full_logits(given: Given) -> None:
    """log_softmax of everything at once."""
    hidden, weight = given.leaves()
    logps = (hidden @ weight.t()).float().log_softmax(-1)
    with torch.no_grad():
        (logps.exp() * logps).sum(-1)
    given.loss(logps.gather(1, given.target[:, None])[:, 0]).sum().backward()


def trl(given: Given) -> None:
    """TRL's selective log-softmax and entropy on full logits."""
    utils = _need("trl", "trl.trainer.utils")
    hidden, weight = given.leaves()
    logits = hidden @ weight.t()
    with torch.no_grad():
        utils.entropy_from_logits(logits)
    given.loss(utils.selective_log_softmax(logits, given.target)).sum().backward()


def trl_chunked(given: Given) -> None:
    """TRL's head without full logits, with the size of chunk that its trainers take."""
    utils = _need("trl", "trl.trainer.utils")
    hidden, weight = given.leaves()
    size = utils._CHUNKED_LOGPROB_CHUNK_SIZE
    logp, *_ = utils._ChunkedLogProbFunction.apply(
        hidden, weight, None, given.target, 1.0, size, None, 1.0, ("entropy",)
    )
    given.loss(logp).sum().backward()


def liger(given: Given) -> None:
    """liger-kernel's GRPO loss over chunks of sequences; no entropy."""
    module = _need("liger-kernel", "liger_kernel.chunked_loss.grpo_loss")
    hidden, weight = given.leaves()
    sequences = 8 if len(given.target) % 8 == 0 else 1
    head = module.LigerFusedLinearGRPOLoss(
        beta=0.0, compiled=False, use_ref_model=False, epsilon_low=CLIP[0], epsilon_high=CLIP[1], loss_type="grpo"
    )
    shape = (sequences, -1)
    loss, _ = head(
        hidden.view(sequences, -1, hidden.shape[1]), weight, given.target.view(shape),
        torch.ones_like(given.target.view(shape)), given.advantage.view(shape)[:, 0],
        old_per_token_logps=given.old.view(shape),
    )  # fmt: skip
    loss.backward()


def torch_own(given: Given) -> None:
    """torch's chunked cross entropy: a loss without policy ratio, advantages or entropy."""
    functional = torch.nn.functional
    if not hasattr(functional, "linear_cross_entropy"):
        raise Absent("torch 2.13")
    hidden, weight = given.leaves()
    options = torch.nn.LinearCrossEntropyOptions()
    functional.linear_cross_entropy(hidden, weight, given.target, options=options).backward()


PATHS: dict[str, Callable[[Given], None]] = {
    "three_matmuls": three_matmuls,
    "one_pass": one_pass,
    "mixed": mixed,
    "recompute": recompute,
    "one_matmul": one_matmul,
    "scoring": scoring,
    "full": full_logits,
    "trl": trl,
    "trl_chunked": trl_chunked,
    "liger": liger,
    "torch_own": torch_own,
}


def _need(distribution: str, module: str):
    try:
        return __import__(module, fromlist=["_"])
    except ImportError:
        raise Absent(distribution) from None
