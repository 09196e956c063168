"""Attention over a packed row on a GPU: FlexAttention with a mask by blocks, so that what is masked is not computed.

One compiled kernel for prompts, completions and windows (Dong et al. 2024, arXiv:2412.05496). On a CPU it runs
uncompiled, as slow as a mask of the whole row: there it serves tests alone.
"""

import functools
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch._dynamo import config as dynamo
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from r1lab.attention.parts import row_length, row_positions
from r1lab.records import Segment

BLOCK_TOKENS = 128
"""Queries and keys of a block."""
MOST_GRAPHS = 32
"""Compiled forms of the kernel: with and without gradient, by window, by lengths below and from a block on."""


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

    counts_seen = torch.from_numpy(_seen(sizes, window))
    whole = counts_seen == BLOCK_TOKENS**2
    blocks = [_ordered(chosen, device) for chosen in ((counts_seen > 0) & ~whole, whole)]
    return BlockMask.from_kv_blocks(
        *blocks[0], *blocks[1], BLOCK_SIZE=BLOCK_TOKENS, mask_mod=is_seen, seq_lengths=(total, total)
    )


def _seen(sizes: Sequence[Sequence[int]], window: int | None) -> np.ndarray:
    """int64 [blocks of queries, blocks of keys]: pairs that see each other, counted without a mask of the row: a token
    sees its own part up to itself, and before that its prompt."""
    counts = np.array([count for row in sizes for count in row], np.int64)
    starts = np.array([*accumulate(counts, initial=0)][:-1], np.int64)
    is_prompt = np.array([place == 0 for row in sizes for place in range(len(row))])
    prompts = starts[is_prompt][np.cumsum(is_prompt) - 1]  # of each part: where its prompt begins, and its length
    lengths = counts[is_prompt][np.cumsum(is_prompt) - 1]
    query = np.arange(counts.sum())
    own, begin, length, in_prompt = (np.repeat(each, counts) for each in (starts, prompts, lengths, is_prompt))
    own_end, prompt_end = query + 1, np.where(in_prompt, begin, begin + length)
    if window is not None:
        at = query - own + np.where(in_prompt, 0, length)
        own, begin = np.maximum(own, own_end - window), np.maximum(begin, begin + at - window + 1)
    edges = np.arange(-(-len(query) // BLOCK_TOKENS)) * BLOCK_TOKENS
    seen = np.zeros((len(edges), len(edges)), np.int64)
    for row, start in enumerate(edges):
        at = slice(start, start + BLOCK_TOKENS)
        for first, last in ((own[at], own_end[at]), (begin[at], prompt_end[at])):
            shared = np.minimum(last[:, None], edges + BLOCK_TOKENS) - np.maximum(first[:, None], edges)
            seen[row] += np.maximum(shared, 0).sum(0)
    return seen


def _ordered(chosen: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """int32 [1, 1, blocks] and [1, 1, blocks, blocks]: how many blocks of keys each block of queries has, and which,
    those first."""
    indices = torch.argsort(chosen.to(torch.int32), dim=-1, descending=True, stable=True)
    return tuple(each.to(device, torch.int32)[None, None] for each in (chosen.sum(-1), indices))  # pyright: ignore


def _spread(names: Sequence[int], counts: Sequence[int], device: torch.device) -> Tensor:
    """int64 [L]: every name repeated as often as its count says."""
    return torch.repeat_interleave(torch.tensor(names), torch.tensor(counts)).to(device)


@functools.cache
def _kernel(device: str) -> Callable:
    if device != "cuda":
        return flex_attention
    # Past the limit dynamo runs it uncompiled, which holds the scores of the whole row, without a word.
    limits = dynamo.patch(recompile_limit=MOST_GRAPHS, fail_on_recompile_limit_hit=True)  # pyright: ignore
    return limits(torch.compile(flex_attention, dynamic=True))
