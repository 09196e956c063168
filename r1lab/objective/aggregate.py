"""Axis 6: the one place that owns mask, mixing weight and denominator. After it the loss is a plain sum.

Each denominator takes the counted tokens of every sequence of the whole update, int64 [B], and returns Z float64 [B]:
a token of sequence i gets scale = weight x mask / Z[i] (METHODS 2.4).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from r1lab.objective.mask import TokenMask
from r1lab.objective.term import Term
from r1lab.records import Role, Sample


def token_mean(counts: np.ndarray) -> np.ndarray:
    """Z = all tokens of the update (DAPO, arXiv 2503.14476)."""
    return np.full(len(counts), counts.sum(), np.float64)


def seq_token_mean(counts: np.ndarray) -> np.ndarray:
    """Z_i = N |y_i|: the mean of each sequence, then over sequences (GRPO, arXiv 2402.03300)."""
    return (counts > 0).sum() * counts.astype(np.float64)


def seq_token_sum(counts: np.ndarray) -> np.ndarray:
    """Z = N: a sequence is one action (REINFORCE, RLOO)."""
    return np.full(len(counts), (counts > 0).sum(), np.float64)


def const(counts: np.ndarray, *, length: int = 512) -> np.ndarray:
    """Z = N L with a constant length L, by default `max_new_tokens` (Dr. GRPO, arXiv 2503.20783)."""
    return np.full(len(counts), (counts > 0).sum() * length, np.float64)


AGGREGATES = {
    "token_mean": Term(token_mean),
    "seq_token_mean": Term(seq_token_mean),
    "seq_token_sum": Term(seq_token_sum),
    "const": Term(const),
}


def scales(
    samples: Sequence[Sample],
    masks: Sequence[TokenMask],
    *,
    aggregate: Callable[[np.ndarray], np.ndarray],
    mix: Callable[[Role, int], float],
    step: int,
) -> list[Sample]:
    """The samples of one update with `scale` [T] set: mixing weight x mask / denominator."""
    if not samples:
        return []
    z = aggregate(np.array([mask.counted.sum() for mask in masks], np.int64))
    scaled = []
    for sample, mask, denominator in zip(samples, masks, z, strict=True):
        weight = np.array([mix(role, step) for role in Role])[sample.role]
        scale = np.where(mask.trained, weight / denominator if denominator else 0.0, 0.0)
        scaled.append(replace(sample, scale=scale.astype(np.float32)))
    return scaled
