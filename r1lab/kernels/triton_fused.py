"""The product x W^T whose epilogue turns each tile of logits into exponentials and sums: no logits are stored.

exp(z - anchor) needs no running maximum. Tiles are grouped so that the weight's are read from the second-level cache;
sums of a tile are written apart and added in a fixed order, so runs are equal bit for bit. From compute capability 9 on
bfloat16 tiles go by tensor descriptors, which leaves registers to the epilogue; elsewhere by pointers.
"""
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# Triton's stubs type a launch as a call of the kernel: no options, and no tensors handed on by a star.

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from r1lab.kernels.products import Products
from r1lab.kernels.rows import Sums

TILE = {"ROWS": 128, "COLUMNS": 256, "DEPTH": 64, "num_warps": 8, "num_stages": 3}
"""How deep a tile's product goes at once, and what computes it. What ptxas makes of it is a test."""
FLOAT32_TILE = {"ROWS": 64, "COLUMNS": 64, "DEPTH": 32, "num_warps": 4, "num_stages": 2}
"""Without tensor cores the accumulators of a larger tile do not fit the registers."""
GROUP = 8
"""Tiles of rows that share the weight's tiles."""
DESCRIPTOR_ALIGNMENT = 8
"""Numbers of bfloat16 that a row of a described matrix must be a multiple of: 16 bytes."""


def forward(hidden: Tensor, target: Tensor, hint: Tensor, e: Tensor | None, products: Products) -> Sums:
    """Sums of the rows of hidden [n, D]; e [n, V], where given, gets exp(z - anchor), the anchor z_target - hint."""
    count, (vocabulary, dimension), layer = len(target), products.weight.shape, products.layer
    hidden = hidden.to(products.operand).contiguous()
    own = (hidden.float() * products.weight[target].float()).sum(dim=1) * layer.inner
    anchor = (own if products.bias is None else own + products.bias[target]) - hint
    tile = FLOAT32_TILE if products.operand is torch.float32 else TILE
    tiles = triton.cdiv(vocabulary, tile["COLUMNS"])
    others, moment = torch.empty(2, count, tiles, dtype=torch.float32, device=hidden.device)
    logit = torch.empty(count, dtype=torch.float32, device=hidden.device)
    matrices = hidden, products.weight.contiguous(), e
    is_described = describes(*matrices)
    if count:
        x, weight, out = described(*matrices, tile) if is_described else matrices
        exponentials[(triton.cdiv(count, tile["ROWS"]) * tiles,)](
            x, weight, products.bias, target.contiguous(), anchor.contiguous(),
            out, others, moment, logit, count, vocabulary, dimension, tiles, layer.inner,
            0 if e is None else e.stride(0),
            BIASED=products.bias is not None, STORED=e is not None, UPCAST=not hidden.is_cuda, DESCRIBED=is_described,
            GROUP=GROUP, **tile,
        )  # fmt: skip
    return Sums(anchor, logit, others.sum(dim=1), moment.sum(dim=1))


def describes(x: Tensor, weight: Tensor, e: Tensor | None) -> bool:
    """Whether the device reads tiles by descriptors and each matrix's rows begin where it can."""
    strides = [matrix.stride(0) for matrix in (x, weight, e) if matrix is not None]
    is_aligned = x.dtype is torch.bfloat16 and not any(stride % DESCRIPTOR_ALIGNMENT for stride in strides)
    return is_aligned and x.is_cuda and torch.cuda.get_device_capability(x.device) >= (9, 0)


def described(x: Tensor, weight: Tensor, e: Tensor | None, tile: dict[str, int]) -> tuple:
    """Descriptors of the matrices' tiles; what is read outside of a matrix is 0, what is written there is dropped."""
    rows, columns, depth = tile["ROWS"], tile["COLUMNS"], tile["DEPTH"]
    return (
        TensorDescriptor.from_tensor(x, [rows, depth]),
        TensorDescriptor.from_tensor(weight, [columns, depth]),
        None if e is None else TensorDescriptor.from_tensor(e, [rows, columns]),
    )


@triton.jit
def exponentials(
    x, weight, bias, target, anchor, e, others, moment, logit, count, vocabulary, dimension, tiles, inner, stride,
    BIASED: tl.constexpr, STORED: tl.constexpr, UPCAST: tl.constexpr, DESCRIBED: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    in_group = GROUP * tiles
    first = tl.program_id(0) // in_group * GROUP
    size = min(tl.cdiv(count, ROWS) - first, GROUP)
    tile = tl.program_id(0) % in_group // size
    top, left = (first + tl.program_id(0) % in_group % size) * ROWS, tile * COLUMNS
    row, column = top + tl.arange(0, ROWS), left + tl.arange(0, COLUMNS)
    is_row, is_column = row < count, column < vocabulary

    x_row = x if DESCRIBED else x + row.to(tl.int64)[:, None] * dimension
    weight_row = weight if DESCRIBED else weight + column.to(tl.int64)[None, :] * dimension
    product = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for start in range(0, dimension, DEPTH):
        if DESCRIBED:
            a, b = x.load([top, start]), weight.load([left, start]).T
        else:
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
    place = row.to(tl.int64) * tiles + tile
    own = tl.load(target + row, mask=is_row, other=-1)
    has_own = is_row & (own >= left) & (own < left + COLUMNS)
    if (tl.sum(has_own.to(tl.int32), axis=0) > 0) | (left + COLUMNS > vocabulary):
        is_own = own[:, None] == column[None, :]
        value = tl.where(is_column[None, :], tl.exp(z), 0.0)
        tl.store(logit + row, tl.sum(tl.where(is_own, z, 0.0), axis=1), mask=has_own)
        tl.store(others + place, tl.sum(tl.where(is_own, 0.0, value), axis=1), mask=is_row)
        _put(e, moment, value, z, row, column, top, left, place, stride, is_row, is_column, STORED, DESCRIBED)
    else:  # four tiles of five hold no target and no end of the vocabulary: nothing is selected there
        value = tl.exp(z)
        tl.store(others + place, tl.sum(value, axis=1), mask=is_row)
        _put(e, moment, value, z, row, column, top, left, place, stride, is_row, column >= 0, STORED, DESCRIBED)


@triton.jit
def _put(
    e, moment, value, z, row, column, top, left, place, stride, is_row, is_column,
    STORED: tl.constexpr, DESCRIBED: tl.constexpr,
):  # fmt: skip
    # exp(-inf) (-inf) is not a number; what is no number stays none in the others' sum.
    tl.store(moment + place, tl.sum(value * tl.where(z > -1e4, z, 0.0), axis=1), mask=is_row)
    if STORED:
        if DESCRIBED:
            e.store([top, left], value.to(tl.bfloat16))
        else:
            at = e + row.to(tl.int64)[:, None] * stride + column[None, :]
            tl.store(at, value.to(e.dtype.element_ty), mask=is_row[:, None] & is_column[None, :])
