"""The loss head between its matrix products, in torch: logits to exponentials and sums, exponentials to dL/dz.

e = exp(z - max) is written once over the logits and multiplied twice, its rows scaled on the [n, D] side: no softmax is
ever normalised. The one-hot is never added apart: the target's entry is minus the sum of the others, which stays exact
for confident tokens in bfloat16 too. On a CPU the passes go over blocks of rows that stay in the second-level cache.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from r1lab.kernels.layer import Layer
from r1lab.kernels.products import Products
from r1lab.kernels.rows import Slopes, Sums, Terms

CHUNK_BYTES = 50 * 2**20
"""Float32 logits held at once on a CPU."""
GPU_CHUNK_BYTES = 2**30
WHOLE_BYTES = 64 * 2**20
"""Logits of up to this size are one chunk."""
PADDING_COLUMNS = 16
"""Columns of the logits beyond the vocabulary: rows a multiple of 4 KiB apart would share the places of a CPU's cache.
The bfloat16 copy goes without: there it gains nothing."""
BLOCK_NUMBERS = 3 * 2**16
"""Of a block: logits and exponentials of four rows of 49152 are 1.5 MB."""
LOWEST = -80.0
"""What is further below the peak counts as this (e^-80 = 2e-35): numbers below 1e-38 take a CPU fifty times as long,
and -inf times its exponential 0 is not a number."""


def chunk_rows(rows: int, vocabulary: int, *, on_gpu: bool) -> int:
    """Rows whose logits are held at once: at least one, at most `rows`, and alike in all chunks."""
    size = 4 * vocabulary
    if rows * size <= WHOLE_BYTES:
        return max(1, rows)
    most = max(1, (GPU_CHUNK_BYTES if on_gpu else CHUNK_BYTES) // size)
    chunks = -(-rows // most)
    return -(-rows // chunks)


def put_targets(grad: Tensor, target: Tensor, values: Tensor) -> Tensor:
    """Overwrite the targets' entries of [n, V] by values [n]; scatter_ would copy a whole bfloat16 matrix twice."""
    grad[torch.arange(len(target), device=target.device), target] = values.to(grad.dtype)
    return grad


class TorchHead:
    """The exponentials of one chunk after another, in memory of its own."""

    def __init__(self, layer: Layer, products: Products, rows: int):
        vocabulary, device = len(layer.weight), layer.weight.device
        self.layer, self.products, self.rows = layer, products, rows
        block = rows if device.type == "cuda" else max(1, BLOCK_NUMBERS // vocabulary)
        self._memory: Tensor | None = None
        if products.operand is torch.float32:  # else the product makes its own
            memory = torch.empty(rows, vocabulary + PADDING_COLUMNS, dtype=torch.float32, device=device)
            self._memory = memory[:, :vocabulary]
        self._scratch = torch.empty(min(rows, block), vocabulary, dtype=torch.float32, device=device)
        self._low: Tensor | None = None

    def forward(self, hidden: Tensor, target: Tensor, anchor: Tensor | None, *, keep: bool) -> Sums:
        """Sums of the rows of hidden [n, D]; their exponentials are kept for `gradient` where `keep`."""
        self._e = self.products.logits(hidden, None if self._memory is None else self._memory[: len(target)])
        if keep and self._low is None and self.products.gradient is not torch.float32:
            shape = self.rows, len(self.layer.weight)
            self._low = torch.empty(shape, dtype=self.products.gradient, device=hidden.device)
        parts = [self._block(at, target[at], keep) for at in self._blocks(len(target))]
        peak, logit, others, moment = (torch.cat(column) for column in zip(*(part[:4] for part in parts)))
        cool = [part[4] for part in parts if part[4] is not None]
        return Sums(peak, logit, others, moment, torch.cat(cool) if cool else None)

    def gradient(self, target: Tensor, sums: Sums, slopes: Slopes) -> tuple[Tensor, Tensor]:
        """G [n, V] and row_scale [n] with dL/dz = -row_scale G (by the product itself where there is a soft cap)."""
        grad = self._e if self._low is None else self._low[: len(target)]
        if slopes.logp is not None and slopes.entropy is slopes.logq is self.layer.outer is None:
            return put_targets(grad, target, -sums.others), slopes.logp / sums.total
        terms = Terms(sums, slopes, self.layer)
        for at in self._blocks(len(target)):
            self._general(at, terms, grad[at])
        return put_targets(grad, target, terms.of_target()), 1 / sums.total

    def _blocks(self, rows: int) -> Iterator[slice]:
        size = max(1, len(self._scratch))
        return (slice(start, min(start + size, rows)) for start in range(0, rows, size))

    def _block(self, at: slice, target: Tensor, keep: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Sums of a block of rows, whose logits become exponentials, the target's 0."""
        e, z, column, layer = self._e[at], self._scratch[: len(target)], target[:, None], self.layer
        if layer.outer is not None:
            e.tanh_().mul_(layer.outer)
        peak = e.amax(dim=1, keepdim=True)
        logit, cool = torch.sub(e, peak, out=z).gather(1, column)[:, 0], None
        torch.exp(z.clamp_(min=LOWEST * max(1.0, layer.kappa or 1.0)), out=e)
        if layer.kappa is not None:
            cool = (z / layer.kappa).exp_().scatter_(1, column, 0.0).sum(dim=1)
        moment = z.mul_(e).sum(dim=1)
        others = e.scatter_(1, column, 0.0).sum(dim=1)
        if keep and self._low is not None:
            self._low[at] = e
        return peak[:, 0], logit, others, moment, cool

    def _general(self, at: slice, terms: Terms, out: Tensor) -> None:
        """G of a block: e (w + u (log p + H)), plus the part of kappa, times the slope of the cap."""
        e, z = self._e[at], self._scratch[: at.stop - at.start]
        torch.clamp(e, min=torch.finfo(e.dtype).tiny, out=z).log_()
        cap = terms.slope_of_cap(z + terms.sums.peak[at, None])
        kappa, cool = self.layer.kappa, None
        if terms.cool is not None and kappa is not None:
            cool = (z / kappa).exp_().mul_(terms.cool[at, None])
        if terms.by_entropy is not None:
            e.mul_(z.add_(terms.shift[at, None]).mul_(terms.by_entropy[at, None]).add_(terms.by_logp[at, None]))
        else:
            e.mul_(terms.by_logp[at, None])
        e = e if cool is None else e.add_(cool)
        out.copy_(e if cap is None else e.mul_(cap))
