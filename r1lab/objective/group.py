"""Axes 1 and 2, rules of groups: what is sampled for a draw, and which of its completions are learned from.

    plan(draw, make) -> Planned
    settle(group)    -> Keep(group) | Drop(reason) | Again(requests)

A rule is a class with its settings as fields. Groups whose rewards are missing never reach `settle` (`r1lab.feed`).
Rules that put part of a demonstration in front of a completion stand in `prefix`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np

from r1lab.errors import RecipeError
from r1lab.records import Draw, Group, Ids, Request, Role, Rollout, Scored, Settled
from r1lab.seeds import derive

Planned = Sequence[Request | Rollout | Scored]
"""What is sampled for a draw, demonstrated, or replayed of an earlier step."""


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
    """Makes the requests and demonstrations of a plan."""

    def request(
        self, draw: Draw, index: int, forced_ids: Ids = (), forced_role: tuple[Role, ...] = (), greedy: bool = False
    ) -> Request: ...

    def demonstration(self, draw: Draw, index: int) -> Rollout: ...


@dataclass(frozen=True)
class All:
    """`group_size` samples, every group kept."""

    samples: ClassVar[bool] = True
    demonstrates: ClassVar[bool] = False
    """Every problem needs a solution."""
    attempts: ClassVar[int] = 1
    """How many times `group_size` completions a group may take."""
    role: ClassVar[Role | None] = None
    """The role that sampled tokens take; None leaves them POLICY."""
    forces: ClassVar[bool] = False
    """Completions begin with a part of a demonstration."""
    imitate: ClassVar[bool] = False
    """The member with a positive advantage is learned a second time, as a demonstration."""

    stores: ClassVar[bool] = False
    """It keeps rollouts for later steps, so that every rank must have them whole."""

    def plan(self, draw: Draw, make: Make) -> Planned:
        return [make.request(draw, index) for index in range(draw.group_size)]

    def settle(self, group: Group) -> Keep | Drop | Again:
        return Keep(group)

    def observe(self, block: Sequence[Settled]) -> None:
        """Outcomes of a step, freshly made or read back; what a rule remembers changes here alone."""

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, as plain data."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` gave."""

    def check(self, group_size: int) -> None:
        """RecipeError where the rule cannot do with groups of that size."""

    def labels(self, group: Group) -> list[np.ndarray] | None:
        """Advantages float32 [T] of each member where the data says them; None: they follow from the rewards."""

    def alone(self) -> Sequence[Group]:
        """Groups of demonstrations that are due as an update of their own behind the step's others."""
        return ()

    def margin(self, group: Group) -> float | None:
        """By how much a pair's chosen completion has to lead, where the data can say it."""


@dataclass(frozen=True)
class DropZeroVariance(All):
    """Groups whose rewards, or `by: score` whose verifier's scores, are all equal; DAPO (arXiv 2503.14476) draws others
    in their place and filters by accuracy."""

    by: Literal["reward", "score"] = "reward"

    def settle(self, group: Group) -> Keep | Drop | Again:
        values = {getattr(member, self.by) for member in group.members}
        return Keep(group) if len(values) > 1 else Drop("zero_variance")

    def check(self, group_size: int) -> None:
        _check_choice("by", self.by, "reward", "score")


@dataclass(frozen=True)
class Speed(All):
    """`screen` completions of a problem first, and the other ones of its group only where some of these are right and
    some wrong (SPEED-RL, arXiv 2506.09016): a flat problem costs a part of its group."""

    screen: int = 2
    right: float = 1.0

    def plan(self, draw: Draw, make: Make) -> Planned:
        return [make.request(draw, index) for index in range(self.screen)]

    def settle(self, group: Group) -> Keep | Drop | Again:
        ids = [member.rollout.request.id for member in group.members]
        if any(each.index >= self.screen for each in ids):
            return Keep(group)
        if len({member.score >= self.right for member in group.members}) < 2:
            return Drop("zero_variance")
        first = group.members[0].rollout.request
        return Again([_further(first, index) for index in range(self.screen, group.draw.group_size)])

    def check(self, group_size: int) -> None:
        if not 2 <= self.screen < group_size:
            raise RecipeError(
                f"objective.group.screen: {self.screen} must be from 2 to below group_size {group_size}, of which they "
                "are the first"
            )


@dataclass(frozen=True)
class CorrectOnly(All):
    """Members with a score of at least `right`: rejection sampling (RAFT, arXiv 2304.06767)."""

    right: float = 1.0

    def settle(self, group: Group) -> Keep | Drop | Again:
        kept = tuple(member for member in group.members if member.score >= self.right)
        return Keep(Group(group.draw, kept)) if kept else Drop("none_right")


@dataclass(frozen=True)
class Pods(All):
    """The `keep` members whose rewards vary most: some of the best and some of the worst (arXiv 2504.13818)."""

    keep: int = 4

    def settle(self, group: Group) -> Keep | Drop | Again:
        return Keep(_choose(group, widest([member.paid for member in group.members], self.keep)))

    def check(self, group_size: int) -> None:
        _check_keep("pods", self.keep, group_size)


@dataclass(frozen=True)
class Gfpo(All):
    """The `keep` shortest members, or those with the most reward a token (arXiv 2508.09726)."""

    keep: int = 4
    metric: Literal["length", "reward_per_token"] = "length"

    def settle(self, group: Group) -> Keep | Drop | Again:
        lengths = [max(1, member.rollout.length) for member in group.members]
        by_reward = [-member.paid / length for member, length in zip(group.members, lengths, strict=True)]
        order = np.argsort(lengths if self.metric == "length" else by_reward, kind="stable")
        return Keep(_choose(group, order[: self.keep]))

    def check(self, group_size: int) -> None:
        _check_keep("gfpo", self.keep, group_size)
        _check_choice("metric", self.metric, "length", "reward_per_token")


@dataclass(frozen=True)
class Greedy(All):
    """`group_size` samples and the greedy completion, a baseline that is not learned from (ReMax, arXiv 2310.10505)."""

    def plan(self, draw: Draw, make: Make) -> Planned:
        return [*super().plan(draw, make), make.request(draw, draw.group_size, greedy=True)]

    def settle(self, group: Group) -> Keep | Drop | Again:
        greedy = sum(is_greedy(member) for member in group.members)
        return Keep(group) if greedy and greedy < len(group.members) else Drop("error")


@dataclass(frozen=True)
class Pairs(All):
    """The best and the worst of each group as chosen and rejected; equal rewards make no pair (arXiv 2404.19733)."""

    role: ClassVar[Role | None] = Role.PAIR
    imitate: bool = False

    def settle(self, group: Group) -> Keep | Drop | Again:
        rewards = [member.paid for member in group.members]
        if max(rewards) == min(rewards):
            return Drop("zero_variance")
        return Keep(_choose(group, [int(np.argmax(rewards)), int(np.argmin(rewards))]))


@dataclass(frozen=True)
class Demonstrations(All):
    """The problem's solution and nothing sampled: SFT."""

    samples: ClassVar[bool] = False
    demonstrates: ClassVar[bool] = True

    def plan(self, draw: Draw, make: Make) -> Planned:
        return [make.demonstration(draw, 0)]


@dataclass(frozen=True)
class WithDemonstration(All):
    """`group_size` samples and the problem's solution beside them, or, with `instead`, in the place of one of them
    (LUFFY, arXiv 2504.14945; CHORD, arXiv 2508.11408; SRFT, arXiv 2506.19767)."""

    demonstrates: ClassVar[bool] = True
    instead: bool = False

    def plan(self, draw: Draw, make: Make) -> Planned:
        sampled = draw.group_size - self.instead
        return [*(make.request(draw, index) for index in range(sampled)), make.demonstration(draw, sampled)]

    def check(self, group_size: int) -> None:
        if self.instead and group_size < 2:
            raise RecipeError(f"group_size: {group_size} leaves no sample beside the demonstration; use at least 2")


@dataclass(frozen=True)
class Gate(WithDemonstration):
    """The solution alone where at most `gate` completions are right, else the completions alone (HPT, arXiv 2509.04419;
    with gate 0 DyME, arXiv 2506.23061)."""

    gate: int = 0
    right: float = 1.0

    def settle(self, group: Group) -> Keep | Drop | Again:
        solved = sum(member.is_sampled and member.score >= self.right for member in group.members)
        wants_demonstration = solved <= self.gate
        kept = tuple(member for member in group.members if member.is_sampled != wants_demonstration)
        return Keep(Group(group.draw, kept))


def is_greedy(member: Scored) -> bool:
    """Whether a completion is a greedy baseline."""
    return member.rollout.request.sampling.temperature == 0


def _further(first: Request, index: int) -> Request:
    """The request like `first` of another completion of its draw."""
    name = first.id._replace(index=index)
    return replace(first, id=name, seed=derive(first.seed, "further", name.draw, index))


def widest(rewards: list[float], keep: int) -> list[int]:
    """Which `keep` rewards have the largest variance, in order: the i largest and keep - i smallest, the best i."""
    order = np.argsort(-np.asarray(rewards, np.float64), kind="stable")
    keep = min(keep, len(order))
    subsets = [np.r_[order[:i], order[len(order) - (keep - i) :]] for i in range(keep + 1)]
    best = max(range(keep + 1), key=lambda i: (np.var(np.asarray(rewards)[subsets[i]]), -abs(2 * i - keep)))
    return sorted(subsets[best].tolist())


def _choose(group: Group, indices) -> Group:
    """The members at these places, in their order."""
    return Group(group.draw, tuple(group.members[index] for index in sorted(indices)))


def _check_choice(key: str, value: str, *allowed: str) -> None:
    if value not in allowed:
        raise RecipeError(f"objective.group.{key}: {value!r} must be {' or '.join(allowed)}")


def _check_keep(rule: str, keep: int, group_size: int) -> None:
    if type(keep) is not int or not 2 <= keep <= group_size:
        raise RecipeError(
            f"objective.group.keep: {keep!r} must be a whole number from 2 to group_size {group_size} ({rule}); "
            "raise group_size or lower keep"
        )
