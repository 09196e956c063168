"""`curriculum`: which of the problems whose turn it is are drawn, by what came of them before. Not the walk over the
sources (`r1lab.rollout.sampler`).

A curriculum passes problems over; what it remembers changes in `observe` alone, so a step's draws are a pure function
of the state at its start. Its outcomes are verdicts' scores, whatever is paid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from r1lab import plugin
from r1lab.errors import RecipeError
from r1lab.records import Settled
from r1lab.seeds import derive


class Uniform:
    """Every problem whose turn it is."""

    def passes_over(self, problem_id: str, number: int, seed: int) -> bool:
        """Whether this draw's problem is left out; `number` is the draw's, `seed` the sampler's."""
        return False

    def observe(self, block: Sequence[Settled]) -> None:
        """Outcomes of a step, freshly made or read back."""

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
        for settled in block:
            share = _right_share(settled)
            if share is not None:
                name = settled.drawn.draw.problem.id
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
        return derive(seed, "greso", number) >= self.explore[kind] ** length * 2**63

    def observe(self, block: Sequence[Settled]) -> None:
        kinds = []
        for settled in block:
            share, name = _right_share(settled), settled.drawn.draw.problem.id
            if share is None:
                continue
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


CURRICULA = {"uniform": Uniform, "no_positive_resampling": NoPositiveResampling, "greso": Greso}


def build(spec: Any) -> Uniform:
    """The curriculum that a recipe names. RecipeError for an unknown name or setting."""
    name, settings = plugin.split(spec, "curriculum")
    made = plugin.bind(plugin.find(CURRICULA, name, "curriculum"), settings, "curriculum")()
    if not isinstance(made, Uniform):
        raise RecipeError(f"curriculum: {name!r} is no curriculum; derive it from r1lab.rollout.curriculum:Uniform")
    return made


def _right_share(settled: Settled) -> float | None:
    """The share of a group's judged completions that are right; None where none was."""
    scores = [member.verdict.score for member in settled.drawn.members if member.verdict is not None]
    judged = [score for score in scores if score is not None]
    return sum(score >= 1 for score in judged) / len(judged) if judged else None


def _check_share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise RecipeError(f"curriculum.{name}: {value!r} must lie in (0, 1]; it is a share")
