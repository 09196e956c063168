"""Mean squares and intervals of crossed differences, worked by hand and against what scipy knows."""

import numpy as np
import pytest
from scipy import stats

from r1lab.stats import paired
from r1lab.stats.paired import (
    MeanSquares,
    half_width,
    holm,
    interval,
    mean_squares,
    p_value,
    power,
    resolvable,
    win_probability,
)

HAND = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
# mean 1/3; seeds 2/3 and 0: MS = 3 (1/9 + 1/9) / 1 = 2/3; problems 1/2, 0, 1/2: MS = 2 (1/36 + 1/9 + 1/36) / 2 = 1/6;
# all squares 2 - 6/9 = 4/3, of which 2/3 + 1/3 are told: rest 1/3 over (2 - 1)(3 - 1) = 1/6


def draw(rng, seeds, problems, seed_sd, problem_sd, rest_sd):
    return (
        rng.normal(0, rest_sd, (seeds, problems))
        + rng.normal(0, seed_sd, (seeds, 1))
        + rng.normal(0, problem_sd, (1, problems))
    )


def test_mean_squares_by_hand():
    found = mean_squares(HAND)
    assert (found.mean, found.seeds, found.problems, found.rest) == pytest.approx((1 / 3, 2 / 3, 1 / 6, 1 / 6))
    assert (found.by_seed, found.by_problem) == pytest.approx((2 / 3 / 6, 0))
    # t(0.975, 1) = 12.7062, sqrt(1/9) = 1/3
    assert interval(found) == pytest.approx((1 / 3, 1 / 3 - 12.7062 / 3, 1 / 3 + 12.7062 / 3, 3), abs=1e-4)


def test_many_comparisons_at_once_are_each_alone():
    both = mean_squares(np.stack([HAND, 1 - HAND]))
    assert half_width(both).shape == (2,)
    assert half_width(both)[1] == pytest.approx(half_width(mean_squares(1 - HAND)))


def test_without_a_problems_part_it_is_students_t_over_seeds():
    found = MeanSquares(np.float64(0.1), np.float64(0.6), np.float64(0.2), np.float64(0.5), 3, 20)
    assert half_width(found) == pytest.approx(stats.t.ppf(0.975, 2) * np.sqrt(0.6 / 60))


def test_the_order_of_seeds_and_problems_does_not_matter():
    values = draw(np.random.default_rng(0), 4, 30, 0.1, 0.3, 0.5)
    assert mean_squares(values) == pytest.approx(mean_squares(values[::-1, ::-1]))


def test_equal_seeds_do_not_make_an_interval_of_width_zero():
    values = np.zeros((3, 64))
    values[:, :4] = 1
    assert 0 < half_width(mean_squares(values)) < half_width(mean_squares(values, grain=10))
    assert p_value(mean_squares(np.zeros((3, 64)))) == 1


def test_p_value_is_where_the_interval_touches_zero():
    found = mean_squares(draw(np.random.default_rng(1), 5, 40, 0.05, 0.2, 0.5) + 0.2)
    p = p_value(found)
    assert 0.0001 < p < 1 and half_width(found, p) == pytest.approx(abs(found.mean))
    assert p_value(found._replace(mean=-found.mean)) == pytest.approx(p)


def test_intervals_hold_at_three_seeds_where_both_parts_matter():
    rng, held, one_t = np.random.default_rng(2), 0, 0
    for _ in range(2000):
        found = mean_squares(draw(rng, 3, 64, 0.08, 0.25, 0.4), grain=0)
        held += abs(found.mean) <= half_width(found)
        variance = found.by_seed + found.by_problem
        df = variance**2 / (found.by_seed**2 / 2)
        one_t += abs(found.mean) <= stats.t.isf(0.025, df) * np.sqrt(variance)
    assert 0.94 < held / 2000 < 0.985
    assert one_t < held, "a single t with estimated degrees of freedom covers less"


def test_holm_by_hand_and_levels_that_agree_with_it():
    adjusted, levels = holm([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # the third smallest fails 0.05 / 2, so it and all after are held to that
    assert levels == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])
    assert [p <= level for p, level in zip([0.01, 0.04, 0.03, 0.005], levels)] == [True, False, False, True]
    assert holm([]) == ([], [])


def test_win_probability_is_one_half_without_a_difference_and_none_without_a_spread():
    even = win_probability([0.1, -0.1, 0.05, -0.05])
    assert even.value == 0.5 and even.low == pytest.approx(1 - even.high)
    assert win_probability([0.1, 0.1]) is None and win_probability([0.3]) is None
    sure = win_probability([0.1, 0.11, 0.12])
    assert sure.low > 0.9 and sure.high == pytest.approx(1)


def test_win_probability_inverts_the_noncentral_t():
    found = win_probability([0.3, 0.1, 0.2, 0.0])
    t = np.sqrt(4) * 0.15 / np.std([0.3, 0.1, 0.2, 0.0], ddof=1)
    delta = stats.norm.ppf(found.low) * np.sqrt(4)
    assert stats.nct.sf(t, 3, delta) == pytest.approx(0.025, abs=2e-4)


def test_power_is_what_simulation_finds():
    found = mean_squares(draw(np.random.default_rng(3), 3, 200, 0.02, 0.1, 0.5))
    size = resolvable(found)
    assert power(found, size) == pytest.approx(0.8, abs=1e-4)
    assert power(found, 0) == pytest.approx(0.05, abs=0.03)
    assert resolvable(found, num_seeds=10) < resolvable(found, num_seeds=5) < size < resolvable(found, 0.01)
    rng, scale = np.random.default_rng(4), np.sqrt(found.by_seed + found.by_problem)
    means = size + scale * rng.normal(size=20_000)
    variances = found.by_seed * rng.chisquare(2, 20_000) / 2
    halves = np.sqrt(stats.t.isf(0.025, 2) ** 2 * variances + stats.t.isf(0.025, 199) ** 2 * found.by_problem)
    assert np.mean(abs(means) > halves) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("shape", [(1, 5), (3, 1), (3,)])
def test_one_seed_or_one_problem_has_no_such_interval(shape):
    with pytest.raises(ValueError, match="at least two seeds and two problems"):
        paired.mean_squares(np.zeros(shape))
