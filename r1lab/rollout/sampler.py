"""Which problems a step draws: uniform over each source, sources by their weights; a pure function of the draw's
number.

Not how completions are sampled from the policy (`r1lab.feed`).
"""

from collections.abc import Mapping, Sequence

from r1lab.records import Draw, Settled
from r1lab_data import Problem
from r1lab_data.mixture import Mixture


class Sampler:
    """Problem number 0, 1, 2, ... of the run; each source is walked in a new order every epoch."""

    def __init__(self, sources: Mapping[str, Sequence[Problem]], weights: Sequence[float], seed: int):
        self.sources = list(sources.values())
        self.mixture = Mixture([len(problems) for problems in self.sources], list(weights), seed)
        self.next = 0

    def draw(self, offset: int, count: int, group_size: int) -> list[Draw]:
        """`count` problems from `offset` after the last observed one; changes nothing."""
        drawn = []
        for number in range(self.next + offset, self.next + offset + count):
            source, row = self.mixture.pick(number)
            drawn.append(Draw(number, self.sources[source][row], group_size))
        return drawn

    def observe(self, block: Sequence[Settled]) -> None:
        """Outcomes of a step, freshly made or read back."""
        self.next = max([self.next, *(settled.drawn.draw.number + 1 for settled in block)])

    def state_dict(self) -> dict:
        return {"next": self.next}

    def load_state_dict(self, state: dict) -> None:
        self.next = state["next"]
