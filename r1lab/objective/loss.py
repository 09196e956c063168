"""The loss of a row: the axes that read the current policy, in plain torch on vectors [n].

Not the loss head (`r1lab.kernels`), which never learns a method's name: it gets `row_loss` and differentiates it.
"""

import torch
from torch import Tensor

from r1lab.objective import entropy as entropy_axis
from r1lab.objective.mask import ROUNDING
from r1lab.objective.objective import Objective
from r1lab.objective.segments import Segments
from r1lab.objective.term import Term, call
from r1lab.records import PackedBatch, Role


def row_loss(
    objective: Objective, rows: PackedBatch, logp: Tensor, entropy: Tensor, at: slice, logq: Tensor | None = None
) -> Tensor:
    """Loss [n] of the rows `at` from their current log-probability, entropy and, where `kappa` is given, logq [n];
    differentiable in all three. Terms of sequence or pair scope take all rows at once."""
    if not objective.is_local and len(logp) != len(rows.role):
        raise ValueError("this objective couples rows of a sequence or pair; the one-pass head cannot compute it")
    given = _given(rows, logp, entropy, at, logq)
    role, is_live = rows.role[at], _is_counted(rows, at)
    loss = torch.zeros_like(logp)
    for kind, term in objective.weight.items():
        has_role = role == kind
        value = call(term, given | _coupled(rows, at, has_role & is_live, term), "logp", "old", "advantage")
        if kind is Role.POLICY:
            value = value * _factor(objective, rows, at, given, has_role & is_live) + _penalty(rows, at, given)
        loss = torch.where(has_role, value, loss)
    return (loss + torch.where(Role.POLICY.at(role), _regulariser(objective, given), 0.0)) * rows.scale[at]


def value_loss(objective: Objective, rows: PackedBatch, values: Tensor) -> Tensor:
    """Loss [N] of the value head on policy rows: coef (V - return)^2 / 2, times scale."""
    assert rows.returns is not None  # samples of an objective with a value head have them
    gap = torch.where(Role.POLICY.at(rows.role), values - rows.returns, 0.0)
    return objective.credit.value_coef * 0.5 * gap.square() * rows.scale


def _given(rows: PackedBatch, logp: Tensor, entropy: Tensor, at: slice, logq: Tensor | None) -> dict[str, Tensor]:
    """What the terms read of the rows. An `old` that is not finite stands on rows of scale 0 or of no ratio, and 0
    times NaN is NaN: the current log-probability stands for it."""
    old = logp.detach() if rows.old is None else rows.old[at]
    given = {
        "logp": logp,
        "old": torch.where(old.isfinite(), old, logp.detach()),
        "advantage": rows.advantage[at],
        "engine": rows.engine[at],
        "entropy": entropy,
        "logq": logq,
    }
    more = {"ref": rows.ref, "margin": rows.margin}
    return given | {name: column[at] for name, column in more.items() if column is not None}


def _factor(objective: Objective, rows: PackedBatch, at: slice, given: dict[str, Tensor], live: Tensor) -> Tensor:
    """What the train-inference correction and the masks of the head multiply policy terms by [n]."""
    factor = torch.ones_like(given["old"])
    for correction in objective.corrections:
        known = given | _coupled(rows, at, live & given["engine"].isfinite(), correction)
        factor = factor * call(correction, known, "old", "engine")
    for mask in objective.masks:
        if mask.scope == "sequence":
            known = given | _coupled(rows, at, live, mask)
            factor = factor * call(mask, known, "logp", "old", "advantage")
    return factor


def _is_counted(rows: PackedBatch, at: slice) -> Tensor:
    """Rows [n] that sums over a sequence or pair read: the whole completion, also where a mask trains a part of it."""
    return rows.scale[at] != 0 if rows.counted is None else rows.counted[at]


def _penalty(rows: PackedBatch, at: slice, given: dict[str, Tensor]) -> Tensor | float:
    """The loss a mask adds for leaving its old log-probability [n]; two passes differ by rounding alone."""
    if rows.penalty is None:
        return 0.0
    gap = (given["logp"] - given["old"]).abs()
    return rows.penalty[at] * torch.where(gap > ROUNDING, gap, 0.0)


def _regulariser(objective: Objective, given: dict[str, Tensor]) -> Tensor:
    """KL and entropy terms [n] of policy rows."""
    value = torch.zeros_like(given["logp"])
    if objective.kl.in_loss:
        value = value + objective.kl.coef * call(objective.kl.term, given, "logp", "ref")
    if objective.entropy.value:
        value = value + entropy_axis.bonus(entropy=given["entropy"], coef=objective.entropy.value)
    return value


def _coupled(rows: PackedBatch, at: slice, live: Tensor, term: Term) -> dict[str, Segments | None]:
    """Which rows a term of sequence or pair scope sums over; nothing to sum for the others."""
    sequence = Segments(rows.sequence[at], live) if term.scope in ("sequence", "pair") else None
    pairs = Segments(rows.unit[at], live) if term.scope == "pair" and rows.unit is not None else None
    return {"segments": sequence, "pairs": pairs}
