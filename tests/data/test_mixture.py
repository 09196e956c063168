from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lab_data.mixture import Mixture
from r1lab_data.problem import DataError

WEIGHTS = st.lists(st.floats(0.01, 100), min_size=1, max_size=6)


@settings(max_examples=40)
@given(WEIGHTS)
def test_after_any_number_of_draws_every_share_is_exact_to_within_one(weights):
    mixture = Mixture([3] * len(weights), weights, seed=0)
    exact = [Fraction(str(weight)) for weight in weights]
    counts = Counter()
    for number in range(300):
        counts[mixture.pick(number)[0]] += 1
        for source, weight in enumerate(exact):
            assert abs(counts[source] - (number + 1) * weight / sum(exact)) < 1


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(0, 2**70), st.permutations(range(40)))
@settings(max_examples=30)
def test_a_draw_depends_on_its_number_only(sizes, seed, numbers):
    straight = Mixture(sizes, [1.0] * len(sizes), seed)
    expected = [straight.pick(number) for number in range(40)]
    jumping = Mixture(sizes, [1.0] * len(sizes), seed)
    assert {number: jumping.pick(number) for number in numbers} == dict(enumerate(expected))


def test_within_an_epoch_of_a_source_no_row_comes_twice():
    mixture = Mixture([7, 4], [2, 1], seed=5)
    drawn = [mixture.pick(number) for number in range(84)]
    for source, size in enumerate([7, 4]):
        rows = [row for chosen, row in drawn if chosen == source]
        epochs = [rows[start : start + size] for start in range(0, len(rows), size)]
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1


def test_sources_of_equal_weight_take_turns():
    mixture = Mixture([5, 5], [0.5, 0.5], seed=0)
    assert [mixture.pick(number)[0] for number in range(6)] in ([0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0])


def test_another_seed_walks_in_another_order():
    assert [Mixture([50], [1], seed).pick(0) for seed in range(9)].count((0, 0)) < 9


@pytest.mark.parametrize(
    ("sizes", "weights"),
    [([], []), ([1], [1, 1]), ([0], [1]), ([1], [0]), ([1], [-1]), ([1], [float("nan")]), ([1], [float("inf")])],
)
def test_a_mixture_that_cannot_be_is_refused(sizes, weights):
    with pytest.raises(DataError, match="mixture: "):
        Mixture(sizes, weights, seed=0)
