"""Which tokens are learned from and which count in the denominator.

`token_mask` knows one sample. The functions of MASKS know the tokens [N] of the whole update and run once, before it;
`off_policy` alone reads the current log-probability and is a factor of the loss in the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from r1lab.objective.segments import Segments
from r1lab.objective.term import Term
from r1lab.objective.weight import sampler
from r1lab.records import Role, Sample
from r1lab.seeds import derive

if TYPE_CHECKING:  # a recipe is checked without torch
    from torch import Tensor

ROLES = {"policy": Role.POLICY, "demo": Role.DEMO, "prefix": Role.PREFIX}


class TokenMask(NamedTuple):
    """Which tokens of a sample [T], or of an update [N], are counted and trained."""

    counted: np.ndarray
    """bool: stands in the denominator."""
    trained: np.ndarray
    """bool: carries its term; a subset of `counted`."""
    penalty: np.ndarray | None = None
    """float64: coefficient of |logp - old| in its loss; None where it is 0 everywhere."""


@dataclass(frozen=True)
class Tokens:
    """The tokens [N] of an update, of all its samples in order."""

    role: np.ndarray
    counted: np.ndarray
    sequence: np.ndarray
    """The sample each token is of."""
    advantage: np.ndarray
    logp: np.ndarray | None
    """The policy's before the update (`old`); None where no mask needs it, like the next two."""
    ref: np.ndarray | None
    entropy: np.ndarray | None
    random: np.random.Generator

    def places_of(self, role: Role) -> np.ndarray:
        """Where counted tokens of a role stand."""
        return np.flatnonzero(role.at(self.role) & self.counted)

    def all_but(self, dropped: np.ndarray) -> np.ndarray:
        kept = np.ones(len(self.role), bool)
        kept[dropped] = False
        return kept


def token_mask(sample: Sample, *, truncated: str = "score") -> TokenMask:
    """Out of both go context tokens, completions cut at the limit under `truncated: mask`, and policy tokens whose
    engine log-probability is not finite (counted as `update/nonfinite`)."""
    rollout = sample.rollout
    counted = ~Role.CONTEXT.at(sample.role)
    counted &= ~Role.POLICY.at(rollout.role) | np.isfinite(rollout.engine_logprobs)
    if truncated == "mask" and rollout.is_truncated:
        counted = np.zeros_like(counted)
    return TokenMask(counted, counted)


def token_cleaning(tokens: Tokens, *, keep: float = 0.6) -> TokenMask:
    """The `keep` share of demonstration tokens with the largest log-probability gain over the reference, the model the
    stage began with; the others are in no denominator (self-evolving token cleaning, arXiv 2502.01968).

    While the policy is still the reference there is no gain to rank by, and all are kept.
    """
    at = tokens.places_of(Role.DEMO)
    assert tokens.logp is not None and tokens.ref is not None  # what its Term needs
    gain = (tokens.logp - tokens.ref)[at]
    if not np.abs(gain).max(initial=0.0) > ROUNDING:
        return TokenMask(tokens.all_but(at[:0]), tokens.all_but(at[:0]))
    kept = tokens.all_but(_smallest(gain, len(at) - _count(keep, len(at)), at))
    return TokenMask(kept, kept)


def top_entropy(
    tokens: Tokens,
    *,
    share: float = 0.2,
    role: Literal["policy", "demo", "prefix"] = "policy",
    per: Literal["update", "sequence"] = "update",
) -> TokenMask:
    """Learn a role's tokens only from its `share` of largest entropy, over the update or in each sequence."""
    at = tokens.places_of(ROLES[role])
    assert tokens.entropy is not None  # what its Term needs
    parts = [at] if per == "update" else [at[tokens.sequence[at] == each] for each in np.unique(tokens.sequence[at])]
    dropped = [_smallest(tokens.entropy[part], len(part) - _count(share, len(part)), part) for part in parts]
    return TokenMask(tokens.all_but(at[:0]), tokens.all_but(np.concatenate([at[:0], *dropped])))


def clip_cov(tokens: Tokens, *, share: float = 2e-4, low: float = 1.0, high: float = 5.0) -> TokenMask:
    """max(1, share N) policy tokens at random among those with low < covariance < high are not learned from
    (arXiv 2505.22617)."""
    at = tokens.places_of(Role.POLICY)
    covariance = _covariance(tokens, at)
    among = at[(covariance > low) & (covariance < high)]
    count = min(len(among), max(1, int(share * len(at))))
    return TokenMask(tokens.all_but(at[:0]), tokens.all_but(tokens.random.choice(among, count, replace=False)))


def kl_cov(tokens: Tokens, *, share: float = 0.002, coef: float = 1.0) -> TokenMask:
    """The `share` of policy tokens with the largest covariance pays coef |logp - old| (arXiv 2505.22617)."""
    at = tokens.places_of(Role.POLICY)
    count = min(len(at), max(1, int(share * len(at))))
    penalty = np.zeros(len(tokens.role))
    penalty[at[np.argsort(-_covariance(tokens, at), kind="stable")[:count]]] = coef
    everything = tokens.all_but(at[:0])
    return TokenMask(everything, everything, penalty)


def off_policy(
    *, logp: Tensor, old: Tensor, advantage: Tensor, engine: Tensor, segments: Segments, delta: float = 0.5
) -> Tensor:
    """0 on sequences with A < 0 whose mean of engine - logp is above delta, else 1 (DeepSeek-V3.2, arXiv 2512.02556):
    the sampler's log-probabilities, so that its own mismatch counts; old where it has none."""
    has_drifted = segments.mean((sampler(engine, old) - logp).detach()) > delta
    return 1.0 - (has_drifted & (advantage < 0)).float()


ROUNDING = 1e-4
"""Log-probabilities of one model from two passes differ by less."""
MASKS = {
    "token_cleaning": Term(token_cleaning, needs=frozenset({"old", "ref"}), scope="batch"),
    "top_entropy": Term(top_entropy, needs=frozenset({"entropy"}), scope="batch"),
    "clip_cov": Term(clip_cov, needs=frozenset({"old"}), scope="batch"),
    "kl_cov": Term(kl_cov, needs=frozenset({"old"}), scope="batch"),
    "off_policy": Term(off_policy, scope="sequence", takes=("engine", "segments")),
}


def update_masks(samples: Sequence[Sample], masks: Sequence[TokenMask], terms: Sequence[Term]) -> list[TokenMask]:
    """The masks of an update's samples after the batch masks among `terms`, in their order."""
    terms = [term for term in terms if term.scope == "batch"]
    if not terms or not samples:
        return list(masks)
    lengths = [len(sample.role) for sample in samples]
    whole = TokenMask(*(np.concatenate(part) for part in zip(*(mask[:2] for mask in masks), strict=True)))
    penalty = np.zeros(len(whole.counted))
    for term in terms:
        found = term.fn(_tokens(samples, whole.counted, lengths))
        whole = TokenMask(whole.counted & found.counted, whole.trained & found.counted & found.trained)
        penalty += 0.0 if found.penalty is None else found.penalty
    cuts = np.cumsum(lengths)[:-1]
    parts = zip(np.split(whole.counted, cuts), np.split(whole.trained, cuts), np.split(penalty, cuts), strict=True)
    return [TokenMask(*part) for part in parts]


def _tokens(samples: Sequence[Sample], counted: np.ndarray, lengths: Sequence[int]) -> Tokens:
    def column(name: str) -> np.ndarray | None:
        values = [getattr(sample, name) for sample in samples]
        return None if any(value is None for value in values) else np.concatenate(values).astype(np.float64)

    return Tokens(
        role=np.concatenate([sample.role for sample in samples]),
        counted=counted,
        sequence=np.repeat(np.arange(len(samples)), lengths),
        advantage=np.concatenate([sample.advantage for sample in samples]).astype(np.float64),
        logp=column("old"),
        ref=column("ref"),
        entropy=column("entropy"),
        random=np.random.default_rng(derive(samples[0].rollout.request.seed, "mask")),
    )


def _covariance(tokens: Tokens, at: np.ndarray) -> np.ndarray:
    """(logp - mean)(A - mean) of the tokens `at`."""
    assert tokens.logp is not None  # what the Terms of both masks need
    logp, advantage = tokens.logp[at], tokens.advantage[at]
    return (logp - logp.mean()) * (advantage - advantage.mean()) if len(at) else logp


def _count(share: float, tokens: int) -> int:
    """A share of the tokens, rounded up: of one token there is one."""
    return min(tokens, int(np.ceil(share * tokens - 1e-9)))


def _smallest(values: np.ndarray, count: int, at: np.ndarray) -> np.ndarray:
    """Which of `at` have the `count` smallest values."""
    return at[np.argsort(values, kind="stable")[:count]]
