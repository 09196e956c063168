"""The feed of a stage that learns from labelled completions: pairs, or completions or steps with labels, as groups of
rollouts. Not what is learned from them (`r1lab.objective.labelled`)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from r1lab.errors import RecipeError
from r1lab.objective.labelled import Labels
from r1lab.records import Draw, Group, Role, Rollout, Scored, Settled
from r1lab.rollout.renderer import Renderer
from r1lab.rollout.requests import RequestMaker
from r1lab.rollout.sft import SftFeed
from r1lab_data import DataError, Problem, labelled


class LabelledFeed(SftFeed):
    """Groups of the completions that the data holds, as a `FeedProtocol`."""

    def block(self, prompts: int) -> list[Settled]:
        rule = self.objective.rule
        assert isinstance(rule, Labels)  # of every stage whose data is labelled
        groups = [group_of(draw, self.maker, rule.role_of_tokens) for draw in self.sampler.draw(0, prompts, 1)]
        return [Settled(group, group, "kept") for group in groups]


def group_of(draw: Draw, maker: RequestMaker, role_of_tokens: Role = Role.CONTEXT) -> Group:
    """The completions of a draw's problem; the role PAIR stands where a step ends, `role_of_tokens` elsewhere, and a
    completion is paid 1 where all of it is labelled 1."""
    given, members = labelled.of(draw.problem), []
    for index, (steps, marks) in enumerate(zip(given.completions, given.labels, strict=True)):
        ids, ends = step_ids(maker.renderer, draw.problem, steps)
        role, version = np.full(len(ids), role_of_tokens, np.int8), np.full(len(ids), -1, np.int32)
        role[ends] = Role.PAIR
        unknown = np.full(len(ids), np.nan, np.float32)
        rollout = Rollout(maker.request(draw, index), ids, role, unknown, version, "eos", "".join(steps))
        members.append(Scored(rollout, None, float(min(marks)), {}))
    return Group(draw, tuple(members))


def step_ids(renderer: Renderer, problem: Problem, steps: Sequence[str]) -> tuple[tuple[int, ...], list[int]]:
    """The completion's ids, its end among them, and the place of each step's last token, of the last step the end's. A
    step is encoded by itself, so that no token lies in two."""
    first = renderer.render_solution(replace(problem, solution=steps[0]))
    ids, ends = list(first[:-1]), [len(first) - 2]
    for step in steps[1:]:
        ids += renderer.encode(step, bos=False)
        ends.append(len(ids) - 1)
    return (*ids, first[-1]), [*ends[:-1], len(ids)]


def kind_of(problems: Iterable[tuple[str, Sequence[Problem]]]) -> labelled.Kind | None:
    """The one kind of all sources, given with their names; None where there are no problems yet. RecipeError where one
    has no labels, or where two differ."""
    found: dict[labelled.Kind, str] = {}
    for name, of_source in problems:
        try:
            kinds: set[labelled.Kind] = {labelled.of(problem).kind for problem in of_source}
        except DataError as error:
            raise RecipeError(f"{name}: {error}") from None
        found |= {kind: found.get(kind, name) for kind in kinds}
    if len(found) > 1:
        told = ", ".join(f"{kind} in {name}" for kind, name in found.items())
        raise RecipeError(f"data: several kinds of labels in one stage ({told}); give each kind a stage of its own")
    return next(iter(found), None)


def check(problems: Iterable[Problem], renderer: Renderer) -> int:
    """Tokens of the longest problem's completions. RecipeError for one beyond the context."""
    longest = 0
    for problem in problems:
        lengths = _lengths(problem, renderer)
        if reason := misfit(problem, renderer, lengths):
            raise RecipeError(reason)
        longest = max(longest, sum(lengths))
    return longest


def misfit(problem: Problem, renderer: Renderer, lengths: Sequence[int] = ()) -> str | None:
    """Why the longest of the problem's completions, of `lengths` where these are known, does not fit the context behind
    its prompt, or None."""
    total = len(renderer.render(problem)) + max(lengths or _lengths(problem, renderer))
    if renderer.context is None or total <= renderer.context:
        return None
    return (
        f"data: problem {problem.id!r} has {total} tokens with its longest completion, the context {renderer.context}; "
        "leave such problems out with data.on_long_prompt: drop"
    )


def _lengths(problem: Problem, renderer: Renderer) -> list[int]:
    """Tokens of each completion."""
    return [len(step_ids(renderer, problem, steps)[0]) for steps in labelled.of(problem).completions]
