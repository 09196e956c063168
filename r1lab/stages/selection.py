"""What a stage that samples keeps of its completions: demonstrations, problems of a pass rate, or pairs. Pure but for
the judge that is asked; not how the dataset looks (`r1lab.stages.dataset`).

Completions come in the order they were drawn, each asked by the filters in their order; the first that refuses one is
counted for it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from r1lab.recipe.reject import KeepConfig
from r1lab.records import Draw, Scored, Settled
from r1lab_data import Problem
from r1lab_data.language import is_in
from r1lab_data.overlap import normalise, prompt_text

FILTERS = {
    "unjudged": "could not be judged",
    "threshold": "scored below keep.threshold",
    "truncated": "were cut at max_new_tokens",
    "empty": "hold no text",
    "min_tokens": "are shorter than keep.min_tokens",
    "max_tokens": "are longer than keep.max_tokens",
    "language": "are not in keep.language",
    "duplicate": "repeat another one of their problem",
    "max_per_problem": "come after keep.max_per_problem others",
}
"""Why a completion is left out, in the order that is asked."""
Members = Callable[[Settled], Sequence[Scored]]
"""Which of a group's members are completions of its problem, and not calls about them."""


@dataclass(frozen=True)
class Demonstration:
    """A completion that is kept."""

    draw: Draw
    member: Scored


@dataclass(frozen=True)
class RatedProblem:
    """A problem that is kept, with the share of its judged completions that are right."""

    problem: Problem
    pass_rate: float
    judged: int


@dataclass(frozen=True)
class Pair:
    """Two completions of a problem, the better one first."""

    draw: Draw
    chosen: Scored
    rejected: Scored
    told: dict[str, float | str] = field(default_factory=dict)
    """What else decided, as further columns."""


class Selection:
    """What was kept so far, and how many each filter refused; blocks are added in the order of their steps."""

    filters: ClassVar[dict[str, str]]
    what: ClassVar[str] = "completions"
    remedy: ClassVar[str] = "loosen it with another out=, sample more, or start from a better model"
    """What to do where nothing is left."""

    def __init__(self, keep: KeepConfig, members: Members = lambda settled: settled.drawn.members):
        self.keep, self.members = keep, members
        self.rows: list[Demonstration | RatedProblem | Pair] = []
        self.refused: Counter[str] = Counter()

    def add(self, block: Sequence[Settled]) -> None:
        """Every group of a step."""
        for settled in block:
            self._add(settled)

    def _add(self, settled: Settled) -> None:
        raise NotImplementedError

    @property
    def problems(self) -> int:
        """Problems of which something was kept."""
        return len({prompt_text(_problem(row)) for row in self.rows})

    @property
    def sampled(self) -> int:
        return len(self.rows) + self.refused.total()

    def metrics(self) -> dict[str, int | float | None]:
        """Counts over the stage so far, a key for each filter."""
        counts = {f"reject/refused/{name}": self.refused[name] for name in self.filters}
        return {
            "reject/sampled": self.sampled,
            "reject/kept": len(self.rows),
            "reject/problems": self.problems,
            **counts,
        }

    def why_empty(self) -> str:
        """What emptied it, each filter with its count in the order asked, and the last that refused any by name."""
        reasons = [name for name in self.filters if self.refused[name]]
        counts = ", ".join(f"{self.refused[name]} {self.filters[name]}" for name in reasons)
        return f"none of {self.sampled} {self.what} is left: {counts}; the last filter, {reasons[-1]}, emptied it"


class VerifiedSolutions(Selection):
    """Verified completions, each text of a problem once."""

    filters = FILTERS

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.taken: dict[str, set[str]] = {}
        """Normalised texts kept of each problem, which is known by its own normalised text."""

    @property
    def problems(self) -> int:
        return sum(map(bool, self.taken.values()))

    def _add(self, settled: Settled) -> None:
        for member in self.members(settled):
            self._ask(settled.drawn.draw, member)

    def _ask(self, draw: Draw, member: Scored) -> None:
        taken = self.taken.setdefault(normalise(prompt_text(draw.problem)), set())
        text = normalise(member.rollout.text)
        reason = unfit(member, self.keep) or ("duplicate" if text in taken else "")
        if not reason and len(taken) >= self.keep.max_per_problem:
            reason = "max_per_problem"
        if reason:
            self.refused[reason] += 1
            return
        taken.add(text)
        self.rows.append(Demonstration(draw, member))


class RatedProblems(Selection):
    """Problems whose share of right completions lies between two bounds."""

    filters = {"unjudged": "had no completion that could be judged", "pass_rate": "lie outside keep.pass_rate"}
    what = "problems"

    def _add(self, settled: Settled) -> None:
        assert self.keep.pass_rate is not None  # the recipe says so
        least, most = self.keep.pass_rate
        verdicts = (member.verdict for member in self.members(settled))
        judged = [verdict.score for verdict in verdicts if verdict is not None and verdict.score is not None]
        rate = sum(score >= self.keep.threshold for score in judged) / len(judged) if judged else -1.0
        if least <= rate <= most:
            self.rows.append(RatedProblem(settled.drawn.draw.problem, rate, len(judged)))
        else:
            self.refused["pass_rate" if judged else "unjudged"] += 1


class VerifiedPairs(Selection):
    """A right completion over a wrong one of the same problem."""

    filters = {"none_right": "have no completion that passes `keep`", "none_wrong": "have none below keep.threshold"}
    what = "problems"

    def _add(self, settled: Settled) -> None:
        members = self.members(settled)
        right = _distinct(member for member in members if not unfit(member, self.keep))
        wrong = _distinct(member for member in members if unfit(member, self.keep) == "threshold")
        wrong = [member for member in wrong if member.rollout.text.strip()]
        pairs = list(zip(right, wrong))[: self.keep.max_per_problem]
        if not pairs:
            self.refused["none_wrong" if right else "none_right"] += 1
        self.rows += [Pair(settled.drawn.draw, *pair) for pair in pairs]


class RevisedPairs(Selection):
    """A revision over the completion that it is of."""

    filters = {"unrevised": "were not revised", "empty": "hold no text", "duplicate": "equal their revision"}

    def __init__(self, *arguments, sources: Callable[[Settled], Sequence[tuple[Scored, Scored | None]]], **more):
        """`sources` are a group's completions, each with its revision."""
        super().__init__(*arguments, **more)
        self.sources = sources

    def _add(self, settled: Settled) -> None:
        for original, revision in self.sources(settled):
            if revision is None:
                self.refused["unrevised"] += 1
            elif reason := _unequal(revision, original):
                self.refused[reason] += 1
            else:
                self.rows.append(Pair(settled.drawn.draw, revision, original))


class JudgedPairs(Selection):
    """Pairs by what a judge prefers in both orders; what it prefers in one alone is a tie."""

    filters = {
        "empty": "hold no text",
        "duplicate": "are of equal texts",
        "unanswered": "got no answer of the judge's",
        "tie": "were ties: not the same one is preferred in both orders",
    }
    what = "pairs"
    remedy = "with another out=, name another judge, ask it in other words or by other options, or sample more"

    def __init__(
        self, *arguments, preferences: Callable[[Draw, Scored, Scored], tuple[float, float, str] | None], **more
    ):
        """`preferences` of the first of two completions, from 0 to 1, as it stands first and as it stands second, and
        the principle; None: no answer."""
        super().__init__(*arguments, **more)
        self.preferences = preferences

    def metrics(self) -> dict[str, int | float | None]:
        """Also of the pairs that the problems' verifier tells apart, how many, and in what share of them the judge
        prefers what scores higher."""
        leads = [_lead(row) for row in self.rows if isinstance(row, Pair)]
        told_apart = [lead > 0 for lead in leads if lead]
        agrees = sum(told_apart) / len(told_apart) if told_apart else None
        return super().metrics() | {"judge/told_apart": len(told_apart), "judge/agrees": agrees}

    def _add(self, settled: Settled) -> None:
        members = self.members(settled)
        for first, second in zip(members[::2], members[1::2]):
            reason = _unequal(first, second)
            said = None if reason else self.preferences(settled.drawn.draw, first, second)
            if not reason and said is None:
                reason = "unanswered"
            if said is not None and (said[0] - 0.5) * (said[1] - 0.5) <= 0:
                reason = "tie"
            if reason or said is None:
                self.refused[reason] += 1
                continue
            preference = (said[0] + said[1]) / 2
            chosen, rejected = (first, second) if preference > 0.5 else (second, first)
            told = {"preference": max(preference, 1 - preference)} | ({"principle": said[2]} if said[2] else {})
            self.rows.append(Pair(settled.drawn.draw, chosen, rejected, told))


def unfit(member: Scored, keep: KeepConfig) -> str:
    """The first filter that the completion does not pass by itself. What has no verifier is not asked for a score."""
    rollout, size = member.rollout, member.rollout.num_sampled
    if member.verdict is not None:
        if member.verdict.score is None:
            return "unjudged"
        if member.verdict.score < keep.threshold:
            return "threshold"
    if rollout.is_truncated and not keep.truncated:
        return "truncated"
    if not rollout.text.strip():
        return "empty"
    if size < keep.min_tokens:
        return "min_tokens"
    if keep.max_tokens is not None and size > keep.max_tokens:
        return "max_tokens"
    return "language" if keep.language is not None and not is_in(rollout.text, keep.language) else ""


def _lead(pair: Pair) -> float:
    """By how much the verifier scores the chosen completion higher; 0 where it does not say of both."""
    scores = [member.verdict.score if member.verdict else None for member in (pair.chosen, pair.rejected)]
    return 0.0 if scores[0] is None or scores[1] is None else scores[0] - scores[1]


def _unequal(one: Scored, other: Scored) -> str:
    """Why two completions are no pair, or nothing."""
    texts = [member.rollout.text.strip() for member in (one, other)]
    return "empty" if not all(texts) else "duplicate" if texts[0] == texts[1] else ""


def _distinct(members: Iterator[Scored]) -> list[Scored]:
    """The first of each text."""
    found: dict[str, Scored] = {}
    for member in members:
        found.setdefault(normalise(member.rollout.text), member)
    return list(found.values())


def _problem(row: Demonstration | RatedProblem | Pair) -> Problem:
    return row.problem if isinstance(row, RatedProblem) else row.draw.problem
