import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lab.objective.credit import batch_std, gae, none, to_go, whiten

REWARDS, VALUES = np.array([0.0, -0.5, 1.0]), np.array([0.2, 0.4, 0.3])


def test_what_is_to_go_counts_this_token():
    assert to_go(np.array([1.0, 2.0, 4.0])).tolist() == [7.0, 6.0, 4.0]


def test_gae_by_hand():
    # delta with gamma 0.5: 0 + 0.2 - 0.2, -0.5 + 0.15 - 0.4, 1 - 0.3 = 0, -0.75, 0.7; gamma lam = 0.25
    assert gae(REWARDS, VALUES, gamma=0.5, lam=0.5) == pytest.approx([0.25 * -0.575, -0.75 + 0.25 * 0.7, 0.7])


def test_gae_at_lambda_1_is_the_return_minus_the_value_and_at_0_one_step():
    assert gae(REWARDS, VALUES, gamma=1.0, lam=1.0) == pytest.approx(to_go(REWARDS) - VALUES)
    following = np.array([0.4, 0.3, 0.0])
    assert gae(REWARDS, VALUES, gamma=0.9, lam=0.0) == pytest.approx(REWARDS + 0.9 * following - VALUES)


@settings(derandomize=True)
@given(
    st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=8), st.floats(0, 1), st.floats(0, 1)
)
def test_gae_is_the_sum_of_discounted_errors(steps, gamma, lam):
    rewards, values = np.array(steps).T
    delta = rewards + gamma * np.append(values[1:], 0.0) - values
    truth = [sum((gamma * lam) ** k * d for k, d in enumerate(delta[t:])) for t in range(len(delta))]
    assert gae(rewards, values, gamma=gamma, lam=lam) == pytest.approx(truth, abs=1e-9)


def test_whitened_advantages_have_mean_0_and_deviation_1():
    found = whiten(np.array([3.0, 1.0, 1.0, 5.0]), np.zeros(2))
    assert found.mean() == pytest.approx(0) and found.std(ddof=1) == pytest.approx(1, abs=1e-6)


def test_equal_advantages_are_whitened_to_exactly_zero():
    assert whiten(np.full(3, 0.1), np.zeros(1)).tolist() == [0.0] * 3 and whiten(np.ones(1), np.ones(1)).tolist() == [0]


def test_the_batchs_deviation_is_that_of_its_rewards():
    rewards = np.array([1.0, 0.0, 0.0, 1.0])  # n - 1: sqrt(1 / 3)
    assert batch_std(np.array([0.5, -0.5]), rewards) == pytest.approx(np.array([0.5, -0.5]) * 3**0.5, rel=1e-5)
    assert batch_std(np.array([0.5]), np.array([1.0])).tolist() == none(np.array([0.5]), rewards).tolist() == [0.5]
