import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lab.objective.advantage import ADVANTAGES, mean, one, raw, rloo, zscore

REWARDS = np.array([1.0, 0.0, 0.0, 1.0, 1.0])  # mean 0.6; squared deviations 3 x 0.16 + 2 x 0.36 = 1.2


def test_raw_is_the_reward_and_one_is_one():
    assert raw(REWARDS).tolist() == REWARDS.tolist()
    assert one(REWARDS).tolist() == [1.0] * 5


def test_mean_takes_the_groups_mean_away():
    assert mean(REWARDS) == pytest.approx([0.4, -0.6, -0.6, 0.4, 0.4])


def test_zscore_divides_by_the_standard_deviation_with_n_minus_1_plus_epsilon():
    std = math.sqrt(1.2 / 4)
    assert zscore(REWARDS) == pytest.approx(np.array([0.4, -0.6, -0.6, 0.4, 0.4]) / (std + 1e-6), rel=1e-12)
    assert zscore(REWARDS, epsilon=1.0)[0] == pytest.approx(0.4 / (std + 1.0))


def test_rloo_is_the_reward_minus_the_mean_of_the_others():
    others = [(2 / 4), (3 / 4), (3 / 4), (2 / 4), (2 / 4)]
    assert rloo(REWARDS) == pytest.approx(REWARDS - others)


def test_rloo_is_mean_times_g_over_g_minus_1():
    assert rloo(REWARDS) == pytest.approx(5 / 4 * mean(REWARDS))


@pytest.mark.parametrize("name", ["mean", "zscore", "rloo"])
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 0.9, -50.0, 1 / 3])
@pytest.mark.parametrize("size", [2, 3, 7, 8])
def test_equal_rewards_have_advantages_of_exactly_zero(name, reward, size):
    # 3 x 0.1 / 3 is not 0.1 in floating point: a difference would be forwarded for nothing.
    assert ADVANTAGES[name].fn(np.full(size, reward)).tolist() == [0.0] * size


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_relative_advantages_sum_to_zero_and_keep_the_order(rewards):
    for name, term in ADVANTAGES.items():
        if term.takes:
            continue
        advantages = term.fn(np.array(rewards))
        assert np.isfinite(advantages).all() and advantages.shape == (len(rewards),)
        if term.relative:
            assert abs(advantages.sum()) < 1e-6 * max(1, np.abs(advantages).max()), name
            assert all(np.diff(advantages[np.argsort(rewards, kind="stable")]) >= -1e-9)


def test_exactly_those_that_compare_members_say_so():
    assert {name for name, term in ADVANTAGES.items() if term.relative} == {
        "mean", "zscore", "rloo", "opo", "seed",
    }  # fmt: skip
