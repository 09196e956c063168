"""The product x W^T whose epilogue turns each tile of logits into exponentials and sums: no logits are stored.

exp(z - anchor) needs no running maximum. Tiles are read by plain pointers, grouped so that the weight's tiles are read
from the second-level cache; sums of a tile are written apart and added in a fixed order, so runs are equal bit for bit.
"""
# pyright: reportCallIssue=false
# Triton's stubs type a launch as a call of the kernel: no options, and no tensors handed on by a star.

import torch
import triton
import triton.language as tl
from torch import Tensor

from r1lab.kernels.products import Products
from r1lab.kernels.rows import Sums

ROWS, COLUMNS, DEPTH, GROUP = 128, 256, 64, 8
"""A tile of logits, how deep its product goes at once, and how many tiles of rows share the weight's tiles."""


def forward(hidden: Tensor, target: Tensor, hint: Tensor, e: Tensor | None, products: Products) -> Sums:
    """Sums of the rows of hidden [n, D]; e [n, V], where given, gets exp(z - anchor), the anchor z_target - hint."""
    count, (vocabulary, dimension), layer = len(target), products.weight.shape, products.layer
    hidden = hidden.to(products.operand).contiguous()
    own = (hidden.float() * products.weight[target].float()).sum(dim=1) * layer.inner
    anchor = (own if products.bias is None else own + products.bias[target]) - hint
    tiles = triton.cdiv(vocabulary, COLUMNS)
    others, moment = torch.empty(2, count, tiles, dtype=torch.float32, device=hidden.device)
    logit = torch.empty(count, dtype=torch.float32, device=hidden.device)
    is_float32 = products.operand is torch.float32
    if count:
        exponentials[(triton.cdiv(count, ROWS) * tiles,)](
            hidden, products.weight.contiguous(), products.bias, target.contiguous(), anchor.contiguous(),
            e, others, moment, logit, count, vocabulary, dimension, tiles, layer.inner, 0 if e is None else e.stride(0),
            BIASED=products.bias is not None, STORED=e is not None, UPCAST=not hidden.is_cuda,
            ROWS=ROWS, COLUMNS=COLUMNS, DEPTH=32 if is_float32 else DEPTH, GROUP=GROUP,
            num_warps=8, num_stages=2 if is_float32 else 3,
        )  # fmt: skip
    return Sums(anchor, logit, others.sum(dim=1), moment.sum(dim=1))


@triton.jit
def exponentials(
    x, weight, bias, target, anchor, e, others, moment, logit, count, vocabulary, dimension, tiles, inner, stride,
    BIASED: tl.constexpr, STORED: tl.constexpr, UPCAST: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    in_group = GROUP * tiles
    first = tl.program_id(0) // in_group * GROUP
    size = min(tl.cdiv(count, ROWS) - first, GROUP)
    tile = tl.program_id(0) % in_group // size
    row = (first + tl.program_id(0) % in_group % size) * ROWS + tl.arange(0, ROWS)
    column = tile * COLUMNS + tl.arange(0, COLUMNS)
    is_row, is_column = row < count, column < vocabulary

    x_row = x + row.to(tl.int64)[:, None] * dimension
    weight_row = weight + column.to(tl.int64)[None, :] * dimension
    product = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for start in range(0, dimension, DEPTH):
        depth = start + tl.arange(0, DEPTH)
        is_deep = depth < dimension
        a = tl.load(x_row + depth[None, :], mask=is_row[:, None] & is_deep[None, :], other=0.0)
        b = tl.load(weight_row + depth[:, None], mask=is_column[None, :] & is_deep[:, None], other=0.0)
        if UPCAST:  # the interpreter multiplies the bits of bfloat16
            a, b = a.to(tl.float32), b.to(tl.float32)
        product = tl.dot(a, b, product, input_precision="ieee")

    z = product * inner
    if BIASED:
        z += tl.load(bias + column, mask=is_column, other=0.0)[None, :]
    z -= tl.load(anchor + row, mask=is_row, other=0.0)[:, None]
    target_column = tl.load(target + row, mask=is_row, other=-1)
    is_own = target_column[:, None] == column[None, :]
    value = tl.where(is_column[None, :], tl.exp(z), 0.0)
    if STORED:
        at = e + row.to(tl.int64)[:, None] * stride + column[None, :]
        tl.store(at, value.to(e.dtype.element_ty), mask=is_row[:, None] & is_column[None, :])
    place = row.to(tl.int64) * tiles + tile
    tl.store(others + place, tl.sum(tl.where(is_own, 0.0, value), axis=1), mask=is_row)
    # exp(-inf) (-inf) is not a number; what is no number stays none in the others' sum.
    tl.store(moment + place, tl.sum(value * tl.where(z > -1e4, z, 0.0), axis=1), mask=is_row)
    has_own = is_row & (target_column >= tile * COLUMNS) & (target_column < (tile + 1) * COLUMNS)
    tl.store(logit + row, tl.sum(tl.where(is_own, z, 0.0), axis=1), mask=has_own)
