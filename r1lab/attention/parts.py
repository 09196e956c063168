"""Which tokens of a packed row attend to which, as products of slices: no mask of the whole row exists.

A segment is a prompt and the completions right behind it. A prompt attends to itself; a completion's tokens to those
of it up to themselves and to their prompt. A token's keys may so come in two parts, whose softmaxes are merged.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r1lab.records import Segment


@dataclass(frozen=True, eq=False)
class Part:
    """Queries of a slice of the row, and the slice of keys that they attend to."""

    queries: slice
    keys: slice
    is_causal: bool
    """Query i sees keys up to i; else all."""
    merges: bool = False
    """These queries have attended to other keys before."""
    window: tuple[int, int] | None = None
    """(w, by): query i stands `by` places after key i, and sees the last w places only."""

    def mask(self, like: Tensor) -> Tensor | None:
        """What is added to the scores, [queries, keys] of `like`'s type and device; None where causality says all."""
        if self.window is None:
            return None
        most, by = self.window
        query = torch.arange(self.queries.stop - self.queries.start, device=like.device)[:, None]
        key = torch.arange(self.keys.stop - self.keys.start, device=like.device)[None]
        distance = query - key + by
        hidden = (distance >= most) | (distance < 0)
        return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, -torch.inf)


def row_length(segments: Sequence[Segment]) -> int:
    """Tokens of the row."""
    return sum(segment.prompt + sum(segment.completions) for segment in segments)


def row_positions(segments: Sequence[Segment]) -> Tensor:
    """int64 [L]: from 0 in every prompt, and from its end in every completion."""
    ranges = [torch.empty(0, dtype=torch.int64)]
    for prompt, completions in segments:
        ranges += [torch.arange(prompt), *(torch.arange(prompt, prompt + size) for size in completions)]
    return torch.cat(ranges)


def attention_parts(segments: Sequence[Segment], window: int | None = None) -> list[Part]:
    """The products that a row consists of; each query's own part comes before those that are merged into it."""
    row_parts, start = [], 0
    for prompt, completions in segments:
        first = slice(start, start + prompt)
        row_parts += _causal(first, window)
        begin = first.stop
        for size in completions:
            completion, begin = slice(begin, begin + size), begin + size
            row_parts += _causal(completion, window)
        behind = slice(first.stop, begin)
        if window is None or prompt + max(completions, default=0) <= window:
            row_parts += [Part(behind, first, is_causal=False, merges=True)] if begin > first.stop and prompt else []
        else:
            row_parts += _windowed(first, completions, window)
        start = begin
    return row_parts


def _causal(positions: slice, window: int | None) -> list[Part]:
    size = positions.stop - positions.start
    if not size:
        return []
    if window is None or size <= window:
        return [Part(positions, positions, is_causal=True)]
    return [Part(positions, positions, is_causal=False, window=(window, 0))]


def _windowed(prompt: slice, completions: Sequence[int], window: int) -> list[Part]:
    """The prompt's end, as far as a completion's first tokens still see it."""
    prompt_parts, begin = [], prompt.stop
    for size in completions:
        seen = min(prompt.stop - prompt.start, window - 1)
        near = slice(begin, begin + min(size, window - 1))
        if near.stop > near.start and seen:
            keys = slice(prompt.stop - seen, prompt.stop)
            prompt_parts.append(Part(near, keys, is_causal=False, merges=True, window=(window, seen)))
        begin += size
    return prompt_parts
