"""Which problems a step draws: uniform over each source but for those that a curriculum passes over, sources by their
weights; a pure function of the draw's number and of what was observed.

Not how completions are sampled from the policy (`r1lab.feed`).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice

from r1lab.records import Draw, Settled
from r1lab.rollout.curriculum import Uniform
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
        taken = islice(self._taken(), offset, offset + num_draws)
        return [Draw(number, problem, group_size) for number, problem in taken]

    def _taken(self) -> Iterator[tuple[int, Problem]]:
        """The draws to come; where every problem in turn would be passed over, one is taken all the same."""
        passed, most = 0, 2 * sum(map(len, self.sources))  # from anywhere an epoch is whole within two
        for number in count(self.next):
            source, row = self.mixture.pick(number)
            problem = self.sources[source][row]
            if passed < most and self.curriculum.passes_over(problem.id, number, self.seed):
                passed += 1
                continue
            passed = 0
            yield number, problem

    def observe(self, block: Sequence[Settled]) -> None:
        """Outcomes of a step, freshly made or read back."""
        self.next = max([self.next, *(settled.drawn.draw.number + 1 for settled in block)])
        self.curriculum.observe(block)

    def state_dict(self) -> dict:
        return {"next": self.next, "curriculum": self.curriculum.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.next = state["next"]
        self.curriculum.load_state_dict(state["curriculum"])
