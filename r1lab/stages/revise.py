"""Critique and revision (Constitutional AI, arXiv 2212.08073): the group rule by which a model criticises and revises
what it wrote, in two further calls. Not what is kept of them (`r1lab.stages.selection`).

Of a group of K completions, members K to 2K-1 are the critiques and 2K to 3K-1 the revisions, each of the completion
K or 2K places before. All are in the journal like any completion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from r1lab.objective.group import Again, All, Drop, Keep
from r1lab.records import Group, Ids, Request, Scored, Settled
from r1lab.rollout.judges import filled
from r1lab.rollout.renderer import Renderer, marks_of
from r1lab.seeds import derive
from r1lab_data import Problem
from r1lab_data.overlap import prompt_text


@dataclass(frozen=True)
class Questions:
    """What asks for a critique and a revision: texts with places, and the principles of which each completion draws
    one."""

    critique: str
    revision: str
    principles: Sequence[str] = ()


@dataclass(frozen=True)
class Revise(All):
    """Keeps each group once its completions have been criticised and revised. What leaves the context no room for that
    stays unrevised."""

    questions: Questions
    renderer: Renderer
    seed: int

    def settle(self, group: Group) -> Keep | Drop | Again:
        size, members = group.draw.group_size, {member.rollout.request.id.index: member for member in group.members}
        following = [
            each for each in (self._next(group.draw.problem, size, members, index) for index in members) if each
        ]
        return Again(following) if following else Keep(group)

    def _next(self, problem: Problem, size: int, members: Mapping[int, Scored], index: int) -> Request | None:
        """The call that follows on a completion or a critique; None where it was made, or there is none to make."""
        if index >= 2 * size or index + size in members:
            return None
        completion = members.get(index % size)
        if completion is None:
            return None
        first = completion.rollout.request
        parts = {
            "prompt": prompt_text(problem),
            "completion": completion.rollout.text,
            "principle": drawn(self.questions.principles, self.seed, first.id.draw * size + index % size),
        }
        text = self.questions.critique
        if index >= size:
            text, parts["critique"] = self.questions.revision, members[index].rollout.text
        prompt_ids = self._ids(filled(text, marks_of(self.renderer.tokenizer), **parts))
        if self.renderer.context and len(prompt_ids) + first.sampling.max_new_tokens > self.renderer.context:
            return None
        seed = derive(self.seed, first.id.purpose, first.id.draw, index + size)
        return replace(first, id=first.id._replace(index=index + size), prompt_ids=prompt_ids, seed=seed)

    def _ids(self, text: str) -> Ids:
        """The call as the user's turn of a chat, else as it stands: a base model goes on with a text."""
        if self.renderer.template == "chat":
            return self.renderer.render(Problem("call", text, ""))
        return self.renderer.encode(text)


def drawn(principles: Sequence[str], seed: int, place: int) -> str:
    """The principle of a place, or nothing where there are none."""
    return principles[derive(seed, "principle", place) % len(principles)] if principles else ""


def revised(settled: Settled) -> list[tuple[Scored, Scored | None]]:
    """A group's completions, each with its revision."""
    size = settled.drawn.draw.group_size
    members = {member.rollout.request.id.index: member for member in settled.drawn.members}
    return [(members[index], members.get(index + 2 * size)) for index in sorted(members) if index < size]


def revisions(settled: Settled) -> list[Scored]:
    return [revision for _, revision in revised(settled) if revision is not None]
