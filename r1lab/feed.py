"""How a step's groups come about: draw, plan, generate, verify, reward, settle, refill. Not what is learned from them.

Groups settle in waves, in draw order, never in finishing order, so a step is a function of the weights and the seed.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np

from r1lab.distributed import partition, ranks
from r1lab.engines.protocol import Engine
from r1lab.engines.sync import publish
from r1lab.errors import RunError
from r1lab.objective import Objective
from r1lab.objective.group import Again, Drop, Keep
from r1lab.recipe import Stage
from r1lab.records import Draw, Group, Request, RequestId, Role, Rollout, Sampling, Scored, Settled
from r1lab.rollout.generate import generate
from r1lab.rollout.renderer import Renderer
from r1lab.rollout.reward import Reward
from r1lab.rollout.sampler import Sampler
from r1lab.rollout.second_opinion import SecondOpinion
from r1lab.rollout.verification import Judge
from r1lab.seeds import derive
from r1lab.timing import Watch
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

WINDOW, JUDGED_FROM = 1000, 200
"""Rollouts over which errors are counted, and from how many on."""


@dataclass(frozen=True)
class Maker:
    """What a group rule's plan is made of (`objective.group.Make`)."""

    renderer: Renderer
    purpose: str
    seed: int
    sampling: Sampling

    def request(
        self,
        draw: Draw,
        index: int,
        forced_ids: tuple[int, ...] = (),
        forced_role: tuple[Role, ...] = (),
        greedy: bool = False,
    ) -> Request:
        return Request(
            id=RequestId(self.purpose, draw.number, index),
            problem_id=draw.problem.id,
            prompt_ids=self.renderer.render(draw.problem),
            seed=derive(self.seed, self.purpose, draw.number, index),
            sampling=replace(self.sampling, temperature=0.0) if greedy else self.sampling,
            forced_ids=forced_ids,
            forced_role=forced_role,
        )

    def demonstration(self, draw: Draw, index: int) -> Rollout:
        """The problem's solution as a rollout of role DEMO. RunError where the problem has none."""
        if draw.problem.solution is None:
            raise RunError(f"problem {draw.problem.id!r} has no solution to learn from")
        ids = self.renderer.render_solution(draw.problem)
        return Rollout(
            self.request(draw, index),
            ids,
            np.full(len(ids), Role.DEMO, np.int8),
            np.full(len(ids), np.nan, np.float32),
            np.full(len(ids), -1, np.int32),
            "eos",
            draw.problem.solution,
        )


def sampling_of(stage: Stage) -> Sampling:
    """How an RL stage samples its rollouts."""
    own = stage.sampling
    return Sampling(stage.temperature, own.top_p, own.top_k, own.min_p, stage.max_new_tokens, own.stop)


class ErrorWindow:
    """The share of `error` among the last rollouts; past the limit what we measure is no reward any more."""

    def __init__(self, limit: float):
        self.limit, self.recent, self.reason = limit, deque(maxlen=WINDOW), "a part of the reward"

    def observe(self, block: Sequence[Settled]) -> None:
        """RunError once too many of the last rollouts could not be judged."""
        failed = [member.failed for each in block for member in each.drawn.members if member.verdict is not None]
        self.recent.extend(int(verdict is not None) for verdict in failed)
        self.reason = next((verdict.reason for verdict in reversed(failed) if verdict is not None), self.reason)
        if len(self.recent) >= JUDGED_FROM and sum(self.recent) > self.limit * len(self.recent):
            raise RunError(
                f"{sum(self.recent)} of the last {len(self.recent)} rollouts could not be judged (max_error_rate "
                f"{self.limit}); the verifier itself fails: {self.reason}; mend it and start anew with another out="
            )

    def state_dict(self) -> dict:
        return {"recent": list(self.recent), "reason": self.reason}

    def load_state_dict(self, state: dict) -> None:
        self.recent, self.reason = deque(state["recent"], maxlen=WINDOW), state["reason"]


class Feed:
    """Groups from rollouts."""

    def __init__(
        self,
        *,
        stage: Stage,
        seed: int,
        sampler: Sampler,
        problems: Mapping[str, Problem],
        renderer: Renderer,
        engine: Engine,
        judge: Judge,
        reward: Reward,
        second: SecondOpinion,
        objective: Objective,
    ):
        self.stage, self.sampler, self.problems = stage, sampler, problems
        self.engine, self.judge, self.objective = engine, judge, objective
        self.reward, self.second = reward, second
        self.maker = Maker(renderer, f"train/{stage.name}", seed, sampling_of(stage))
        self.errors, self.watch = ErrorWindow(stage.max_error_rate), Watch()

    def block(self, prompts: int) -> list[Settled]:
        """A step's groups in draw order: waves of as many problems as are still missing, until `prompts` are kept or
        `max_draws` x `prompts` were drawn."""
        settled: list[Settled] = []
        self.engine.wake()
        limit = self.objective.max_draws * prompts
        while len(settled) < limit:
            missing = prompts - sum(each.kept is not None for each in settled)
            if not missing:
                break
            count = min(missing, limit - len(settled))
            settled += self._wave(self.sampler.draw(len(settled), count, self.stage.group_size))
        self.engine.sleep()
        return settled

    def observe(self, block: Sequence[Settled]) -> None:
        """Outcomes of a step, freshly made or read back."""
        self.sampler.observe(block)
        self.errors.observe(block)

    def publish(self, policy, version: int) -> None:
        """Weights to the engine."""
        publish(self.engine, policy.named_tensors, version, policy)

    def state_dict(self) -> dict:
        return {"sampler": self.sampler.state_dict(), "errors": self.errors.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.sampler.load_state_dict(state["sampler"])
        self.errors.load_state_dict(state["errors"])

    def _wave(self, draws: list[Draw]) -> list[Settled]:
        groups = {draw.number: Group(draw, ()) for draw in draws}
        done: dict[int, Settled] = {}
        plans = [(draw, self.objective.rule.plan(draw, self.maker)) for draw in draws]
        while plans:
            again = []
            for (draw, _), members in zip(plans, self._members(plans), strict=True):
                group = groups[draw.number] = Group(draw, groups[draw.number].members + members)
                decision = self._settle(group)
                if isinstance(decision, Again):
                    again.append((draw, decision.requests))
                elif isinstance(decision, Drop):
                    done[draw.number] = Settled(group, None, decision.reason)
                else:
                    done[draw.number] = Settled(group, decision.group, "kept")
            plans = again
        return [done[draw.number] for draw in draws]

    def _members(self, plans: list[tuple[Draw, list[Request | Rollout]]]) -> list[tuple[Scored, ...]]:
        """Each plan's requests sampled and judged, its rollouts as they are."""
        requests = [item for _, plan in plans for item in plan if isinstance(item, Request)]
        scored = iter(ranks.shared_out(requests, partition.by_draw, self._judged))
        return [
            tuple(next(scored) if isinstance(item, Request) else self.reward.demonstration(item) for item in plan)
            for _, plan in plans
        ]

    def _judged(self, requests: list[Request]) -> list[Scored]:
        """Each request sampled and judged."""
        waiting = []
        for rollout, verdict in generate(self.engine, self._verify, requests, self.watch):
            problem = self.problems[rollout.request.problem_id]
            parts = self.reward.submit(self.judge, rollout, problem)
            waiting.append((rollout, verdict, parts, self.second.submit(self.judge, rollout, problem)))
        return [self._scored(*each) for each in waiting]

    def _scored(self, rollout: Rollout, verdict: Verdict, parts: dict[str, Future], second: Future | None) -> Scored:
        paid = self.reward.scored(rollout, verdict, {name: future.result() for name, future in parts.items()})
        return self.second.beside(paid, second)

    def _verify(self, rollout: Rollout):
        return self.judge(rollout, self.problems[rollout.request.problem_id])

    def _settle(self, group: Group) -> Keep | Drop | Again:
        """The rule's decision on the members that have a reward; a group that lost too many never reaches it."""
        able = tuple(member for member in group.members if member.reward is not None)
        sampled = sum(member.verdict is not None for member in able)
        needed = 2 if self.objective.advantage.relative else 1
        if len(able) < len(group.members) and sampled < needed:
            return Drop("error" if any(member.failed for member in group.members) else "undecided")
        decision = self.objective.rule.settle(Group(group.draw, able))
        known = {member.rollout.request.id for member in group.members}
        if isinstance(decision, Again) and any(request.id in known for request in decision.requests):
            return Drop("error")  # what it asks for once more was sampled, and none of it could be judged
        return decision
