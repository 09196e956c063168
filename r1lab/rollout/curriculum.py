"""`curriculum`: which of the problems whose turn it is are drawn, by what came of them before. Not the walk over the
sources (`r1lab.rollout.sampler`).

A curriculum passes problems over, or takes those to come in another order; what it remembers changes in `observe`
alone, so a step's draws are a pure function of the state at its start. Its outcomes are verdicts' scores, whatever is
paid.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, ClassVar

import numpy as np

from r1lab import plugin
from r1lab.errors import RecipeError
from r1lab.records import Settled
from r1lab.seeds import derive
from r1lab_data import Problem

Turn = tuple[int, Problem]
"""A draw's number, which is its place in the walk over the sources, and the problem whose turn it is."""


@dataclass(frozen=True)
class Walk:
    """The turns to come."""

    problem_at: Callable[[int], Problem]
    start: int
    """The number of the first one."""
    seed: int
    sources: Sequence[Sequence[Problem]]

    def __iter__(self) -> Iterator[Turn]:
        return ((number, self.problem_at(number)) for number in count(self.start))

    @property
    def longest(self) -> int:
        """Turns within which every problem comes, from anywhere: an epoch is whole within two."""
        return 2 * sum(map(len, self.sources))


class Uniform:
    """Every problem whose turn it is."""

    def passes_over(self, problem_id: str, number: int, seed: int) -> bool:
        """Whether this draw's problem is left out; `number` is the draw's, `seed` the sampler's."""
        return False

    def order(self, walk: Walk) -> Iterator[Turn]:
        """The draws to come, without end. Where every problem in turn would be passed over, one is taken all the
        same."""
        passed = 0
        for number, problem in walk:
            if passed < walk.longest and self.passes_over(problem.id, number, walk.seed):
                passed += 1
                continue
            passed = 0
            yield number, problem

    def observe(self, block: Sequence[Settled]) -> None:
        """Outcomes of a step, freshly made or read back."""

    def check(self, sources: Mapping[str, Sequence[Problem]]) -> None:
        """RecipeError where it could do nothing with these problems."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` gave."""


class NoPositiveResampling(Uniform):
    """Problems of which the last group was right in a share of at least `rate` are not drawn again (ScaleRL, arXiv
    2510.13786: 0.9; Olmo 3: 0.875)."""

    def __init__(self, *, rate: float = 0.9):
        _check_share("rate", rate)
        self.rate = rate
        self.solved: set[str] = set()

    def passes_over(self, problem_id: str, number: int, seed: int) -> bool:
        return problem_id in self.solved

    def observe(self, block: Sequence[Settled]) -> None:
        for name, share in _outcomes(block):
            (self.solved.add if share >= self.rate else self.solved.discard)(name)

    def state_dict(self) -> dict[str, Any]:
        return {"solved": sorted(self.solved)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.solved = set(state["solved"])


class Greso(Uniform):
    """Problems whose last z groups were all right, or all wrong, are passed over with probability 1 - explore^z
    (GRESO, arXiv 2506.02177, algorithm 1); `explore`, one for right and one for wrong, moves by `delta` a step, up
    while fewer than `easy` (`hard`) of a step's groups are all right (wrong), down while more."""

    START: ClassVar[float] = 0.5

    def __init__(self, *, easy: float = 1 / 12, hard: float = 1 / 6, delta: float = 0.01):
        for name, value in (("easy", easy), ("hard", hard), ("delta", delta)):
            _check_share(name, value)
        self.targets, self.delta = {"easy": easy, "hard": hard}, delta
        self.explore = dict.fromkeys(self.targets, self.START)
        self.streaks: dict[str, tuple[str, int]] = {}
        """By problem: what its last groups all were, and how many."""

    def passes_over(self, problem_id: str, number: int, seed: int) -> bool:
        if problem_id not in self.streaks:
            return False
        kind, length = self.streaks[problem_id]
        return _chance(seed, "greso", number) >= self.explore[kind] ** length

    def observe(self, block: Sequence[Settled]) -> None:
        kinds = []
        for name, share in _outcomes(block):
            kind = {1.0: "easy", 0.0: "hard"}.get(share, "")
            kinds.append(kind)
            before, length = self.streaks.get(name, ("", 0))
            if kind:
                self.streaks[name] = kind, length + 1 if kind == before else 1
            else:
                self.streaks.pop(name, None)
        for kind, target in self.targets.items():
            if kinds:
                step = self.delta if kinds.count(kind) < target * len(kinds) else -self.delta
                self.explore[kind] = min(1.0, max(0.0, self.explore[kind] + step))

    def state_dict(self) -> dict[str, Any]:
        return {"explore": dict(self.explore), "streaks": {name: list(each) for name, each in self.streaks.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.explore = dict(state["explore"])
        self.streaks = {name: (kind, length) for name, (kind, length) in state["streaks"].items()}


class Pools(Uniform):
    """Problems whose last group was right in a share of at least `easy`, or at most `hard`, are taken in a share
    `easy_share` (`hard_share`) of their turns, all others always (the difficulty pools of prime-rl)."""

    def __init__(self, *, easy: float = 0.8, hard: float = 0.2, easy_share: float = 0.1, hard_share: float = 0.1):
        for name, value in (("easy_share", easy_share), ("hard_share", hard_share)):
            _check_share(name, value)
        if not 0 <= hard < easy <= 1:
            raise RecipeError(f"curriculum: hard {hard!r} and easy {easy!r} must be 0 <= hard < easy <= 1")
        self.easy, self.hard = easy, hard
        self.taken = {"easy": easy_share, "hard": hard_share}
        self.pools: dict[str, str] = {}

    def passes_over(self, problem_id: str, number: int, seed: int) -> bool:
        share = self.taken.get(self.pools.get(problem_id, ""), 1.0)
        return _chance(seed, "pools", number) >= share

    def observe(self, block: Sequence[Settled]) -> None:
        for name, share in _outcomes(block):
            pool = "easy" if share >= self.easy else "hard" if share <= self.hard else ""
            self.pools.pop(name, None)
            if pool:
                self.pools[name] = pool

    def state_dict(self) -> dict[str, Any]:
        return {"pools": dict(self.pools)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.pools = dict(state["pools"])


class Mopps(Uniform):
    """Of every `pool` problems in turn those first whose chance to be solved is nearest a half, the chance drawn from a
    Beta distribution of their outcomes, of which a share `keep` stays with each new one (MoPPS, arXiv 2507.04632)."""

    def __init__(self, *, pool: int = 256, keep: float = 0.5):
        _check_share("keep", keep)
        if pool < 2:
            raise RecipeError(f"curriculum.pool: {pool!r} must be at least 2, of which some are taken")
        self.pool, self.keep = pool, keep
        self.solved: dict[str, tuple[float, float]] = {}
        """By problem: how many right and wrong answers it is held to have had."""

    def order(self, walk: Walk) -> Iterator[Turn]:
        turns = iter(walk)
        while True:
            pool: dict[str, Turn] = {}
            for number, problem in islice(turns, self.pool):
                pool.setdefault(problem.id, (number, problem))  # a small source may come round twice
            yield from sorted(pool.values(), key=lambda turn: (self._distance(turn, walk.seed), turn[0]))

    def _distance(self, turn: Turn, seed: int) -> float:
        number, problem = turn
        right, wrong = self.solved.get(problem.id, (0.0, 0.0))
        return abs(np.random.default_rng(derive(seed, "mopps", number)).beta(1 + right, 1 + wrong) - 0.5)

    def observe(self, block: Sequence[Settled]) -> None:
        for settled in block:
            scores = _scores(settled)
            if scores:
                name, right = settled.drawn.draw.problem.id, sum(score >= 1 for score in scores)
                before = self.solved.get(name, (0.0, 0.0))
                self.solved[name] = self.keep * before[0] + right, self.keep * before[1] + len(scores) - right

    def state_dict(self) -> dict[str, Any]:
        return {"solved": {name: list(counts) for name, counts in self.solved.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.solved = {name: (right, wrong) for name, (right, wrong) in state["solved"].items()}


class Arms(Uniform):
    """Kinds of problems, drawn by how much their groups teach: the source each is of, or what its column `by` says.
    Which kind a draw is of is a chance in proportion to exp(value / temperature)."""

    def __init__(self, by: str, temperature: float):
        if temperature <= 0:
            raise RecipeError(f"curriculum.temperature: {temperature!r} must be above 0")
        self.by, self.temperature = by, temperature

    def value(self, arm: str) -> float:
        """What a kind is expected to teach."""
        raise NotImplementedError

    def learn(self, arm: str, advantages: Sequence[float]) -> None:
        """Take note of the absolute advantages of a step's completions of a kind."""
        raise NotImplementedError

    def arm_of(self, problem: Problem) -> str:
        return problem.source if self.by == "source" else str(problem.meta[self.by])

    def check(self, sources: Mapping[str, Sequence[Problem]]) -> None:
        every = [problem for problems in sources.values() for problem in problems]
        bare = next((each for each in every if self.by != "source" and self.by not in each.meta), None)
        if bare is not None:
            raise RecipeError(
                f"curriculum.by: problem {bare.id!r} has no column {self.by!r}; its columns: "
                f"{', '.join(map(str, bare.meta)) or 'none'}"
            )
        if every and len(arms := {self.arm_of(problem) for problem in every}) < 2:
            raise RecipeError(
                f"curriculum: by {self.by!r} all problems are of one kind, {min(arms)!r}; give several sources, or "
                "name a column that tells them apart, as in by: level"
            )

    def order(self, walk: Walk) -> Iterator[Turn]:
        arms = sorted({self.arm_of(problem) for problems in walk.sources for problem in problems})
        values = np.array([self.value(arm) for arm in arms])
        chances = np.exp((values - values.max()) / self.temperature)
        chances /= chances.sum()
        waiting: dict[str, deque[Turn]] = {arm: deque() for arm in arms}
        turns = iter(walk)
        for place in count():
            chance = _chance(walk.seed, "arm", walk.start, place)
            arm = arms[min(len(arms) - 1, int(np.searchsorted(np.cumsum(chances), chance, side="right")))]
            while not waiting[arm]:
                number, problem = next(turns)
                waiting[self.arm_of(problem)].append((number, problem))
            yield waiting[arm].popleft()

    def observe(self, block: Sequence[Settled]) -> None:
        told: dict[str, list[float]] = {}
        for settled in block:
            told.setdefault(self.arm_of(settled.drawn.draw.problem), []).extend(_absolute_advantages(settled))
        for arm, advantages in sorted(told.items()):
            if advantages:
                self.learn(arm, advantages)


class Sec(Arms):
    """A kind's value moves by `rate` towards the mean absolute advantage of its completions in a step (SEC, arXiv
    2505.14970)."""

    def __init__(self, *, by: str = "source", rate: float = 0.5, temperature: float = 0.2):
        super().__init__(by, temperature)
        _check_share("rate", rate)
        self.rate, self.values = rate, dict[str, float]()

    def value(self, arm: str) -> float:
        return self.values.get(arm, 0.0)

    def learn(self, arm: str, advantages: Sequence[float]) -> None:
        self.values[arm] = self.value(arm) + self.rate * (sum(advantages) / len(advantages) - self.value(arm))

    def state_dict(self) -> dict[str, Any]:
        return {"values": dict(self.values)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.values = dict(state["values"])


class Dump(Arms):
    """A kind's value is the mean absolute advantage of its last `window` completions plus sqrt(2 ln(N + 1) / (n + 1)),
    n of N completions being of it (DUMP, arXiv 2504.09710)."""

    def __init__(self, *, by: str = "source", window: int = 300, temperature: float = 0.1):
        super().__init__(by, temperature)
        if window < 1:
            raise RecipeError(f"curriculum.window: {window!r} must be at least 1; it counts completions")
        self.window = window
        self.counts: dict[str, int] = {}
        self.recent: dict[str, deque[float]] = {}

    def value(self, arm: str) -> float:
        recent, seen = self.recent.get(arm, ()), self.counts.get(arm, 0)
        bonus = math.sqrt(2 * math.log(sum(self.counts.values()) + 1) / (seen + 1))
        return (sum(recent) / len(recent) if recent else 0.0) + bonus

    def learn(self, arm: str, advantages: Sequence[float]) -> None:
        self.counts[arm] = self.counts.get(arm, 0) + len(advantages)
        self.recent.setdefault(arm, deque(maxlen=self.window)).extend(advantages)

    def state_dict(self) -> dict[str, Any]:
        return {"counts": dict(self.counts), "recent": {arm: list(values) for arm, values in self.recent.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts = dict(state["counts"])
        self.recent = {arm: deque(values, maxlen=self.window) for arm, values in state["recent"].items()}


CURRICULA = {
    "uniform": Uniform,
    "no_positive_resampling": NoPositiveResampling,
    "pools": Pools,
    "greso": Greso,
    "mopps": Mopps,
    "sec": Sec,
    "dump": Dump,
}
POOL_OF_STEPS = 8
"""Problems of MoPPS's pool for each that a step draws, where the recipe does not say how many."""


def build(spec: Any, prompts: int = 32) -> Uniform:
    """The curriculum that a recipe names, for steps of so many prompts. RecipeError for an unknown name or setting."""
    name, settings = plugin.split(spec, "curriculum")
    found = plugin.find(CURRICULA, name, "curriculum")
    usual = {"pool": POOL_OF_STEPS * prompts} if found is Mopps else {}
    made = plugin.bind(found, {**usual, **settings}, "curriculum")()
    if not isinstance(made, Uniform):
        raise RecipeError(f"curriculum: {name!r} is no curriculum; derive it from r1lab.rollout.curriculum:Uniform")
    return made


def _scores(settled: Settled) -> list[float]:
    """Of a group's judged completions."""
    scores = [member.verdict.score for member in settled.drawn.members if member.verdict and member.is_fresh]
    return [score for score in scores if score is not None]


def _right_share(settled: Settled) -> float | None:
    """The share of a group's judged completions that are right; None where none was."""
    judged = _scores(settled)
    return sum(score >= 1 for score in judged) / len(judged) if judged else None


def _outcomes(block: Sequence[Settled]) -> Iterator[tuple[str, float]]:
    """The problem of each group that was judged, and the share that was right."""
    for settled in block:
        share = _right_share(settled)
        if share is not None:
            yield settled.drawn.draw.problem.id, share


def _absolute_advantages(settled: Settled) -> list[float]:
    """|score - mean| / std of a group's judged completions; 0 where all are equal."""
    scores = np.array(_scores(settled))
    if not len(scores) or np.ptp(scores) == 0:
        return [0.0] * len(scores)
    return (np.abs(scores - scores.mean()) / scores.std()).tolist()


def _chance(*of: Any) -> float:
    """A number in [0, 1) by these values."""
    return derive(*of) / 2**63


def _check_share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise RecipeError(f"curriculum.{name}: {value!r} must lie in (0, 1]; it is a share")
