"""Axis 2, the rule that puts right completions of earlier steps beside those of now (RLEP, arXiv 2507.07451).

A replayed completion is compared with the group as any other, under the log-probabilities of the policy that wrote it:
`correction` weighs it by how far the policy of now is from that one. It is stored as it was judged and is sampled for
nothing, so no budget and no rate counts it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from r1lab.errors import RecipeError
from r1lab.objective.group import All, Make, Planned
from r1lab.records import Draw, Request, Role, Rollout, Scored, Settled
from r1lab_verifiers.verdict import Verdict

Stored = dict[str, Any]
"""A completion as plain data, as a checkpoint holds it."""


@dataclass(frozen=True)
class Replay(All):
    """In the place of up to `keep` samples the newest right completions of the problem, of `each` that are stored of
    it; where none is stored, the group is as it would be."""

    stores: ClassVar[bool] = True
    keep: int = 1
    each: int = 4
    right: float = 1.0

    def __post_init__(self) -> None:
        vars(self)["memory"] = {}  # no field: fields are settings

    def plan(self, draw: Draw, make: Make) -> Planned:
        found = self.stored.get(draw.problem.id, [])[-self.keep :]
        sampled = draw.group_size - len(found)
        again = [_replayed(entry, make.request(draw, sampled + place)) for place, entry in enumerate(found)]
        return [*(make.request(draw, index) for index in range(sampled)), *again]

    def check(self, group_size: int) -> None:
        if not 1 <= self.keep < group_size or self.each < self.keep:
            raise RecipeError(
                f"objective.group: keep {self.keep} must be from 1 to below group_size {group_size}, and each "
                f"{self.each} at least as much"
            )

    def observe(self, block: Sequence[Settled]) -> None:
        for settled in block:
            name = settled.drawn.draw.problem.id
            fresh = [member for member in settled.drawn.members if _is_worth_it(member, self.right)]
            if fresh:
                self.stored[name] = [*self.stored.get(name, []), *map(_stored, fresh)][-self.each :]

    def state_dict(self) -> dict[str, Any]:
        return {"stored": {name: list(entries) for name, entries in self.stored.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stored.clear()
        self.stored.update(state.get("stored", {}))

    @property
    def stored(self) -> dict[str, list[Stored]]:
        """By problem, the oldest first; changes in `observe` alone."""
        return vars(self)["memory"]


def _is_worth_it(member: Scored, right: float) -> bool:
    """Whether a completion is right, paid, and the policy's own from its first token on."""
    is_whole = member.verdict is not None and member.reward is not None and not member.rollout.turns
    return member.is_fresh and is_whole and member.score >= right and bool(Role.POLICY.at(member.rollout.role).all())


def _stored(member: Scored) -> Stored:
    rollout, verdict = member.rollout, member.verdict
    assert verdict is not None  # it is sampled
    return {
        "ids": list(rollout.completion_ids),
        "logprobs": rollout.engine_logprobs.tolist(),
        "version": rollout.version.tolist(),
        "finish": rollout.finish,
        "text": rollout.text,
        "score": verdict.score,
        "status": verdict.status,
        "extracted": verdict.extracted,
        "reward": member.reward,
        "parts": dict(member.parts),
        "steps": None if member.steps is None else [list(step) for step in member.steps],
        "from": str(rollout.request.id),
    }


def _replayed(entry: Stored, request: Request) -> Scored:
    """The completion under a new request; the numbers come back bit by bit."""
    size = len(entry["ids"])
    rollout = Rollout(
        request,
        tuple(entry["ids"]),
        np.full(size, Role.POLICY, np.int8),
        np.array(entry["logprobs"], np.float32),
        np.array(entry["version"], np.int32),
        entry["finish"],
        entry["text"],
    )
    verdict = Verdict(entry["score"], entry["status"], entry["extracted"])
    steps = None if entry["steps"] is None else tuple((end, score) for end, score in entry["steps"])
    return Scored(rollout, verdict, entry["reward"], dict(entry["parts"]), steps=steps, replayed_from=entry["from"])
