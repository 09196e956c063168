"""Which tokens of a sample are learned from and which count in the denominator. Known before the update."""

from typing import NamedTuple

import numpy as np

from r1lab.records import Role, Sample


class TokenMask(NamedTuple):
    """Two answers for each token of a sample."""

    counted: np.ndarray
    """bool [T]: stands in the denominator."""
    trained: np.ndarray
    """bool [T]: carries its term; a subset of `counted`."""


def token_mask(sample: Sample, *, truncated: str = "score") -> TokenMask:
    """Out of both go context tokens, completions cut at the limit under `truncated: mask`, and policy tokens whose
    engine log-probability is not finite (counted as `update/nonfinite`)."""
    rollout = sample.rollout
    counted = sample.role != Role.CONTEXT
    counted &= (rollout.role != Role.POLICY) | np.isfinite(rollout.engine_logprobs)
    if truncated == "mask" and rollout.finish == "length":
        counted = np.zeros_like(counted)
    return TokenMask(counted, counted)
