"""`objective.correction`: corrections for an engine whose distribution is not the trainer's. One or the product of
several multiplies the loss of policy tokens.

Each takes old and engine log-probabilities float32 [N] and returns the factor [N], without gradient. A log-probability
that is not finite gives 0: such tokens are out of the denominator too (`mask`). With rho = exp(old - engine), `level`
says over what: a token, or the sequence's mean (`seq_mean`) or sum (`seq_sum`) of old - engine over its finite tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from r1lab.objective.segments import Segments
from r1lab.objective.term import Term

if TYPE_CHECKING:  # a recipe is checked without torch
    from torch import Tensor

Coupling = Segments | None
"""None where a term couples no rows."""
Level = Literal["token", "seq_mean", "seq_sum"]


def none(*, old: Tensor, engine: Tensor) -> Tensor:
    return old.new_ones(old.shape)


def tis(*, old: Tensor, engine: Tensor, segments: Coupling, cap: float = 2.0, level: Level = "token") -> Tensor:
    """min(rho, cap): truncated importance sampling."""
    return _rho(old, engine, segments, level).clamp(max=cap).where(engine.isfinite(), 0.0)


def icepop(
    *, old: Tensor, engine: Tensor, segments: Coupling, low: float = 0.5, high: float = 5.0, level: Level = "token"
) -> Tensor:
    """rho where low <= rho <= high, else 0 (IcePop, arXiv 2510.18855)."""
    rho = _rho(old, engine, segments, level)
    return rho.where(engine.isfinite() & (rho >= low) & (rho <= high), 0.0)


def within(
    *, old: Tensor, engine: Tensor, segments: Coupling, low: float = 0.5, high: float = 2.0, level: Level = "token"
) -> Tensor:
    """1 where low <= rho <= high, else 0: a mask that leaves the size of what stays to another correction."""
    rho = _rho(old, engine, segments, level)
    return (engine.isfinite() & (rho >= low) & (rho <= high)).float()


def _rho(old: Tensor, engine: Tensor, segments: Coupling, level: Level) -> Tensor:
    # Zero where not finite: a sum with NaN is NaN for the whole sequence.
    log_importance_ratio = (old - engine).where(engine.isfinite(), 0.0)
    if level != "token":
        assert segments is not None  # `lookup` gives such a term the scope of a sequence
        reduce = segments.mean if level == "seq_mean" else segments.total
        log_importance_ratio = reduce(log_importance_ratio)
    return log_importance_ratio.clamp(max=20).exp()


CORRECTIONS = {
    "none": Term(none),
    "tis": Term(tis, takes=("segments",)),
    "icepop": Term(icepop, takes=("segments",)),
    "within": Term(within, takes=("segments",)),
}
