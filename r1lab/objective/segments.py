"""Rows that belong together, a sequence or a pair: sums and means over them, given back to each row.

Sums are matrix products, which are deterministic on every device; scattered additions are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a recipe is checked without torch
    from torch import Tensor


class Segments:
    """The rows [n] of a micro-batch by the segment they belong to; only live rows enter a sum."""

    def __init__(self, ids: Tensor, live: Tensor):
        """`ids` int64 [n], any numbers; `live` bool [n]."""
        self.live = live
        self.member = (ids.unique()[:, None] == ids[None]).float()

    def total(self, values: Tensor) -> Tensor:
        """The sum of each row's segment [n], differentiable; what stands on dead rows is never read."""
        member = self.member.to(values.dtype)
        return member.T @ (member @ values.where(self.live, 0.0))

    def count(self, like: Tensor) -> Tensor:
        """Live rows of each row's segment [n], at least 1."""
        return self.total(like.new_ones(like.shape)).clamp(min=1)

    def mean(self, values: Tensor) -> Tensor:
        return self.total(values) / self.count(values.detach())
