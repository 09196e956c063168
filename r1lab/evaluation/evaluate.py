"""Sample completions of held-out problems and verify them: during training, in a stage of its own, on command. Not
the scores (`r1lab.evaluation.scores`), nor where other completions come from (`r1lab.evaluation.completers`).

Never touches training randomness: its seeds are of the purpose `eval/<set>`, the same at every step and in every arm,
so two evaluations are paired by problem and by random stream.
"""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext

from r1lab.distributed import partition, ranks
from r1lab.engines.protocol import Engine
from r1lab.errors import Stopped
from r1lab.records import Asking, Request, Rollout
from r1lab.rollout.episode import Episodes
from r1lab.rollout.generate import generate
from r1lab.rollout.renderer import Renderer
from r1lab.rollout.requests import RequestMaker
from r1lab.rollout.verification import SCORE
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

VerifyRollout = Callable[[Rollout, Problem], Future[Verdict]]


def evaluate(
    asking: Asking,
    rows: range,
    *,
    engine: Engine,
    renderer: Renderer,
    verify: VerifyRollout,
    own_work: Callable[[], AbstractContextManager] = nullcontext,
    episodes: Episodes | None = None,
) -> list[tuple[Rollout, Verdict]]:
    """Every completion of the problems at `rows` with its verdict, in the set's order; the ranks share the work. A
    rank does its share inside an `own_work()`: nothing there waits for the others. Where that is Stopped on one, it is
    on all, once they have met."""
    problems = asking.eval_set.problems
    maker = RequestMaker(renderer, f"eval/{asking.eval_set.name}", asking.seed, asking.sampling)
    requests = [maker.of_problem(problems[row], row, index) for row in rows for index in range(asking.n)]

    def verified(rollout: Rollout) -> dict[str, Future[Verdict]]:
        return {SCORE: verify(rollout, problems[rollout.request.id.draw])}

    def judged(own_requests: list[Request]) -> list[tuple[Rollout, Verdict] | Stopped]:
        try:
            with own_work():
                done = generate(engine, verified, own_requests, episodes=episodes)
                return [(rollout, said[SCORE]) for rollout, said in done]
        except Stopped as stopped:  # handed on as a value: a rank that raised alone would leave the others behind
            return [stopped] * len(own_requests)

    answers: list[tuple[Rollout, Verdict]] = []
    if engine.shared_names:
        engine.agree()
    for answer in ranks.shared_out(requests, partition.by_draw, judged):
        if isinstance(answer, Stopped):
            raise answer
        answers.append(answer)
    return answers
