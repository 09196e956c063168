"""What ranks exchange of a step's rollouts. Rank 0 gets them whole and writes them down; the others get what decides:
rewards, verdicts, roles, lengths. Before a batch is learned from, each rank gets the rest of the samples in its share.

Ids go as int32 arrays, what is the same for every token as one number, and a request, which every rank has planned, not
at all. Not who computes what (`r1lab.distributed.partition`), nor how ranks meet (`r1lab.distributed.ranks`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, cast

import numpy as np

from r1lab.distributed import ranks
from r1lab.distributed.partition import by_draw, by_tokens
from r1lab.records import Ids, Request, Role, Rollout, Sample, Scored, TurnRecord
from r1lab_verifiers.verdict import Verdict

OUTCOMES = ("verdict", "failed")
"""What all ranks have of a turn's `info`."""


class AbsentIds(Sequence):
    """Ids of a completion that another rank has: only how many is known here."""

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, _):
        raise RuntimeError("these ids are on another rank; `exchange.delivered` brings them")


class SentRollout(NamedTuple):
    """A rollout on its way; arrays of one element stand for as many as there are tokens."""

    request: Request | None
    """None where it is the one that was asked for."""
    ids: Any
    """int32 [T]; or only how many."""
    role: np.ndarray
    version: np.ndarray
    logprobs: Any
    """float32 [T]; None: they are finite where the policy sampled, and that is all that is said."""
    finish: Any
    text: str
    turns: tuple[TurnRecord, ...]


@dataclass(frozen=True)
class SentScored:
    """A scored rollout on its way."""

    rollout: SentRollout
    others: dict[str, Any]
    """Its other fields."""


def gathered(
    requests: Sequence[Request], sample: Callable[[list[Request]], list[Scored]], *, is_lean: bool
) -> list[Scored]:
    """Every request sampled and scored, in their order, each rank doing those of its own draws.

    `is_lean`: on a rank other than 0 the rollouts of others lack ids, text and log-probabilities.
    """
    if ranks.size() == 1 or ranks.is_alone():
        return sample(list(requests))
    parts, kept = by_draw(requests, ranks.size()), list[Scored]()
    mine = parts[ranks.rank()]

    def make() -> list[SentScored]:
        kept.extend(sample([requests[index] for index in mine]))
        return [_sent(scored, requests[index]) for index, scored in zip(mine, kept, strict=True)]

    if is_lean:
        outcomes, whole = ranks.gather_outcomes(make, lambda own: [_outcome(each) for each in own])
    else:
        outcomes, whole = ranks.gather(make), []
    found = {
        index: _received(each, requests[index])
        for own, of_rank in zip(parts, whole or outcomes, strict=True)
        for index, each in zip(own, of_rank, strict=True)
    }
    found |= zip(mine, kept, strict=True)
    return [found[index] for index in range(len(requests))]


def delivered(samples: list[Sample]) -> list[Sample]:
    """The samples, those whole that this rank learns from (a collective)."""
    if ranks.size() == 1 or not any(ranks.gather(lambda: any(_is_absent(sample.rollout) for sample in samples))):
        return samples
    forwarded = [index for index, sample in enumerate(samples) if not sample.left_out]
    shares = by_tokens([samples[index] for index in forwarded], ranks.size())
    mine = [forwarded[place] for place in shares[ranks.rank()]]
    lacking = [index for index in mine if _is_absent(samples[index].rollout)]
    wanted = ranks.gather(lambda: np.array(lacking, np.int32))
    rest = ranks.from_first(lambda: [[_sent_tokens(samples[index].rollout) for index in each] for each in wanted])
    complete = list(samples)
    for index, sent in zip(lacking, rest, strict=True):
        rollout = samples[index].rollout
        whole = _received_rollout(sent._replace(turns=rollout.turns), rollout.request)
        complete[index] = replace(samples[index], rollout=whole)
    return complete


def _is_absent(rollout: Rollout) -> bool:
    return isinstance(rollout.completion_ids, AbsentIds)


def _sent(scored: Scored, asked: Request) -> SentScored:
    others = {field.name: getattr(scored, field.name) for field in fields(scored) if field.name != "rollout"}
    return SentScored(_sent_rollout(scored.rollout, asked), others)


def _sent_rollout(rollout: Rollout, asked: Request | None) -> SentRollout:
    return SentRollout(
        None if asked is None or rollout.request is asked else rollout.request,
        np.array(rollout.completion_ids, np.int32),
        _once(rollout.role),
        _once(rollout.version),
        rollout.engine_logprobs,
        rollout.finish,
        rollout.text,
        rollout.turns,
    )


def _sent_tokens(rollout: Rollout) -> SentRollout:
    """What an update reads."""
    return _sent_rollout(rollout, None)._replace(text="", turns=())


def _outcome(sent: SentScored) -> SentScored:
    """What decides."""
    rollout, others = sent.rollout, sent.others
    role = np.broadcast_to(rollout.role, len(rollout.ids)) if len(rollout.role) == 1 else rollout.role
    is_finite = bool(np.isfinite(rollout.logprobs[Role.POLICY.at(role)]).all())
    less: dict[str, Any] = {name: others[name] and _outcome_of_verdict(others[name]) for name in ("verdict", "second")}
    less["verdicts"] = {name: _outcome_of_verdict(verdict) for name, verdict in others["verdicts"].items()}
    kept = rollout._replace(
        ids=len(rollout.ids), text="", logprobs=None if is_finite else rollout.logprobs,
        turns=tuple(map(_outcome_of_turn, rollout.turns)),
    )  # fmt: skip
    return SentScored(kept, others | less)


def _received(sent: SentScored, asked: Request) -> Scored:
    return Scored(_received_rollout(sent.rollout, asked), **sent.others)


def _received_rollout(sent: SentRollout, asked: Request) -> Rollout:
    size = sent.ids if isinstance(sent.ids, int) else len(sent.ids)
    ids = cast(Ids, AbsentIds(size)) if isinstance(sent.ids, int) else tuple(sent.ids.tolist())
    role, version = (each if len(each) == size else np.broadcast_to(each, size) for each in (sent.role, sent.version))
    logprobs = np.broadcast_to(np.float32(0), size) if sent.logprobs is None else sent.logprobs
    return Rollout(sent.request or asked, ids, role, logprobs, version, sent.finish, sent.text, sent.turns)


def _once(values: np.ndarray) -> np.ndarray:
    """One element where all are equal."""
    return values[:1].copy() if len(values) > 1 and (values == values[0]).all() else np.ascontiguousarray(values)


def _outcome_of_verdict(verdict: Verdict) -> Verdict:
    """A verdict without what is for people; why it is an error is said where a run ends by it."""
    return replace(verdict, extracted=None, steps=None, reason=verdict.reason if verdict.status == "error" else "")


def _outcome_of_turn(turn: TurnRecord) -> TurnRecord:
    return replace(turn, info={name: turn.info[name] for name in OUTCOMES if name in turn.info})
