"""Axes 1 and 2, the seam where regimes differ: what a draw samples, and what becomes of the group.

    plan(draw, make) -> list[Request | Rollout]
    settle(group)    -> Keep(group) | Drop(reason) | Again(requests)

A rule is a class with its settings as fields. Groups whose rewards are missing never reach `settle` (`r1lab.feed`).
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from r1lab import plugin
from r1lab.errors import RecipeError
from r1lab.records import Draw, Group, Request, Role, Rollout


class Keep(NamedTuple):
    """Learn from this group, whose members the rule may have chosen."""

    group: Group


class Drop(NamedTuple):
    """Learn nothing from it; the reason is counted."""

    reason: str


class Again(NamedTuple):
    """Sample these as well; the group settles again when they are scored."""

    requests: list[Request]


class Make(Protocol):
    """What a plan is made of."""

    def request(
        self, draw: Draw, index: int, forced_ids: tuple[int, ...] = (), forced_role: tuple[Role, ...] = ()
    ) -> Request: ...

    def demonstration(self, draw: Draw, index: int) -> Rollout: ...


@dataclass(frozen=True)
class All:
    """`group_size` samples, every group kept."""

    samples = True

    def plan(self, draw: Draw, make: Make) -> list[Request | Rollout]:
        return [make.request(draw, index) for index in range(draw.group_size)]

    def settle(self, group: Group) -> Keep | Drop | Again:
        return Keep(group)


@dataclass(frozen=True)
class DropZeroVariance(All):
    """Groups whose rewards are all equal have no gradient; DAPO (arXiv 2503.14476) draws others in their place."""

    def settle(self, group: Group) -> Keep | Drop | Again:
        rewards = {member.reward for member in group.members}
        return Keep(group) if len(rewards) > 1 else Drop("zero_variance")


@dataclass(frozen=True)
class Demonstrations:
    """The problem's solution and nothing sampled: SFT."""

    samples = False

    def plan(self, draw: Draw, make: Make) -> list[Request | Rollout]:
        return [make.demonstration(draw, 0)]

    def settle(self, group: Group) -> Keep | Drop | Again:
        return Keep(group)


GROUPS = {"all": All, "drop_zero_variance": DropZeroVariance, "demonstrations": Demonstrations}


def build(settings: dict) -> tuple[All | Demonstrations, int]:
    """The rule of `group: {select, refill: {max_draws}, **settings}`, and how often a step's problems may be drawn."""
    own = dict(settings)
    name, refill = own.pop("select", "all"), own.pop("refill", None) or {}
    max_draws = refill.get("max_draws", 3 if refill else 1) if isinstance(refill, dict) else None
    if isinstance(max_draws, bool) or not isinstance(max_draws, int) or max_draws < 1 or set(refill) - {"max_draws"}:
        raise RecipeError(f"objective.group.refill: {refill!r} must be {{max_draws: whole number >= 1}}")
    rule = plugin.find(GROUPS, name, "objective.group.select")
    try:
        return rule(**own), max_draws
    except TypeError as error:
        raise RecipeError(f"objective.group: {error}") from None
