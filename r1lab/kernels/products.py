"""The three matrix products of the loss head and the precision of each. Not what stands between them (`torch_head`).

float32 inputs multiply in float32. Where bfloat16 is allowed the logits keep their float32 accumulator (products of
bfloat16 numbers are exact in it): on a GPU all operands are bfloat16, on a CPU that multiplies them faster only those
of the two gradient products. Gradients are summed over chunks in float32 always.
"""

import functools
import time

import torch
from torch import Tensor

from r1lab.kernels.layer import Layer

WORTH_SPEEDUP = 1.5
"""Times that bfloat16 must be faster; CPUs with instructions for it measure 2 to 10, others below 1."""

BLOCK_ROWS = 512
"""Of the weight's rows: a CPU multiplies by the transpose of 49,152 rows faster in blocks, and what is converted stays
in cache (figures: results/loss_head)."""
LOW_BLOCK_ROWS = 16 * BLOCK_ROWS
"""Of the weight's rows whose gradient is held in bfloat16 at once."""


class Products:
    """z = x W^T, G W and G^T x, for one layer. Every result is float32."""

    def __init__(self, layer: Layer, *, mixed: bool):
        weight = layer.weight.detach()
        is_low, on_gpu = mixed or weight.dtype == torch.bfloat16, weight.device.type == "cuda"
        self.layer = layer
        self.operand = torch.bfloat16 if is_low and on_gpu else torch.float32
        """Of the logits."""
        self.gradient = torch.bfloat16 if is_low and (on_gpu or bfloat16_pays()) else torch.float32
        """Of the other two, and what the exponentials are stored in."""
        self.bias = None if layer.bias is None else layer.bias.detach().float() * layer.inner
        self.weight = weight.to(self.operand)
        self._low: tuple[Tensor, Tensor] | None = None
        """Blocks of the weight's gradient, on a CPU, in bfloat16 and in float32: kept, for the pages of new ones would
        be cleared each time."""
        self._backward_weight = self.weight if self.gradient is self.operand else weight.to(self.gradient)

    def logits(self, hidden: Tensor, out: Tensor | None) -> Tensor:
        """(x W^T + b) inner, float32 [n, V]; `out` is memory that float32 operands take, and bfloat16 ones do not."""
        if self.operand is torch.bfloat16:
            # Scaled after the product: a scaled operand would be rounded.
            z = torch.mm(hidden.to(self.operand), self.weight.t(), torch.float32)
            z = z if self.layer.inner == 1.0 else z.mul_(self.layer.inner)
            return z if self.bias is None else z.add_(self.bias)
        assert out is not None
        rows, size = self.scaled(hidden), len(self.weight) if out.is_cuda else BLOCK_ROWS
        for start in range(0, len(self.weight), size):
            at = slice(start, start + size)
            if self.bias is None:
                torch.mm(rows, self.weight[at].t(), out=out[:, at])
            else:
                torch.addmm(self.bias[at], rows, self.weight[at].t(), out=out[:, at])
        return out

    def scaled(self, hidden: Tensor) -> Tensor:
        """x inner in float32 [n, D]: what dz multiplies in the weight's gradient."""
        return hidden.float() if self.layer.inner == 1.0 else hidden.float() * self.layer.inner

    def by_hidden(self, grad: Tensor, row_scale: Tensor, out: Tensor) -> None:
        """out = -inner row_scale (G W), float32 [n, D]."""
        if self.gradient is torch.float32:
            torch.mm(grad, self._backward_weight, out=out)
        elif grad.device.type == "cuda":
            out.copy_(torch.mm(grad, self._backward_weight, torch.float32))
        else:
            out.copy_(torch.mm(grad, self._backward_weight))
        out.mul_((-self.layer.inner * row_scale)[:, None])

    def by_weight(self, grad: Tensor, row_scale: Tensor, hidden: Tensor, total: Tensor, *, is_first: bool) -> None:
        """total -= G^T (row_scale inner x), float32 [V, D]; where it `is_first`, total is overwritten, never read."""
        rows = (self.scaled(hidden) * row_scale[:, None]).to(self.gradient)
        if self.gradient is torch.float32:
            total.addmm_(grad.t(), rows, alpha=-1, beta=not is_first)
        elif grad.device.type == "cuda":
            torch.addmm(total, grad.t(), rows, torch.float32, alpha=-1, beta=not is_first, out=total)
        else:
            self._add_low(grad, rows, total.zero_() if is_first else total)

    def _add_low(self, grad: Tensor, rows: Tensor, total: Tensor) -> None:
        """total -= G^T rows by a CPU, whose bfloat16 products have bfloat16 results."""
        if self._low is None:
            low = torch.empty_like(total[:LOW_BLOCK_ROWS], dtype=self.gradient)
            self._low = low, torch.empty_like(total[:BLOCK_ROWS])
        made, converted = self._low
        for of_grad, of_total in zip(grad.split(LOW_BLOCK_ROWS, dim=1), total.split(LOW_BLOCK_ROWS)):
            low = torch.mm(of_grad.t(), rows, out=made[: len(of_total)])
            for part, low_part in zip(of_total.split(BLOCK_ROWS), low.split(BLOCK_ROWS)):
                part.sub_(converted[: len(part)].copy_(low_part))

    def by_bias(self, grad: Tensor, row_scale: Tensor, total: Tensor) -> None:
        """total -= inner G^T row_scale, float32 [V]."""
        total.sub_(torch.mv(grad.t().float(), row_scale), alpha=self.layer.inner)


@functools.cache
def bfloat16_pays() -> bool:
    """Whether this CPU has instructions for bfloat16 products and a try of them (about 50 ms) is worth it."""
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    return WORTH_SPEEDUP * _seconds(torch.bfloat16) < _seconds(torch.float32)


def _seconds(dtype: torch.dtype) -> float:
    """The fastest of six products, the first of which may set things up."""
    matrix = torch.ones(384, 384, dtype=dtype)
    tries = []
    for _ in range(6):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        tries.append(time.perf_counter() - start)
    return min(tries)
