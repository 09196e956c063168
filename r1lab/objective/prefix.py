"""Axes 1 and 2, rules that put the beginning of a demonstration in front of a completion, as tokens of role PREFIX.

How much of it falls with the number of draws so far, a pure function of the draw; its chances come from the seed of
the request, so a draw has the same prefix whenever it is made. `Bisect` puts it there as CONTEXT: nothing is learned
from it and it counts in no denominator.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from r1lab.errors import RecipeError
from r1lab.objective.group import Again, All, Drop, Keep, Make, Planned
from r1lab.objective.schedule import cosine, hint_probability
from r1lab.records import Draw, Group, Request, Role, Rollout, Scored
from r1lab.seeds import derive


@dataclass(frozen=True)
class Hint(All):
    """Every sample continues the first n of `chunks` parts of the solution, n binomial with a chance that falls to 0
    over the first `draws` draws (UFT, arXiv 2505.16984)."""

    demonstrates: ClassVar[bool] = True
    forces: ClassVar[bool] = True
    chunks: int = 5
    draws: int = 10_000

    def plan(self, draw: Draw, make: Make) -> Planned:
        random = np.random.default_rng(derive(make.request(draw, 0).seed, "hint"))
        taken = random.binomial(self.chunks, hint_probability(draw.number / self.draws))
        hint = beginning(make.demonstration(draw, 0), taken / self.chunks)
        return [make.request(draw, index, *_forced(hint)) for index in range(draw.group_size)]

    def check(self, group_size: int) -> None:
        _check_counts(chunks=self.chunks, draws=self.draws)


@dataclass(frozen=True)
class OnePrefix(All):
    """One of the samples continues a share of the solution, uniform between `start` and a bound that falls from `start`
    to `end` as a cosine over the first `draws` draws (Prefix-RFT, arXiv 2507.01679, and its code's BetaSampler)."""

    demonstrates: ClassVar[bool] = True
    forces: ClassVar[bool] = True
    start: float = 0.95
    end: float = 0.05
    draws: int = 10_000

    def plan(self, draw: Draw, make: Make) -> Planned:
        random = np.random.default_rng(derive(make.request(draw, 0).seed, "prefix"))
        share = random.uniform(cosine(draw.number / self.draws, self.start, self.end), self.start)
        prefix = beginning(make.demonstration(draw, 0), share)
        alone = [make.request(draw, index) for index in range(draw.group_size - 1)]
        return [*alone, make.request(draw, draw.group_size - 1, *_forced(prefix))]

    def check(self, group_size: int) -> None:
        _check_counts(draws=self.draws)
        if not 0 <= self.end <= self.start < 1:
            raise RecipeError(
                f"objective.group: start {self.start!r} and end {self.end!r} must be 0 <= end <= start < 1"
            )


@dataclass(frozen=True)
class Bisect(All):
    """Where all samples fail, `group_size` others continue half of the solution, and so on, more of it where those
    fail too and less where all succeed, until a branch is mixed or `tries` are spent (BREAD, arXiv 2506.17211)."""

    demonstrates: ClassVar[bool] = True
    forces: ClassVar[bool] = True
    tries: int = 3
    right: float = 1.0

    @property
    def attempts(self) -> int:
        return 1 + self.tries

    def plan(self, draw: Draw, make: Make) -> Planned:
        return [*super().plan(draw, make), make.demonstration(draw, draw.group_size)]

    def settle(self, group: Group) -> Keep | Drop | Again:
        branches: dict[int, list[Scored]] = {}
        demonstration = next(member.rollout for member in group.members if not member.is_sampled)
        for member in group.members:
            if member.is_sampled:
                branches.setdefault(len(member.rollout.request.forced_ids), []).append(member)
        low, high = 0, _most(demonstration) + 1
        for length, members in branches.items():
            solved = sum(member.score >= self.right for member in members)
            if 0 < solved < len(members) or (solved and not length):
                return Keep(Group(group.draw, tuple(members)))
            low, high = (low, length) if solved else (length, high)
        middle = (low + high + 1) // 2
        if len(branches) > self.tries or middle in branches or not low < middle < high:
            return Drop("no_branch")
        first = demonstration.request
        taken = demonstration.completion_ids[:middle]
        size = group.draw.group_size
        return Again([_branch(first, (middle + 1) * size + 1 + index, taken) for index in range(size)])

    def check(self, group_size: int) -> None:
        _check_counts(tries=self.tries)


def beginning(demonstration: Rollout, share: float) -> tuple[int, ...]:
    """The first tokens of a solution, a share of it, and fewer where they would leave nothing to write."""
    return demonstration.completion_ids[: min(_most(demonstration), round(share * len(demonstration.completion_ids)))]


def _most(demonstration: Rollout) -> int:
    """Tokens of a solution that a prefix can have."""
    return min(len(demonstration.completion_ids), demonstration.request.sampling.max_new_tokens) - 1


def _forced(ids: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[Role, ...]]:
    return ids, (Role.PREFIX,) * len(ids)


def _branch(first: Request, index: int, ids: tuple[int, ...]) -> Request:
    """The request like `first` that continues these tokens."""
    name = first.id._replace(index=index)
    forced_role = (Role.CONTEXT,) * len(ids)
    seed = derive(first.seed, "branch", name.draw, index)
    return replace(first, id=name, seed=seed, forced_ids=ids, forced_role=forced_role)


def _check_counts(**counts: int) -> None:
    for key, value in counts.items():
        if type(value) is not int or value < 1:
            raise RecipeError(f"objective.group.{key}: {value!r} must be a whole number of at least 1")
