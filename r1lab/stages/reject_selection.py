"""Which sampled completions become demonstrations: verified, whole, of a length, in a language, each once. Pure.

Completions are asked in the order they were drawn, each by the filters in the order of FILTERS; the first that refuses
one is counted for it.
"""

from collections import Counter
from collections.abc import Sequence

from r1lab.recipe.reject import KeepConfig
from r1lab.records import Draw, Scored, Settled
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


class Selection:
    """The completions kept so far, and how many each filter refused; blocks are added in the order of their steps."""

    def __init__(self, keep: KeepConfig):
        self.keep = keep
        self.rows: list[tuple[Draw, Scored]] = []
        self.refused: Counter[str] = Counter()
        self.taken: dict[str, set[str]] = {}
        """Normalised texts kept of each problem, which is known by its own normalised text."""

    def add(self, block: Sequence[Settled]) -> None:
        """Every completion of a step."""
        for settled in block:
            for member in settled.drawn.members:
                self._ask(settled.drawn.draw, member)

    def _ask(self, draw: Draw, member: Scored) -> None:
        taken = self.taken.setdefault(normalise(prompt_text(draw.problem)), set())
        text = normalise(member.rollout.text)
        reason = self._unfit(member) or ("duplicate" if text in taken else "")
        if not reason and len(taken) >= self.keep.max_per_problem:
            reason = "max_per_problem"
        if reason:
            self.refused[reason] += 1
            return
        taken.add(text)
        self.rows.append((draw, member))

    def _unfit(self, member: Scored) -> str:
        """The first filter that the completion does not pass by itself."""
        keep, rollout, size = self.keep, member.rollout, len(member.rollout.completion_ids)
        score = member.verdict and member.verdict.score
        if score is None:
            return "unjudged"
        if score < keep.threshold:
            return "threshold"
        if rollout.finish == "length" and not keep.truncated:
            return "truncated"
        if not rollout.text.strip():
            return "empty"
        if size < keep.min_tokens:
            return "min_tokens"
        if keep.max_tokens is not None and size > keep.max_tokens:
            return "max_tokens"
        return "language" if keep.language is not None and not is_in(rollout.text, keep.language) else ""

    @property
    def problems(self) -> int:
        """Problems with at least one demonstration."""
        return sum(map(bool, self.taken.values()))

    @property
    def sampled(self) -> int:
        return len(self.rows) + self.refused.total()

    def metrics(self) -> dict[str, int]:
        """Counts over the stage so far, a key for each filter."""
        counts = {f"reject/refused/{name}": self.refused[name] for name in FILTERS}
        return {
            "reject/sampled": self.sampled,
            "reject/kept": len(self.rows),
            "reject/problems": self.problems,
        } | counts

    def why_empty(self) -> str:
        """What emptied it, each filter with its count in the order asked, and the last that refused any by name."""
        reasons = [name for name in FILTERS if self.refused[name]]
        counts = ", ".join(f"{self.refused[name]} {FILTERS[name]}" for name in reasons)
        return f"none of {self.sampled} completions is left: {counts}; the last filter, {reasons[-1]}, emptied it"
