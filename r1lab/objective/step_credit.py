"""`objective.credit`: whether a completion answers for its reward as a whole, or each token for what follows it.

    credit: outcome                                            # the default: one advantage a completion
    credit: {use: steps, source: verdict, form: return}        # an advantage of each token from the scores of steps

A step is (end, score): it has the tokens from the step before up to `end`. The part of the reward that its steps come
from is paid by them; what else is paid is compared as a whole and added on every token. With `advantage: zscore` what
is compared is divided by its standard deviation, with `mean` it is not. Which token a step ends at is found elsewhere
(`r1lab.rollout.steps`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from r1lab import plugin
from r1lab.records import Scored

ADVANTAGES_OF_STEPS = ("mean", "zscore")
Scores = list[np.ndarray]
"""Of the steps of each completion of a group, float64, at least one."""


@dataclass(frozen=True)
class StepCredit:
    """Credit by steps."""

    source: str
    form: str

    @property
    def part(self) -> str:
        """The part of the reward that the steps pay."""
        return "score" if self.source == "verdict" else self.source

    def advantages(self, members: Sequence[Scored], epsilon: float | None) -> Scores:
        """Of the tokens of a group's completions, float64 [T] each; `epsilon` None: not divided by a deviation."""
        rest = np.array([self._rest(member) for member in members])
        of_steps = FORMS[self.form]([self._scores(member) for member in members], epsilon)
        of_rest = compared(rest, rest, epsilon)
        grouped = zip(members, of_steps, of_rest, strict=True)
        return [_on_tokens(member, values) + more for member, values, more in grouped]

    def _scores(self, member: Scored) -> np.ndarray:
        """Those of its steps; where none are said (a demonstration, a check that timed out) what the part paid as a
        whole; 0 where nothing was written that is a step."""
        if member.steps is None:
            return np.array([member.parts.get(self.part, 0.0)])
        return np.array([score for _, score in member.steps] or [0.0])

    def _rest(self, member: Scored) -> float:
        return sum((paid for name, paid in member.parts.items() if name != self.part), 0.0)


def outcome() -> None:
    """One advantage for all tokens of a completion."""


def steps(*, source: str = "verdict", form: Literal["return", "sum_normalized", "min"] = "return") -> StepCredit:
    """An advantage of each token from the scores of the steps that the verdict or a part of the reward tells apart."""
    return StepCredit(source, form)


def rewards_from_here_on(scores: Scores, epsilon: float | None) -> Scores:
    """The scores still to come minus the group's mean total (REINFORCE)."""
    totals = np.array([each.sum() for each in scores])
    return [compared(to_come(each, np.add), totals, epsilon) for each in scores]


def sum_of_normalized(scores: Scores, epsilon: float | None) -> Scores:
    """Each score compared with all steps of the group, then the sum of those still to come (process supervision of
    DeepSeekMath, arXiv 2402.03300, section 4.1.3). Its sum has as many terms as steps follow, so it favours stopping
    where further steps would be below the mean, and going on where above."""
    every = np.concatenate(scores)
    return [to_come(compared(each, every, epsilon), np.add) for each in scores]


def least_from_here_on(scores: Scores, epsilon: float | None) -> Scores:
    """The least score still to come minus the group's mean of whole completions: each is worth its worst step, and many
    easy ones make up for nothing (PURE, arXiv 2504.15275)."""
    worst = np.array([each.min() for each in scores])
    return [compared(to_come(each, np.minimum), worst, epsilon) for each in scores]


def to_come(scores: np.ndarray, ufunc: np.ufunc) -> np.ndarray:
    """The sum, or the least, of each score and all behind it."""
    return ufunc.accumulate(scores[::-1])[::-1]


def compared(values: np.ndarray, among: np.ndarray, epsilon: float | None) -> np.ndarray:
    """Values minus the mean of `among`, in its standard deviations (n - 1) unless `epsilon` is None; then 0 where these
    are all equal."""
    if epsilon is None:
        return values - among.mean()
    return (values - among.mean()) / (among.std(ddof=1) + epsilon) if np.ptp(among) else np.zeros_like(values)


FORMS = {"return": rewards_from_here_on, "sum_normalized": sum_of_normalized, "min": least_from_here_on}
CREDITS: dict[str, Callable[..., StepCredit | None]] = {"outcome": outcome, "steps": steps}


def build(spec: Any) -> StepCredit | None:
    """The credit that a recipe names; None for that of outcomes."""
    name, settings = plugin.split(spec, "objective.credit")
    return plugin.bind(plugin.find(CREDITS, name, "objective.credit"), settings, "objective.credit")()


def _on_tokens(member: Scored, values: np.ndarray) -> np.ndarray:
    """The value of each step on its tokens [T]; the last one has all that follow."""
    ends = [end for end, _ in member.steps or ()][:-1]
    return np.repeat(values, np.diff([0, *ends, len(member.rollout.completion_ids)]))
