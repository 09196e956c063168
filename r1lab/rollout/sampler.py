"""Which problems a step draws: sources by their weights, uniform over each but for what a curriculum passes over or
prefers; a pure function of the draw's place and of what was observed.

Not how completions are sampled from the policy (`r1lab.feed`).
"""

from collections.abc import Mapping, Sequence
from itertools import islice

from r1lab.records import Draw, Settled
from r1lab.rollout.curriculum import Uniform, Walk
from r1lab_data import Problem
from r1lab_data.mixture import Mixture


class Sampler:
    """Problem number 0, 1, 2, ... of the run; each source is walked in a new order every epoch."""

    def __init__(
        self,
        sources: Mapping[str, Sequence[Problem]],
        weights: Sequence[float],
        seed: int,
        curriculum: Uniform | None = None,
    ):
        self.sources, self.seed = list(sources.values()), seed
        self.mixture = Mixture([len(problems) for problems in self.sources], list(weights), seed)
        self.curriculum = curriculum or Uniform()
        self.next = 0

    def draw(self, offset: int, num_draws: int, group_size: int) -> list[Draw]:
        """So many problems from `offset` after the last observed one; changes nothing."""
        order = self.curriculum.order(Walk(self._problem_at, self.next, self.seed, self.sources))
        return [Draw(number, problem, group_size) for number, problem in islice(order, offset, offset + num_draws)]

    def _problem_at(self, number: int) -> Problem:
        source, row = self.mixture.pick(number)
        return self.sources[source][row]

    def observe(self, block: Sequence[Settled]) -> None:
        """Outcomes of a step, freshly made or read back."""
        self.next = max([self.next, *(settled.drawn.draw.number + 1 for settled in block)])
        self.curriculum.observe(block)

    def state_dict(self) -> dict:
        return {"next": self.next, "curriculum": self.curriculum.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.next = state["next"]
        self.curriculum.load_state_dict(state["curriculum"])
