"""Evaluation during training: completions of held-out problems with their verdicts. Not the scores
(`r1lab.evaluation.scores`), nor the command `r1lab eval` (`r1lab.evaluation.runner`).

Never touches training randomness: its seeds are of the purpose `eval/<set>`, the same at every step and in every arm,
so two evaluations are paired by problem and by random stream.
"""

from concurrent.futures import Future

from r1lab.distributed import partition, ranks
from r1lab.engines.protocol import Engine
from r1lab.recipe import EvalConfig
from r1lab.records import EvaluationSet, Request, Rollout, Sampling
from r1lab.rollout.generate import generate
from r1lab.rollout.renderer import Renderer
from r1lab.rollout.requests import RequestMaker
from r1lab.rollout.verification import Verification
from r1lab_verifiers.verdict import Verdict


def evaluation_sampling(knobs: EvalConfig, max_new_tokens: int, stop: tuple[str, ...]) -> Sampling:
    longest = knobs.max_new_tokens or max_new_tokens
    return Sampling(knobs.temperature, knobs.top_p, max_new_tokens=longest, stop=stop)


def requests_of(
    eval_set: EvaluationSet, renderer: Renderer, sampling: Sampling, n: int, seed: int, rows: range | None = None
) -> list[Request]:
    """n requests a problem, in the set's order; only of the problems at `rows` where given."""
    maker = RequestMaker(renderer, f"eval/{eval_set.name}", seed, sampling)
    rows = range(len(eval_set.problems)) if rows is None else rows
    return [maker.of_problem(eval_set.problems[row], row, index) for row in rows for index in range(n)]


def evaluate(
    eval_set: EvaluationSet, requests: list[Request], engine: Engine, verification: Verification
) -> list[tuple[Rollout, Verdict]]:
    """Every completion with its verdict, in the set's order."""
    problems = {problem.id: problem for problem in eval_set.problems}

    def verify(rollout: Rollout) -> Future[Verdict]:
        return verification.submit(rollout, problems[rollout.request.problem_id])

    def judged(own_requests: list[Request]) -> list[tuple[Rollout, Verdict]]:
        return list(generate(engine, verify, own_requests))

    return ranks.shared_out(requests, partition.by_draw, judged)
