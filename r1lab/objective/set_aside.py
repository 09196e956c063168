"""Axis 2, the rule that sets demonstrations of unsolved problems aside for updates of their own (ReLIFT, arXiv
2506.07527). Not hybrids whose demonstrations share an update with samples (`group.Gate`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from r1lab.errors import RecipeError
from r1lab.objective.group import Drop, Keep, WithDemonstration
from r1lab.records import Draw, Group, Request, RequestId, Rollout, Sampling, Scored, Settled
from r1lab_data import Problem


@dataclass(frozen=True)
class SetAside(WithDemonstration):
    """`group_size` samples; where none is right, the problem's demonstration waits until `batch` of them make one
    update behind a step's own."""

    batch: int = 128
    right: float = 1.0

    def __post_init__(self) -> None:
        vars(self)["waiting"], vars(self)["due"] = [], []  # no fields: fields are settings

    def settle(self, group: Group) -> Keep | Drop:
        sampled = tuple(member for member in group.members if member.is_sampled)
        return Keep(Group(group.draw, sampled))

    def observe(self, block: Sequence[Settled]) -> None:
        for settled in block:
            members = settled.drawn.members
            judged = [member for member in members if member.is_sampled and member.reward is not None]
            if judged and not any(member.score >= self.right for member in judged):
                vars(self)["waiting"].extend(member for member in members if not member.is_sampled)
        waiting, is_full = vars(self)["waiting"], len(vars(self)["waiting"]) >= self.batch
        vars(self)["due"] = waiting[: self.batch] if is_full else []
        vars(self)["waiting"] = waiting[self.batch :] if is_full else waiting

    def alone(self) -> list[Group]:
        return [_group_of(member) for member in vars(self)["due"]]

    def state_dict(self) -> dict[str, Any]:
        return {"waiting": [_stored(member) for member in vars(self)["waiting"]]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self)["waiting"] = [_restored(entry) for entry in state.get("waiting", [])]

    def check(self, group_size: int) -> None:
        super().check(group_size)
        if self.batch < 1:
            raise RecipeError(f"objective.group.batch: {self.batch} demonstrations make no update; give at least 1")


def _group_of(member: Scored) -> Group:
    request = member.rollout.request
    return Group(Draw(request.id.draw, Problem(request.problem_id, "", ""), 1), (member,))


def _stored(member: Scored) -> dict[str, Any]:
    """A demonstration as plain data, as a checkpoint holds it."""
    rollout, request = member.rollout, member.rollout.request
    return {
        "id": list(request.id),
        "problem": request.problem_id,
        "prompt_ids": list(request.prompt_ids),
        "ids": list(rollout.completion_ids),
        "roles": rollout.role.tolist(),
        "text": rollout.text,
        "reward": member.reward,
        "parts": dict(member.parts),
    }


def _restored(entry: dict[str, Any]) -> Scored:
    size = len(entry["ids"])
    request = Request(RequestId(*entry["id"]), entry["problem"], tuple(entry["prompt_ids"]), 0, Sampling())
    unknown, version = np.full(size, np.nan, np.float32), np.full(size, -1, np.int32)
    role = np.array(entry["roles"], np.int8)
    rollout = Rollout(request, tuple(entry["ids"]), role, unknown, version, "eos", entry["text"])
    return Scored(rollout, None, entry["reward"], dict(entry["parts"]))
