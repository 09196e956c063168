"""How a step's groups come about: draw, plan, generate, verify, reward, settle, refill. Not what is learned from them.

A wave is one call of the engine for all groups that are still open; further waves follow for groups that asked for more
or that replace dropped ones. Groups settle in draw order, never in finishing order, so a step is a function of the
weights and the seed.
"""

import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from r1lab.distributed import exchange, ranks
from r1lab.engines.protocol import Engine
from r1lab.errors import RunError
from r1lab.objective import Objective
from r1lab.objective.group import Again, Drop, Keep, Planned
from r1lab.recipe import RlStageConfig, SamplingStageConfig
from r1lab.records import Draw, Group, Request, Rollout, Scored, Settled
from r1lab.rollout.episode import Episodes
from r1lab.rollout.generate import generate
from r1lab.rollout.protocol import VerificationProtocol
from r1lab.rollout.renderer import Renderer
from r1lab.rollout.requests import RequestMaker, training_sampling
from r1lab.rollout.reward import Reward
from r1lab.rollout.sampler import Sampler
from r1lab.rollout.scorers import Scorers
from r1lab.rollout.steps import with_steps
from r1lab.timing import Watch
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

WINDOW_ROLLOUTS, JUDGED_FROM_ROLLOUTS = 1000, 200
"""Rollouts over which errors are counted, and from how many on."""


class ErrorWindow:
    """The share of verdicts `error` among the last rollouts, past whose limit the run ends. Abstentions end none
    (`r1lab.health.rules.errors`)."""

    def __init__(self, limit: float):
        self.limit, self.recent, self.reason = limit, deque(maxlen=WINDOW_ROLLOUTS), "a part of the reward"

    def observe(self, block: Sequence[Settled]) -> None:
        """RunError once too many of the last rollouts could not be judged."""
        failed = [member.failed for settled in block for member in settled.drawn.members if member.is_sampled]
        self.recent.extend(int(verdict is not None) for verdict in failed)
        self.reason = next((verdict.reason for verdict in reversed(failed) if verdict is not None), self.reason)
        if len(self.recent) >= JUDGED_FROM_ROLLOUTS and sum(self.recent) > self.limit * len(self.recent):
            raise RunError(
                f"{sum(self.recent)} of the last {len(self.recent)} rollouts could not be judged (max_error_rate "
                f"{self.limit}); the verifier itself fails: {self.reason}; mend it and start anew with another out="
            )

    def state_dict(self) -> dict:
        return {"recent": list(self.recent), "reason": self.reason}

    def load_state_dict(self, state: dict) -> None:
        self.recent, self.reason = deque(state["recent"], maxlen=WINDOW_ROLLOUTS), state["reason"]


@dataclass(eq=False, kw_only=True)
class Feed:
    """Samples and verifies the groups of each step of an RL or `reject` stage."""

    stage: SamplingStageConfig
    seed: int
    sampler: Sampler
    problems: Mapping[str, Problem]
    renderer: Renderer
    engine: Engine
    verification: VerificationProtocol
    rewards: Mapping[str, Reward]
    """Of each source of problems."""
    objective: Objective
    scorers: Scorers | None = None
    """Of the learned parts of the rewards."""
    episodes: Episodes | None = None
    """Plays what has an environment."""

    def __post_init__(self) -> None:
        sampling = training_sampling(self.stage)
        self.maker = RequestMaker(self.renderer, f"train/{self.stage.name}", self.seed, sampling)
        self.errors, self.watch = ErrorWindow(self.stage.max_error_rate), Watch()
        self.has_warned = False

    @property
    def is_lean(self) -> bool:
        """Whether nothing but an update reads ids and texts, so that ranks need not have those of others. What a user
        plugs in may read anything."""
        rule, curriculum = self.objective.rule, self.sampler.curriculum
        is_ours = all(type(each).__module__.startswith("r1lab.") for each in (rule, curriculum))
        return isinstance(self.stage, RlStageConfig) and is_ours and not (rule.stores or self.objective.waits)

    def block(self, prompts: int) -> list[Settled]:
        """A step's groups in draw order: waves of as many problems as are still missing, until `prompts` are kept or
        `max_draws` x `prompts` were drawn."""
        settled: list[Settled] = []
        self.engine.wake()  # vLLM colocated with the trainer gave its memory back while the policy learned
        limit = self.objective.max_draws * prompts
        while len(settled) < limit:
            missing = prompts - sum(each.kept is not None for each in settled)
            if not missing:
                break
            # Draw: nothing kept is thrown away, so a wave draws as many problems as are still missing.
            draws = self.sampler.draw(len(settled), min(missing, limit - len(settled)), self.stage.group_size)
            settled += self._settle_wave(draws)
        self.engine.sleep()
        self._warn_without_steps(settled)
        return settled

    def judging(self, block: Sequence[Settled]) -> tuple[int, int]:
        """Tokens that learned scorers read of a block, and the FLOPs of it."""
        fresh = [each.rollout for settled in block for each in settled.drawn.members if each.is_fresh]
        sampled = [rollout for rollout in fresh if rollout.num_sampled]
        # Other ranks may lack the texts.
        return ranks.first(self.scorers.judging, sampled, self.problems) if self.scorers else (0, 0)

    def observe(self, block: Sequence[Settled]) -> None:
        """Outcomes of a step, freshly made or read back."""
        self.sampler.observe(block)
        self.objective.rule.observe(block)
        self.errors.observe(block)

    def state_dict(self) -> dict:
        return {"sampler": self.sampler.state_dict(), "errors": self.errors.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.sampler.load_state_dict(state["sampler"])
        self.errors.load_state_dict(state["errors"])

    def _settle_wave(self, draws: list[Draw]) -> list[Settled]:
        """The groups of these draws, sampled until the group rule has decided on each; in draw order."""
        groups = {draw.number: Group(draw, ()) for draw in draws}
        settled: dict[int, Settled] = {}
        # Plan: each Draw -> what its group consists of, Requests to sample and Rollouts (demonstrations).
        plans: list[tuple[Draw, Planned]] = [(draw, self.objective.rule.plan(draw, self.maker)) for draw in draws]
        while plans:
            planned_again: list[tuple[Draw, Planned]] = []
            # Generate, verify, reward: the plans of the wave together -> the new members of each group, tuple[Scored].
            for (draw, _), members in zip(plans, self._members(plans), strict=True):
                group = groups[draw.number] = Group(draw, groups[draw.number].members + members)
                # Settle: the group with all its members -> kept, dropped with a reason, or sampled further.
                decision = self._settle(group)
                if isinstance(decision, Again):
                    planned_again.append((draw, decision.requests))
                elif isinstance(decision, Drop):
                    settled[draw.number] = Settled(group, None, decision.reason)
                else:
                    settled[draw.number] = Settled(group, decision.group, "kept")
            plans = planned_again
        return [settled[draw.number] for draw in draws]

    def _members(self, plans: Sequence[tuple[Draw, Planned]]) -> list[tuple[Scored, ...]]:
        """Each plan's requests sampled, verified and rewarded, its rollouts rewarded as they are."""
        requests = [item for _, plan in plans for item in plan if isinstance(item, Request)]
        if self.engine.shared_names:
            self.engine.agree()
        # Every rank samples the requests of its own draws, and gets what decides of all.
        scored = iter(exchange.gathered(requests, self._sample, is_lean=self.is_lean))
        return [tuple(self._member(item, scored) for item in plan) for _, plan in plans]

    def _member(self, item: Request | Rollout | Scored, scored: Iterator[Scored]) -> Scored:
        """A request's completion, the next of those that were scored; a demonstration, rewarded; a replayed one."""
        if isinstance(item, Request):
            return next(scored)
        return item if isinstance(item, Scored) else self._with_steps(self._reward(item).demonstration(item))

    def _sample(self, requests: list[Request]) -> list[Scored]:
        """Each request sampled, verified and rewarded, in the order of the requests."""
        judged = list(generate(self.engine, self._verify, requests, self.watch, self.episodes))
        rollouts = [rollout for rollout, _ in judged]
        said = self.scorers.said(rollouts, self.problems) if self.scorers else [{}] * len(rollouts)
        return [
            self._with_steps(self._reward(each).scored(each, verdicts, learned))
            for (each, verdicts), learned in zip(judged, said)
        ]

    def _warn_without_steps(self, block: Sequence[Settled]) -> None:
        """One line where credit by steps finds none in a whole block: it is the completions' then."""
        credit = self.objective.step_credit
        sampled = [
            each for settled in block for each in settled.drawn.members if each.verdict and each.reward is not None
        ]
        if credit is None or self.has_warned or not sampled or any(each.steps is not None for each in sampled):
            return
        self.has_warned = True
        if ranks.is_first():
            print(
                f"r1lab: warning: objective.credit: steps, and none of a step's {len(sampled)} verdicts of "
                f"{credit.source!r} tells steps apart; each completion is credited as a whole",
                file=sys.stderr,
            )

    def _with_steps(self, member: Scored) -> Scored:
        return with_steps(member, self.objective.step_credit, self.renderer, self.stage.truncated)

    def _reward(self, rollout: Rollout) -> Reward:
        return self.rewards[self.problems[rollout.request.problem_id].source]

    def _verify(self, rollout: Rollout) -> dict[str, Future[Verdict]]:
        return self.verification.submit(rollout, self.problems[rollout.request.problem_id])

    def _settle(self, group: Group) -> Keep | Drop | Again:
        """The rule's decision on the members that have a reward.

        Where errors left fewer than two sampled ones (one where the advantage is not relative to the group), the whole
        group is dropped.
        """
        rewarded = tuple(member for member in group.members if member.reward is not None)
        sampled = sum(member.is_sampled for member in rewarded)
        needed = 2 if self.objective.advantage.relative else 1
        if len(rewarded) < len(group.members) and sampled < needed:
            if any(member.failed for member in group.members):
                return Drop("error")
            statuses = {member.verdict.status for member in group.members if member.verdict}
            return Drop("abstained" if "abstained" in statuses else "undecided")
        decision = self.objective.rule.settle(Group(group.draw, rewarded))
        known = {member.rollout.request.id for member in group.members}
        if isinstance(decision, Again) and any(request.id in known for request in decision.requests):
            return Drop("error")  # what it asks for once more was sampled, and none of it could be judged
        return decision
