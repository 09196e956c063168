"""Held-out problems through `generate`: avg@n and pass@k with intervals (DESIGN: evaluation keys).

Never touches training randomness: its seeds are of the purpose `eval/<set>`, the same at every step and in every arm,
so two evaluations are paired by problem and by random stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from r1lab.distributed import partition, ranks
from r1lab.engines.protocol import Engine
from r1lab.recipe import Evaluation
from r1lab.records import Request, RequestId, Rollout, Sampling
from r1lab.rollout.generate import generate
from r1lab.rollout.renderer import Renderer
from r1lab.rollout.verification import Judge
from r1lab.seeds import derive
from r1lab.stats import intervals
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict


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


def requests_of(
    on: EvaluationSet, renderer: Renderer, sampling: Sampling, n: int, seed: int, rows: range | None = None
) -> list[Request]:
    """n requests a problem, in the set's order; only of the problems at `rows` where given."""
    purpose = f"eval/{on.name}"
    rows = range(len(on.problems)) if rows is None else rows
    return [
        Request(
            RequestId(purpose, row, index),
            problem.id,
            renderer.render(problem),
            derive(seed, purpose, row, index),
            sampling,
        )
        for row, problem in ((row, on.problems[row]) for row in rows)
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

    return ranks.shared_out(requests, partition.by_draw, judged)


def depths(n: int) -> list[int]:
    """The k of pass@k that n completions a problem can say: powers of two, and n.

    >>> depths(6)
    [2, 4, 6]
    """
    return [2**power for power in range(1, n.bit_length()) if 2**power < n] + [n]


def share_right(right_NK: Sequence[Sequence[float]], seed: int) -> tuple[float, float | None, float | None]:
    """avg@n over problems with its interval (value, low, high).

    One completion a problem has Wilson's interval, several the bootstrap over problems; where all problems agree on all
    or nothing the bootstrap would have no width, and Wilson's over problems stands in; one problem has none.
    """
    means = [sum(map(float, right_K)) / len(right_K) for right_K in right_NK]
    if len(means) == 1 and len(right_NK[0]) > 1:
        return means[0], None, None
    if all(len(right_K) == 1 and right_K[0] in (0, 1) for right_K in right_NK) or set(means) in ({0.0}, {1.0}):
        return intervals.wilson(round(sum(means)), len(means))[:3]
    return intervals.clustered_bootstrap(right_NK, seed=seed)[:3]


def summary(name: str, rows: Sequence[tuple[str, float | None, str, int]], seed: int) -> dict:
    """Metrics of (problem id, score, status, tokens) rows under `eval/<name>/`.

    A completion is right where its score is 1; `error` and `undecided` stay in n as not right.
    """
    right: dict[str, list[bool]] = {}
    for problem, score, _, _ in rows:
        right.setdefault(problem, []).append(score == 1.0)
    n = len(next(iter(right.values())))
    value, low, high = share_right(list(right.values()), derive(seed, f"bootstrap/{name}"))
    row = {"avg": value, "low": low, "high": high, "n": n, "problems": len(right)}
    if n > 1:
        row |= {f"pass@{k}": intervals.mean_pass_at_k(list(right.values()), k) for k in depths(n)}
    row["score"] = sum(score or 0.0 for _, score, _, _ in rows) / len(rows)
    row["errors"] = sum(status == "error" for _, _, status, _ in rows)
    row["timeout"] = sum(status == "timeout" for _, _, status, _ in rows)
    row["undecided"] = sum(status == "undecided" for _, _, status, _ in rows)
    row["completion"] = sum(tokens for _, _, _, tokens in rows) / len(rows)
    return {f"eval/{name}/{key}": value for key, value in row.items()}
