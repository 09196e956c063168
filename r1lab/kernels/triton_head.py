"""The loss head between its matrix products, in Triton: fused first, row by row where that is not safe.

Fused: the product's own epilogue writes e = exp(z - anchor) and its sums, so no logits are ever stored and nothing is
rescaled. The anchor is about log sum exp z: the target's logit less its log-probability at the sampler. Where a row's
sum shows that it was not (drift beyond 46 nats, a demonstration the model finds absurd), and where the gradient reads
the logits themselves (entropy, kappa, a soft cap), the chunk is computed again with `triton_rows`. Tested in Triton's
interpreter, which must be chosen (TRITON_INTERPRET=1) before this module is imported.
"""

import torch
from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction

from r1lab.kernels import triton_fused, triton_rows
from r1lab.kernels.layer import Layer
from r1lab.kernels.products import Products
from r1lab.kernels.rows import Slopes, Sums, Terms
from r1lab.kernels.torch_head import put_targets

IS_INTERPRETED = isinstance(triton_rows.sums, InterpretedFunction)
CHUNK_BYTES = 5 * 2**28
"""Of the exponentials held at once: 4,096 rows of 151,936, whose products fill an H200's processors evenly."""
ROW_ALIGNMENT = 64
"""Numbers that a row of the exponentials begins at a multiple of, whatever the vocabulary: odd strides make scalar
stores and slow products."""
GUESS_LOGPROB = -2.0
"""Log-probability of a target of which nothing is known: right for every row from -46 to 0."""
SAFE = 1e-20, 1e20
"""Sums of exponentials whose row the anchor fits: far from both ends of float32 and bfloat16."""


def chunk_rows(rows: int, vocabulary: int, **_: bool) -> int:
    """Rows whose exponentials are held at once: whole tiles, alike in all chunks, at least one row, at most `rows`."""
    tile = triton_fused.TILE["ROWS"]
    most = max(1, CHUNK_BYTES // (2 * vocabulary) // tile)
    tiles = -(-rows // tile)
    chunks = -(-tiles // most)
    return max(1, min(rows, -(-tiles // max(1, chunks)) * tile))


class TritonHead:
    """The exponentials, or the logits, of one chunk after another, in memory of its own."""

    def __init__(self, layer: Layer, products: Products, rows: int):
        self.layer, self.products, self.rows = layer, products, rows
        self._reads_logits = layer.outer is not None or layer.kappa is not None
        """Sticky: a gradient that needed them once will need them in the next chunk."""
        self._e: Tensor | None = None
        self._z: Tensor | None = None
        self._memory: dict[torch.dtype, Tensor] = {}

    def forward(self, hidden: Tensor, target: Tensor, anchor: Tensor | None, *, keep: bool) -> Sums:
        """Sums of the rows of hidden [n, D]; what `gradient` needs is kept where `keep`."""
        self._hidden, self._z = hidden, None
        if not self._reads_logits:
            self._e = self._take(self.products.gradient, len(target)) if keep else None
            hint = self._hint(target, anchor)
            found = triton_fused.forward(hidden, target, hint, self._e, self.products)
            total = found.total
            if bool(((total > SAFE[0]) & (total < SAFE[1])).all()):
                return found
        return self._row_by_row(target)

    def gradient(self, target: Tensor, sums: Sums, slopes: Slopes) -> tuple[Tensor, Tensor]:
        """G [n, V] and row_scale [n] with dL/dz = -row_scale G (by the product itself where there is a soft cap)."""
        is_plain = self._z is None and slopes.entropy is None and slopes.logq is None
        if is_plain and self._e is not None and slopes.logp is not None:
            return put_targets(self._e, target, -sums.others), slopes.logp / sums.total
        if self._z is None:
            self._reads_logits = True
            sums = self._row_by_row(target)
        assert self._z is not None  # `_row_by_row` keeps the logits
        grad = self._z
        if self.products.gradient is not torch.float32:
            grad = self._take(self.products.gradient, len(target))
        triton_rows.gradient(self._z, grad, target, Terms(sums, slopes, self.layer))
        return grad, torch.ones_like(sums.peak)

    def _row_by_row(self, target: Tensor) -> Sums:
        """Sums of the kept hidden states, by their logits."""
        is_float32 = self.products.operand is torch.float32  # else the product makes its own memory
        memory = self._take(torch.float32, len(target)) if is_float32 else None
        self._z = self.products.logits(self._hidden, memory)
        return triton_rows.forward(self._z, target, self.layer)

    def _take(self, dtype: torch.dtype, rows: int) -> Tensor:
        """Memory [rows, V], the same for every chunk."""
        if dtype not in self._memory:
            vocabulary, device = len(self.layer.weight), self.layer.weight.device
            stride = -(-vocabulary // ROW_ALIGNMENT) * ROW_ALIGNMENT
            self._memory[dtype] = torch.empty(self.rows, stride, dtype=dtype, device=device)
            # A CPU's bfloat16 product reads the columns behind a row and multiplies them by 0: NaN there would stay.
            self._memory[dtype][:, vocabulary:] = 0
        return self._memory[dtype][:rows, : len(self.layer.weight)]

    def _hint(self, target: Tensor, anchor: Tensor | None) -> Tensor:
        """About the targets' log-probabilities, finite, float32 [n]."""
        if anchor is None:
            return torch.full(target.shape, GUESS_LOGPROB, dtype=torch.float32, device=target.device)
        return torch.where(anchor.isfinite(), anchor.float(), GUESS_LOGPROB)
