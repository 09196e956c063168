"""Mixing sources by weight: draw number -> (source, row). Not a sampler: it sees no outcome and no problem.

Sources take turns by Tijdeman's rule for the chairman assignment problem (R. Tijdeman, Discrete Mathematics 32, 1980):
after any n draws source i had n * weight_i of them to within 1, where independent draws would stray by sqrt(n).
Each source is walked in a fresh seeded order per epoch, so that no row comes twice before all came once.
"""

import math
from array import array
from fractions import Fraction

from r1lab_data.problem import DataError
from r1lab_data.seeds import generator


class Mixture:
    """A pure function of (sizes, weights, seed, draw number); what it remembers is a cache, never state to save."""

    def __init__(self, sizes: list[int], weights: list[float], seed: int):
        """sizes: rows of each source. weights: positive, of any sum; 0.1 means one tenth exactly."""
        if not sizes or len(sizes) != len(weights):
            raise DataError(f"mixture: {len(sizes)} sources and {len(weights)} weights; give one weight a source")
        for source, (size, weight) in enumerate(zip(sizes, weights)):
            if size < 1:
                raise DataError(f"mixture: source {source} has {size} rows; a source needs at least one, or goes out")
            if not (math.isfinite(weight) and weight > 0):
                raise DataError(f"mixture: source {source} has weight {weight}; give a number above 0, or leave it out")
        self.sizes = list(sizes)
        self.seed = seed
        exact = [Fraction(str(weight)) for weight in weights]
        whole = math.lcm(*(weight.denominator for weight in exact))
        self.shares = [int(weight * whole) for weight in exact]
        self.counts = [0] * len(sizes)
        self.sources = array("L")
        self.ranks = array("Q")
        self.orders: dict[int, tuple[int, list[int]]] = {}

    def pick(self, number: int) -> tuple[int, int]:
        """(source, row) of a draw, numbers counting from 0; any order of calls gives the same."""
        if number < 0:
            raise ValueError(f"draw number {number}; draws count from 0")
        while len(self.sources) <= number:
            self._turn()
        source, rank = self.sources[number], self.ranks[number]
        epoch, place = divmod(rank, self.sizes[source])
        return source, self._order(source, epoch)[place]

    def _turn(self) -> None:
        """Appends the next draw's source and how often it had come before."""
        source = next_source(self.shares, self.counts, len(self.sources) + 1)
        self.sources.append(source)
        self.ranks.append(self.counts[source])
        self.counts[source] += 1

    def _order(self, source: int, epoch: int) -> list[int]:
        """The rows of a source in the order of an epoch; the last one asked for is kept."""
        if self.orders.get(source, (None,))[0] != epoch:
            order = list(range(self.sizes[source]))
            generator(self.seed, "mixture", source, epoch).shuffle(order)
            self.orders[source] = epoch, order
        return self.orders[source][1]


def next_source(shares: list[int], counts: list[int], number: int) -> int:
    """Whose turn draw `number` (from 1) is: among those far enough behind, the one that must come soonest.

    In whole numbers: share/total is a source's weight and slack = 2 * sources - 2. A source may come if number * weight
    - count >= 1 / slack, and must have come by the draw where that difference would pass 1 - 1 / slack.
    """
    total, slack = sum(shares), 2 * len(shares) - 2
    if slack == 0:
        return 0
    behind = [share * number - count * total for share, count in zip(shares, counts)]
    may = [source for source, lag in enumerate(behind) if lag * slack >= total]
    return min(may, key=lambda source: ((slack - 1) * total - slack * behind[source]) // (slack * shares[source]))
