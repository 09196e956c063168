"""A reward model on held-out labelled data: accuracy with its interval, AUC, calibration. Nothing is sampled; sets of
problems that a policy answers stand in `r1lab.evaluation.evaluate`.

A decision is a pair, a completion or a step. Of a pair the probability is that of the side that leads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from r1lab.evaluation.scores import share_right
from r1lab.records import Draw, EvaluationSet, Rollout, Sample
from r1lab.rollout.labelled import group_of
from r1lab.rollout.requests import RequestMaker
from r1lab.seeds import derive
from r1lab.stats.calibration import auc, ece, reliability
from r1lab_data import labelled

Score = Callable[[list[Sample]], list[np.ndarray]]
"""From samples to the scores float32 [S] of their scored tokens."""


@dataclass(frozen=True)
class Decision:
    """One pair, completion or step, and what the scores say of it."""

    rollout: Rollout
    """Of a pair the chosen one."""
    lead: float
    """How far the scores are on the right side of what decides: chosen - rejected - margin, or A score."""
    outcome: int
    """Whether what `probability` is of came true."""
    probability: float

    @property
    def is_right(self) -> bool:
        return self.lead > 0


@dataclass(frozen=True)
class Judged:
    """A whole set."""

    decisions: tuple[Decision, ...]
    scores: tuple[float, ...]
    labels: tuple[int, ...]
    """Of every scored token; of pairs 1 on the chosen."""
    num_prompt_tokens: int
    num_completion_tokens: int


def judge(eval_set: EvaluationSet, maker: RequestMaker, score: Score) -> Judged:
    """Score every completion of a set, and hold the scores against the labels."""
    groups = [group_of(Draw(number, problem, 1), maker) for number, problem in enumerate(eval_set.problems)]
    samples = [
        Sample(rollout, rollout.role, nothing, nothing, unit=group.draw.number + 1)
        for group in groups
        for rollout in (member.rollout for member in group.members)
        for nothing in [np.zeros(len(rollout.role), np.float32)]
    ]
    scored, decisions, scores, labels = iter(score(samples)), list[Decision](), list[float](), list[int]()
    for group in groups:
        given = labelled.of(group.draw.problem)
        found = [np.asarray(next(scored), np.float64) for _ in group.members]
        scores += [float(value) for values in found for value in values]
        labels += [mark for marks in given.labels for mark in marks]
        rollout = group.members[0].rollout
        if given.kind == "pairs":
            lead = float(found[0][0] - found[1][0] - given.margin)
            decisions.append(Decision(rollout, lead, int(lead > 0), _sigmoid(abs(lead))))
            continue
        for value, mark in zip(found[0], given.labels[0], strict=True):
            decisions.append(Decision(rollout, float(value if mark else -value), mark, _sigmoid(float(value))))
    prompts = sum(len(sample.rollout.request.prompt_ids) for sample in samples)
    return Judged(tuple(decisions), tuple(scores), tuple(labels), prompts, sum(len(s.role) for s in samples))


def rows_of(judged: Judged, prompt_text: Callable[[Rollout], str]) -> list[dict[str, Any]]:
    """Each decision as a row of an evaluation's table: score 1 where the scores are on the right side, and under
    `extracted` by how much."""
    return [
        {
            "problem_id": each.rollout.request.problem_id, "index": number, "prompt_text": prompt_text(each.rollout),
            "text": each.rollout.text, "completion_ids": each.rollout.completion_ids,
            "num_tokens": len(each.rollout.completion_ids), "finish": each.rollout.finish,
            "score": float(each.is_right), "status": "correct" if each.is_right else "wrong",
            "extracted": f"{each.lead:.6g}", "reason": "", "vote": None,
        }
        for number, each in enumerate(judged.decisions)
    ]  # fmt: skip


def summary(name: str, judged: Judged, seed: int) -> dict[str, float | int | None]:
    """Metrics of a set under `eval/<name>/`: `avg` is the share of decisions on the right side, over problems."""
    groups: dict[str, list[float]] = {}
    for each in judged.decisions:
        groups.setdefault(each.rollout.request.problem_id, []).append(float(each.is_right))
    value, low, high = share_right(list(groups.values()), derive(seed, f"bootstrap/{name}"))
    bins = reliability(*zip(*((each.probability, each.outcome) for each in judged.decisions), strict=True))
    row = {
        "avg": value, "low": low, "high": high, "n": 1, "problems": len(groups), "score": value, "errors": 0,
        "timeout": 0, "undecided": 0, "abstained": 0, "decisions": len(judged.decisions),
        "loss": float(np.mean([np.logaddexp(0.0, -each.lead) for each in judged.decisions])),
        "auc": auc(judged.scores, judged.labels), "ece": ece(bins),
    }  # fmt: skip
    for each in bins:
        place = f"calibration/{each.low:g}_{each.high:g}"
        row |= {f"{place}/count": each.count, f"{place}/probability": each.probability, f"{place}/share": each.share}
    return {f"eval/{name}/{key}": value for key, value in row.items()}


def _sigmoid(value: float) -> float:
    return float(1.0 / (1.0 + np.exp(-value)))
