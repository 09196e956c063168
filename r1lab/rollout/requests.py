"""Requests to an engine: prompt ids, seed and sampling parameters of one completion. Not which are made (group rules,
evaluation)."""

from dataclasses import dataclass, replace

import numpy as np

from r1lab.errors import RunError
from r1lab.recipe import AnyStageConfig, SamplingStageConfig
from r1lab.records import Draw, Ids, Request, RequestId, Role, Rollout, Sampling
from r1lab.rollout.renderer import Renderer
from r1lab.seeds import derive
from r1lab_data import Problem


@dataclass(frozen=True)
class RequestMaker:
    """Makes requests of one purpose, and demonstrations, for a group rule's plan (`r1lab.objective.group.Make`)."""

    renderer: Renderer
    purpose: str
    """`train/<stage>`, or `eval/<set>`: it names the requests and seeds them."""
    seed: int
    sampling: Sampling

    def request(
        self, draw: Draw, index: int, forced_ids: Ids = (), forced_role: tuple[Role, ...] = (), greedy: bool = False
    ) -> Request:
        """Completion `index` of a draw, which may begin with forced ids, or be the greedy one."""
        request = self.of_problem(draw.problem, draw.number, index)
        sampling = replace(self.sampling, temperature=0.0) if greedy else self.sampling
        return replace(request, sampling=sampling, forced_ids=forced_ids, forced_role=forced_role)

    def of_problem(self, problem: Problem, number: int, index: int) -> Request:
        """Completion `index` of a problem that was drawn as number `number`, or stands there in its set."""
        name, seed = RequestId(self.purpose, number, index), derive(self.seed, self.purpose, number, index)
        return Request(name, problem.id, self.renderer.render(problem), seed, self.sampling)

    def demonstration(self, draw: Draw, index: int) -> Rollout:
        """The problem's solution as a rollout of role DEMO. RunError where the problem has none."""
        if draw.problem.solution is None:
            raise RunError(f"problem {draw.problem.id!r} has no solution to learn from")
        ids, roles = self.renderer.render_demonstration(draw.problem)
        role, version = np.array(roles, np.int8), np.full(len(ids), -1, np.int32)
        unknown = np.full(len(ids), np.nan, np.float32)
        return Rollout(self.request(draw, index), ids, role, unknown, version, "eos", draw.problem.solution)


def evaluation_sampling(stage: AnyStageConfig) -> Sampling:
    """How a stage samples its held-out problems."""
    knobs, longest = stage.eval, stage.eval.max_new_tokens or stage.max_new_tokens
    own = stage.sampling
    return Sampling(knobs.temperature, knobs.top_p, max_new_tokens=longest, stop=own.stop, stop_after=own.stop_after)


def training_sampling(stage: SamplingStageConfig) -> Sampling:
    """How an RL stage samples its rollouts."""
    own = stage.sampling
    return Sampling(stage.temperature, own.top_p, own.top_k, own.min_p, stage.max_new_tokens, own.stop, own.stop_after)
