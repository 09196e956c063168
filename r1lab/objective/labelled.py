"""Learning from what the data says of completions: pairs and labels. The scores' losses, and the rule of groups.

A reward model reads a score after a token: at a completion's end, or after each of its steps. These tokens have the
role PAIR, the others none. The advantage is 1 on what is chosen or right and -1 on what is rejected or wrong. The
losses stand in the place of a weight (`r1lab.objective.weight`): `logp` [n] is the score there, no log-probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from r1lab.errors import RecipeError
from r1lab.objective import build
from r1lab.objective.aggregate import AGGREGATES
from r1lab.objective.group import All
from r1lab.objective.objective import Objective
from r1lab.objective.presets import PRESETS
from r1lab.objective.segments import Segments
from r1lab.objective.term import Term
from r1lab.recipe import ObjectiveConfig
from r1lab.records import Group, Role
from r1lab_data import labelled

if TYPE_CHECKING:  # a recipe is checked without torch
    from torch import Tensor


def bradley_terry(*, logp: Tensor, old: Tensor, advantage: Tensor, margin: Tensor, pairs: Segments) -> Tensor:
    """-log sigma(chosen score - rejected score - margin) (Bradley and Terry 1952; arXiv 2203.02155, the margin
    2307.09288), spread evenly over the two rows, so that their sum is the pair's."""
    from torch.nn.functional import logsigmoid

    return -logsigmoid(pairs.total(advantage * logp) - pairs.mean(margin)) / pairs.count(logp)


def binary(*, logp: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
    """-log sigma(A score): binary cross-entropy with the label 1 for A = 1 and 0 for A = -1 (outcome rewards, arXiv
    2110.14168; of each step arXiv 2305.20050)."""
    from torch.nn.functional import logsigmoid

    return -logsigmoid(advantage * logp)


LOSSES: dict[labelled.Kind, Term] = {
    "pairs": Term(bradley_terry, scope="pair", takes=("margin", "pairs")),
    "completions": Term(binary),
    "steps": Term(binary),
}


@dataclass(frozen=True)
class Labels(All):
    """The completions that the data holds, learned from as it says."""

    samples: ClassVar[bool] = False
    role: ClassVar[Role | None] = Role.PAIR
    role_of_tokens: ClassVar[Role] = Role.CONTEXT
    """Of those that no step ends with."""

    def labels(self, group: Group) -> list[np.ndarray]:
        given = labelled.of(group.draw.problem)
        return [on_steps(member.rollout.role, marks) for member, marks in zip(group.members, given.labels, strict=True)]

    def margin(self, group: Group) -> float | None:
        return labelled.of(group.draw.problem).margin


@dataclass(frozen=True)
class DatasetPairs(Labels):
    """The pairs that the data holds, each token of them learned from: what `pairs` is to sampled groups."""

    role_of_tokens: ClassVar[Role] = Role.PAIR
    imitate: bool = False  # pyright: ignore[reportIncompatibleVariableOverride]  # as in `group.Pairs`

    def labels(self, group: Group) -> list[np.ndarray]:
        signs = [2 * marks[0] - 1 for marks in labelled.of(group.draw.problem).labels]
        return [np.full(len(member.rollout.role), sign, np.float32) for member, sign in zip(group.members, signs)]

    def margin(self, group: Group) -> float | None:
        """None: no loss of a policy reads it."""


def on_steps(role: np.ndarray, marks: Sequence[int]) -> np.ndarray:
    """float32 [T]: 1 or -1 on each token that is scored, in the order of the labels [S]; 0 on the others."""
    advantage = np.zeros(len(role), np.float32)
    advantage[Role.PAIR.at(role)] = 2.0 * np.asarray(marks, np.float32) - 1.0
    return advantage


def preference_objective(knobs: ObjectiveConfig) -> Objective:
    """What a policy learns from pairs of the data. RecipeError for a preset that does not learn from pairs."""
    built = build(knobs, max_new_tokens=1, group_size=2)
    if built.rule.role is not Role.PAIR:
        known = [name for name in PRESETS if built_in_pairs(name)]
        raise RecipeError(
            f"objective: preset {knobs.preset!r} in a stage of kind preference, which learns from pairs; use one of "
            f"{', '.join(known)}"
        )
    return replace(built, rule=DatasetPairs(imitate=built.rule.imitate))


def built_in_pairs(name: str) -> bool:
    """Whether a preset learns from pairs."""
    return PRESETS[name].fields.get("group", {}).get("select") == "pairs"


def reward_objective(kind: labelled.Kind) -> Objective:
    """What a reward model learns from data of a kind: the mean over pairs, over completions, or over all steps of the
    update."""
    aggregate = AGGREGATES["token_mean" if kind == "steps" else "seq_token_sum"]
    built = build(ObjectiveConfig(preset="sft"), max_new_tokens=1)
    return replace(built, rule=Labels(), weight={Role.PAIR: LOSSES[kind]}, aggregate=aggregate)
