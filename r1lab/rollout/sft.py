"""The feed of an SFT stage: the data's solutions as groups of one rollout. Not how they are trained on
(`r1lab.loop`)."""

import math
from collections.abc import Mapping, Sequence

from r1lab.errors import RecipeError
from r1lab.objective import Objective
from r1lab.objective.group import Keep
from r1lab.recipe import DataStageConfig, LearningStageConfig
from r1lab.records import Group, Rollout, Sampling, Settled
from r1lab.rollout.renderer import Renderer
from r1lab.rollout.requests import RequestMaker
from r1lab.rollout.reward import Reward
from r1lab.rollout.sampler import Sampler
from r1lab.timing import Watch
from r1lab_data import Problem


class SftFeed:
    """Groups of one demonstration each, as a `FeedProtocol`."""

    def __init__(
        self, *, stage: DataStageConfig, seed: int, sampler: Sampler, renderer: Renderer, objective: Objective
    ):
        self.sampler, self.objective, self.watch = sampler, objective, Watch()
        self.reward = Reward({"score": 1.0}, max_new_tokens=stage.max_new_tokens)
        self.maker = RequestMaker(renderer, f"train/{stage.name}", seed, Sampling(max_new_tokens=stage.max_new_tokens))

    def block(self, prompts: int) -> list[Settled]:
        settled = []
        for draw in self.sampler.draw(0, prompts, 1):
            plan = self.objective.rule.plan(draw, self.maker)
            group = Group(draw, tuple(self.reward.demonstration(item) for item in plan if isinstance(item, Rollout)))
            decision = self.objective.rule.settle(group)
            assert isinstance(decision, Keep)  # a stage of demonstrations has a rule that samples nothing
            settled.append(Settled(group, decision.group, "kept"))
        return settled

    def judging(self, block: Sequence[Settled]) -> tuple[int, int]:
        """The data says all: nothing is scored."""
        return 0, 0

    def observe(self, block: Sequence[Settled]) -> None:
        self.sampler.observe(block)

    def state_dict(self) -> dict:
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.sampler.load_state_dict(state)


def steps_of(stage: LearningStageConfig, problems: int) -> int:
    """`steps`, or as many as `epochs` passes over the problems take; one pass where neither is said."""
    return stage.steps or max(1, math.ceil((stage.epochs or 1.0) * problems / stage.prompts_per_step))


def check(sources: Mapping[str, Sequence[Problem]], renderer: Renderer) -> int:
    """Tokens of the longest demonstration. RecipeError names a problem without one, or one beyond the context."""
    longest = 0
    for problem in (problem for problems in sources.values() for problem in problems):
        if reason := misfit(problem, renderer):
            raise RecipeError(reason)
        longest = max(longest, len(renderer.render_demonstration(problem)[0]))
    return longest


def misfit(problem: Problem, renderer: Renderer) -> str | None:
    """Why the problem's demonstration does not fit the context behind its prompt, or None. RecipeError where there is
    none."""
    if problem.solution is None:
        raise RecipeError(f"data: problem {problem.id!r} has no solution to learn from; map columns.solution")
    total = len(renderer.render(problem)) + len(renderer.render_demonstration(problem)[0])
    if renderer.context is None or total <= renderer.context:
        return None
    return (
        f"data: problem {problem.id!r} has {total} tokens with its solution, the context {renderer.context}; leave "
        "such problems out with data.on_long_prompt: drop"
    )
