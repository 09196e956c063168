"""The torch one-pass head: chunks of rows, gradients formed in the forward pass (KERNELS: one-phase).

dL/dz = g_logp (onehot - p) - g_H p (log p + H), each over the temperature. The one-hot is never added apart: the
target's probability is overwritten by minus the sum of the others, which stays exact for confident tokens.
Logits are float32 whatever the model's precision. Peak memory is two chunks of `CHUNK_BYTES` and one float32 [V, D].
"""

from collections.abc import Iterator

import torch
from torch import Tensor

CHUNK_BYTES = 50 * 2**20
"""Float32 logits held at once."""


def policy_head(
    hidden: Tensor, weight: Tensor, target: Tensor, row_loss, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    return _PolicyHead.apply(hidden, weight, target, row_loss, temperature)


def token_logps(hidden: Tensor, weight: Tensor, target: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logp, entropy = (torch.empty(len(target), dtype=torch.float32, device=hidden.device) for _ in range(2))
    with torch.no_grad():
        for at in _chunks(len(target), len(weight)):
            _, _, logp[at], entropy[at] = _softmax(hidden[at], weight, target[at], temperature)
    return logp, entropy


class _PolicyHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, target, row_loss, temperature):
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        logp, entropy = (torch.empty(len(target), dtype=torch.float32, device=hidden.device) for _ in range(2))
        grad_hidden = torch.empty_like(hidden, dtype=torch.float32) if need_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if need_weight else None
        for at in _chunks(len(target), len(weight)):
            p, others, logp[at], entropy[at] = _softmax(hidden[at], weight, target[at], temperature)
            part, by_logp, by_entropy = _differentiate(row_loss, logp[at], entropy[at], at)
            loss += part
            dz = _logit_gradient(p, others, target[at], entropy[at], by_logp, by_entropy).div_(temperature)
            if need_hidden:
                torch.mm(dz, weight.float(), out=grad_hidden[at])
            if need_weight:
                grad_weight.addmm_(dz.t(), hidden[at].float())
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtypes = hidden.dtype, weight.dtype
        ctx.mark_non_differentiable(logp, entropy)
        return loss, logp, entropy

    @staticmethod
    def backward(ctx, grad_loss, *_):
        grads = [
            None if grad is None else (grad * grad_loss).to(dtype)
            for grad, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return *grads, None, None, None


def _chunks(rows: int, vocabulary: int) -> Iterator[slice]:
    size = max(1, CHUNK_BYTES // (4 * vocabulary))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def _softmax(hidden: Tensor, weight: Tensor, target: Tensor, temperature: float) -> tuple[Tensor, ...]:
    """p [n, V], the summed probability of all but the target [n], logp [n] and entropy [n] of a chunk."""
    z = torch.mm(hidden.float(), weight.float().t()).div_(temperature)
    z -= z.amax(dim=1, keepdim=True)
    p = z.exp()
    column = target[:, None]
    e_target = p.gather(1, column)
    others = p.scatter_(1, column, 0.0).sum(dim=1, keepdim=True)
    p.scatter_(1, column, e_target)
    total = others + e_target
    z_target = z.gather(1, column)
    # log1p keeps a confident token's digits; a token of vanishing probability needs its logit.
    logp = torch.where(e_target > others, -torch.log1p(others / e_target), z_target - total.log())
    expected = z.clamp_(min=-1e30).mul_(p).sum(dim=1, keepdim=True) / total
    entropy = total.log() - expected
    p /= total
    return p, (others / total).squeeze(1), logp.squeeze(1), entropy.squeeze(1)


def _differentiate(row_loss, logp: Tensor, entropy: Tensor, at: slice) -> tuple[Tensor, Tensor, Tensor | None]:
    """The summed loss of the rows and its derivatives by logp and entropy [n], by autograd on the vectors."""
    with torch.enable_grad():
        logp, entropy = logp.detach().requires_grad_(), entropy.detach().requires_grad_()
        loss = row_loss(logp, entropy, at).sum()
        by_logp, by_entropy = torch.autograd.grad(loss, (logp, entropy), allow_unused=True)
    return loss.detach(), torch.zeros_like(logp) if by_logp is None else by_logp, by_entropy


def _logit_gradient(p, others, target, entropy, by_logp, by_entropy) -> Tensor:
    """dL/dz [n, V], written over p."""
    curvature = None
    if by_entropy is not None:
        log_p = p.clamp(min=torch.finfo(p.dtype).tiny).log_()
        curvature = log_p.add_(entropy[:, None]).mul_(p).mul_(-by_entropy[:, None])
    p.scatter_(1, target[:, None], -others[:, None])
    dz = p.mul_(-by_logp[:, None])
    return dz if curvature is None else dz.add_(curvature)
