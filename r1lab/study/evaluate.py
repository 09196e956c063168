"""Held-out problems through `generate`: avg@n and pass@k with intervals (DESIGN: evaluation keys).

Never touches training randomness: its seeds are of the purpose `eval/<set>`, the same at every step and in every arm,
so two evaluations are paired by problem and by random stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from data import Problem
from r1lab import ranks, shares
from r1lab.engines.protocol import Engine
from r1lab.generate import generate
from r1lab.judge import Judge
from r1lab.prompts import Renderer
from r1lab.recipe import Evaluation
from r1lab.records import Request, RequestId, Rollout, Sampling
from r1lab.seeds import derive
from r1lab.study import stats
from verifiers.verdict import Verdict


@dataclass(frozen=True)
class EvaluationSet:
    """A named list of held-out problems."""

    name: str
    problems: Sequence[Problem]


def sampling_of(knobs: Evaluation, max_new_tokens: int, stop: tuple[str, ...]) -> Sampling:
    return Sampling(
        temperature=knobs.temperature,
        top_p=knobs.top_p,
        max_new_tokens=knobs.max_new_tokens or max_new_tokens,
        stop=stop,
    )


def requests_of(on: EvaluationSet, renderer: Renderer, sampling: Sampling, n: int, seed: int) -> list[Request]:
    """n requests a problem, in the set's order."""
    purpose = f"eval/{on.name}"
    return [
        Request(
            RequestId(purpose, row, index),
            problem.id,
            renderer.render(problem),
            derive(seed, purpose, row, index),
            sampling,
        )
        for row, problem in enumerate(on.problems)
        for index in range(n)
    ]


def evaluate(
    on: EvaluationSet, *, engine: Engine, judge: Judge, renderer: Renderer, sampling: Sampling, n: int, seed: int
) -> list[tuple[Rollout, Verdict]]:
    """Every completion with its verdict, in the set's order."""
    problems = {problem.id: problem for problem in on.problems}
    requests = requests_of(on, renderer, sampling, n, seed)

    def judged(own: list[Request]) -> list[tuple[Rollout, Verdict]]:
        return list(generate(engine, lambda rollout: judge(rollout, problems[rollout.request.problem_id]), own))

    return ranks.shared_out(requests, shares.by_draw, judged)


def depths(n: int) -> list[int]:
    """The k of pass@k that n completions a problem can say: powers of two, and n.

    >>> depths(6)
    [2, 4, 6]
    """
    return [2**power for power in range(1, n.bit_length()) if 2**power < n] + [n]


def summary(name: str, rows: Sequence[tuple[str, float | None, str, int]], seed: int) -> dict:
    """Metrics of (problem id, score, status, tokens) rows under `eval/<name>/`.

    A completion is right where its score is 1; `error` and `undecided` stay in n as not right. One completion a problem
    has Wilson's interval, several the bootstrap over problems.
    """
    right: dict[str, list[bool]] = {}
    for problem, score, _, _ in rows:
        right.setdefault(problem, []).append(score == 1.0)
    n = len(next(iter(right.values())))
    interval = (
        stats.wilson(sum(map(sum, right.values())), len(right))
        if n == 1
        else stats.clustered_bootstrap(list(right.values()), seed=derive(seed, f"bootstrap/{name}"))
    )
    row = {"avg": interval.value, "low": interval.low, "high": interval.high, "n": n, "problems": len(right)}
    if n > 1:
        row |= {f"pass@{k}": stats.mean_pass_at_k(list(right.values()), k) for k in depths(n)}
    row["score"] = sum(score or 0.0 for _, score, _, _ in rows) / len(rows)
    row["errors"] = sum(status == "error" for _, _, status, _ in rows)
    row["timeout"] = sum(status == "timeout" for _, _, status, _ in rows)
    row["undecided"] = sum(status == "undecided" for _, _, status, _ in rows)
    row["completion"] = sum(tokens for _, _, _, tokens in rows) / len(rows)
    return {f"eval/{name}/{key}": value for key, value in row.items()}
