"""Attention over a packed row on a CPU: torch's flash kernel on slices of the row, without copies or padding.

A completion's scores over itself and over its prompt are two calls, merged by their log-sums as ring attention merges
(Liu et al. 2023, arXiv:2310.01889); given the merged output and log-sums, the kernel's backward pass is exact for each
part. One function of autograd for the whole row: each slice in autograd would cost a row of zeros going back.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from r1lab.attention.parts import Part, attention_parts
from r1lab.records import Segment

FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


def attend(
    query: Tensor, key: Tensor, value: Tensor, packed: Sequence[Segment], *, window: int | None, scale: float | None
) -> Tensor:
    """[1, L, H, d] from query [1, H, L, d], key and value [1, H_kv, L, d]; `window` is the number of places that a
    token sees, itself among them."""
    return Attention.apply(query, key, value, attention_parts(packed, window), scale)


class Attention(torch.autograd.Function):
    """Every part on views [H_kv, H / H_kv, its tokens, d]: heads that share keys read the same memory."""

    @staticmethod
    def forward(ctx, query, key, value, parts: list[Part], scale: float | None):
        q, k, v = _views(query, key, value)
        row = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
        out, sums = _heads(row, k.shape[0]), torch.empty(q.shape[:-1], dtype=torch.float32)
        for part in parts:
            at, seen = part.queries, part.keys
            output, total = FLASH(
                q[:, :, at], k[:, :, seen], v[:, :, seen], 0.0, part.is_causal, attn_mask=part.mask(q), scale=scale
            )
            if part.merges:
                output, total = _merged(out[:, :, at], sums[:, :, at], output, total)
            out[:, :, at], sums[:, :, at] = output, total
        ctx.save_for_backward(query, key, value, row, sums)
        ctx.made, ctx.scale = parts, scale
        return row

    @staticmethod
    def backward(ctx, slope):
        query, key, value, row, sums = ctx.saved_tensors
        q, k, v = _views(query, key, value)
        groups = k.shape[0]
        out, by_out = _heads(row, groups), _heads(slope.contiguous(), groups)
        grads = [torch.zeros_like(tensor.transpose(1, 2), memory_format=torch.contiguous_format) for tensor in
                (query, key, value)]  # fmt: skip
        by_q, by_k, by_v = _heads(grads[0], groups), grads[1][0].transpose(0, 1), grads[2][0].transpose(0, 1)
        for part in ctx.made:
            at, seen = part.queries, part.keys
            slopes = FLASH_BACKWARD(
                by_out[:, :, at], q[:, :, at], k[:, :, seen], v[:, :, seen], out[:, :, at], sums[:, :, at],
                0.0, part.is_causal, attn_mask=part.mask(q), scale=ctx.scale,
            )  # fmt: skip
            by_q[:, :, at] += slopes[0]
            by_k[:, seen] += slopes[1].sum(dim=1)
            by_v[:, seen] += slopes[2].sum(dim=1)
        return *(tensor.transpose(1, 2) for tensor in grads), None, None


def _views(query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
    """[H_kv, H / H_kv, L, d] of each; keys and values repeat without being copied."""
    groups = key.shape[1]
    shape = (groups, query.shape[1] // groups)
    return [query[0].unflatten(0, shape), *(each[0][:, None].expand(*shape, -1, -1) for each in (key, value))]


def _heads(row: Tensor, groups: int) -> Tensor:
    """The view [H_kv, H / H_kv, L, d] of a row [1, L, H, d]."""
    return row[0].transpose(0, 1).unflatten(0, (groups, -1))


def _merged(one: Tensor, one_sum: Tensor, other: Tensor, other_sum: Tensor) -> tuple[Tensor, Tensor]:
    """Two softmaxes over different keys as one over both; the sums are logarithms [..., tokens]."""
    total = torch.logaddexp(one_sum, other_sum)
    share = (other_sum - total).exp()[..., None]
    return torch.lerp(one.float(), other.float(), share).to(one.dtype), total
