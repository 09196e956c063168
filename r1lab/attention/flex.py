"""Attention over a packed row on a GPU: FlexAttention with a mask by blocks, so that what is masked is not computed.

One compiled kernel for prompts, completions and windows (Dong et al. 2024, arXiv:2412.05496). On a CPU it runs
uncompiled, as slow as a mask of the whole row: there it serves tests alone.
"""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from r1lab.attention.parts import row_length, row_positions
from r1lab.records import Segment


def attend(
    query: Tensor, key: Tensor, value: Tensor, packed: Sequence[Segment], *, window: int | None, scale: float | None
) -> Tensor:
    """As `segments.attend`: [1, L, H, d] from query [1, H, L, d], key and value [1, H_kv, L, d]."""
    mask = block_mask(tuple(packed), window, query.device)
    found = _kernel(query.device.type)(query, key, value, block_mask=mask, scale=scale, enable_gqa=True)
    return found.transpose(1, 2).contiguous()


@functools.lru_cache(maxsize=4)
def block_mask(packed: tuple[Segment, ...], window: int | None, device: torch.device) -> BlockMask:
    """The blocks of a row that FlexAttention computes, made once for a micro-batch and once per window."""
    sizes = [(segment.prompt, *segment.completions) for segment in packed]
    counts = [count for row in sizes for count in row]
    segment = _spread([place for place, row in enumerate(sizes) for _ in row], counts, device)
    part = _spread([place for row in sizes for place in range(len(row))], counts, device)
    at, total = row_positions(packed).to(device), row_length(packed)

    def is_seen(_, __, query: Tensor, key: Tensor) -> Tensor:
        seen = (query >= key) & (segment[query] == segment[key]) & ((part[key] == 0) | (part[key] == part[query]))
        return seen if window is None else seen & (at[query] - at[key] < window)

    return create_block_mask(is_seen, None, None, total, total, device=device)


def _spread(names: Sequence[int], counts: Sequence[int], device: torch.device) -> Tensor:
    """int64 [L]: every name repeated as often as its count says."""
    return torch.repeat_interleave(torch.tensor(names), torch.tensor(counts)).to(device)


@functools.cache
def _kernel(device: str) -> Callable:
    return torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention
