"""One program a row of float32 logits: their sums in one reading, and the gradient in another. Any layer, any row.

The running maximum rescales the sums, so no row is unsafe. Not the way of every step: it stores the logits.
"""
# pyright: reportCallIssue=false
# Triton's stubs type a launch as a call of the kernel: no options, and no tensors handed on by a star.

import torch
import triton
import triton.language as tl
from torch import Tensor

from r1lab.kernels.layer import Layer
from r1lab.kernels.rows import Sums, Terms

BLOCK = 4096


def forward(z: Tensor, target: Tensor, layer: Layer) -> Sums:
    """Of logits [n, V] before the soft cap, which is applied in place."""
    vectors = [torch.empty(len(target), dtype=torch.float32, device=z.device) for _ in range(5)]
    if len(target):
        sums[(len(target),)](
            z, target.contiguous(), *vectors, z.shape[1], z.stride(0), layer.outer or 0.0, 1 / (layer.kappa or 1.0),
            CAPPED=layer.outer is not None, COOLED=layer.kappa is not None, BLOCK=BLOCK, num_warps=8,
        )  # fmt: skip
    peak, logit, others, moment, cool = vectors
    return Sums(peak, logit, others, moment, None if layer.kappa is None else cool)


def gradient(z: Tensor, grad: Tensor, target: Tensor, terms: Terms) -> None:
    """grad = -dL/dz [n, V], in place where it is z; by the product itself where there is a soft cap."""
    row_sums, layer, none = terms.sums, terms.layer, torch.zeros_like(terms.sums.peak)
    vectors = (
        target,
        row_sums.peak,
        row_sums.log_total,
        terms.by_logp,
        none if terms.by_entropy is None else terms.by_entropy,
        row_sums.entropy(),
        none if terms.cool is None else terms.cool / row_sums.total,
        terms.of_target() / row_sums.total,
    )
    slopes[(len(target),)](
        z, grad, *(each.contiguous() for each in vectors),  # autograd's are often one number, expanded
        z.shape[1], z.stride(0), grad.stride(0), layer.outer or 0.0, 1 / (layer.kappa or 1.0),
        CAPPED=layer.outer is not None, COOLED=terms.cool is not None, BLOCK=BLOCK, num_warps=8,
    )  # fmt: skip


@triton.jit
def sums(
    z, target, peak, logit, others, moment, cool, vocabulary, stride, outer, inverse_kappa,
    CAPPED: tl.constexpr, COOLED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    z += row.to(tl.int64) * stride
    target_column = tl.load(target + row)
    top = -1e30  # finite: its difference to anything is
    total, rest, first, colder = 0.0, 0.0, 0.0, 0.0
    for start in range(0, vocabulary, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < vocabulary
        value = tl.load(z + column, mask=inside, other=float("-inf"))
        if CAPPED:
            value = tl.where(inside, outer * (1 - 2 / (tl.exp(2 * value) + 1)), float("-inf"))
            tl.store(z + column, value, mask=inside)
        higher = tl.maximum(top, tl.max(value, axis=0))
        shrink = tl.exp(top - higher)
        from_peak = value - higher
        e = tl.exp(from_peak)
        # exp(-inf) (-inf) is not a number; what is no number stays none in e.
        first = shrink * (first + (top - higher) * total) + tl.sum(
            e * tl.where(from_peak > -1e4, from_peak, 0.0), axis=0
        )
        total = shrink * total + tl.sum(e, axis=0)
        rest = shrink * rest + tl.sum(tl.where(column == target_column, 0.0, e), axis=0)
        if COOLED:
            cold = tl.where(column == target_column, 0.0, tl.exp(from_peak * inverse_kappa))
            colder = tl.exp((top - higher) * inverse_kappa) * colder + tl.sum(cold, axis=0)
        top = higher
    if CAPPED:
        tl.debug_barrier()  # the target's capped logit was stored by another thread
    tl.store(peak + row, top)
    tl.store(logit + row, tl.load(z + target_column) - top)
    tl.store(others + row, rest)
    tl.store(moment + row, first)
    tl.store(cool + row, colder)


@triton.jit
def slopes(
    z, grad, target, peak, log_total, by_logp, by_entropy, entropy, cool, of_target,
    vocabulary, stride, grad_stride, outer, inverse_kappa,
    CAPPED: tl.constexpr, COOLED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    z += row.to(tl.int64) * stride
    grad += row.to(tl.int64) * grad_stride
    target_column, top, normal = tl.load(target + row), tl.load(peak + row), tl.load(log_total + row)
    w, u, h, r = tl.load(by_logp + row), tl.load(by_entropy + row), tl.load(entropy + row), tl.load(cool + row)
    made_own = tl.load(of_target + row)
    for start in range(0, vocabulary, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < vocabulary
        value = tl.load(z + column, mask=inside, other=0.0)
        from_peak = value - top
        log_p = from_peak - normal
        entry = tl.exp(log_p) * (w + u * (tl.where(log_p > -1e4, log_p, 0.0) + h))
        if COOLED:
            entry += r * tl.exp(from_peak * inverse_kappa)
        if CAPPED:
            entry *= outer * (1 - (value / outer) * (value / outer))
        entry = tl.where(column == target_column, made_own, entry)
        tl.store(grad + column, entry.to(grad.dtype.element_ty), mask=inside)
