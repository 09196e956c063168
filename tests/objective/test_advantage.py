import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lab.objective.advantage import (
    ADVANTAGES,
    gdpo,
    max_rl,
    mean,
    nft,
    nsr,
    one,
    opo,
    pair,
    pass_at_k,
    psr,
    raft,
    raw,
    reinforce_rej,
    remax,
    rloo,
    seed,
    srft,
    w_reinforce,
    zscore,
)

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


@settings(derandomize=True)
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


def test_pass_at_k_compares_sets_of_completions():
    # one right of 4, sets of 2: 3 of 6 hold it, paid 1; std 0.5. The right one: (1 - 0.5) / 0.5; a wrong one is in one
    # paid set of its three: (1/3 - 0.5) / 0.5
    found = pass_at_k(np.zeros(4), scores=np.array([1.0, 0, 0, 0]), k=2)
    assert found == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])
    for scores in ([0.0] * 4, [1.0] * 4, [1.0, 1.0, 1.0, 0.0]):  # no set, or every set of 2, has a right one
        assert not pass_at_k(np.zeros(4), scores=np.array(scores), k=2).any()
    assert not pass_at_k(np.zeros(1), scores=np.ones(1), k=2).any(), "errors may leave fewer than k"


def test_gdpo_normalises_each_part_of_the_reward_by_itself():
    parts = {"score": np.array([1.0, 0, 1, 0]), "length": np.array([0.0, -0.01, 0, -0.01])}
    assert gdpo(np.zeros(4), parts=parts) == pytest.approx(2 * zscore(parts["score"]), abs=1e-3)
    assert gdpo(np.zeros(4), parts=parts, weights={"length": 0.0}) == pytest.approx(zscore(parts["score"]))
    assert not gdpo(np.zeros(3), parts={"score": np.full(3, 0.1)}).any() and not gdpo(np.zeros(2), parts={}).any()


def test_exactly_those_that_compare_members_say_so():
    assert {name for name, term in ADVANTAGES.items() if term.relative} == {
        "mean", "zscore", "max_rl", "rloo", "opo", "seed", "pass_at_k", "gdpo",
    }  # fmt: skip


def test_max_rl_divides_by_the_mean_and_is_zero_where_nothing_is_right():
    assert max_rl(np.array([1.0, 0.0, 0.0, 0.0])) == pytest.approx([3, -1, -1, -1], rel=1e-5)
    assert max_rl(np.zeros(3)).tolist() == max_rl(np.ones(3)).tolist() == [0, 0, 0]
    assert max_rl(np.array([-1.0, 1.0])).tolist() == [0, 0], "a mean of 0 has no inverse"


def test_opo_takes_the_length_weighted_mean_away_and_equal_rewards_are_zero():
    # (4 x 1 + 1 x 0 + 5 x 0.2) / 10 = 0.5
    lengths = np.array([4, 1, 5])
    assert opo(np.array([1.0, 0.0, 0.2]), lengths=lengths) == pytest.approx([0.5, -0.5, -0.3])
    assert opo(np.full(3, 0.1), lengths=lengths).tolist() == [0.0] * 3


def test_remax_takes_the_greedy_completions_reward_away():
    assert remax(np.array([1.0, 0.0]), greedy=0.25).tolist() == [0.75, -0.25]


def test_raft_keeps_what_is_positive_and_reinforce_rej_what_differs():
    assert raft(np.array([1.0, -0.5, 0.2])).tolist() == [1.0, 0.0, 0.2]
    assert reinforce_rej(REWARDS).tolist() == REWARDS.tolist()
    assert reinforce_rej(np.full(3, 1.0)).tolist() == [0.0] * 3


def test_positive_and_negative_samples_apart_and_weighed():
    rewards, scores = np.array([0.7, 1.1, 0.99, 0.1]), np.array([1.0, 1.0, 0.9, 0.0])
    assert psr(rewards, scores=scores).tolist() == [1, 1, 0, 0]
    assert nsr(rewards, scores=scores).tolist() == [0, 0, -1, -1]
    assert w_reinforce(rewards, scores=scores).tolist() == [0.1, 0.1, -1, -1]
    assert w_reinforce(rewards, scores=scores, positive=1.0).tolist() == [1, 1, -1, -1]
    assert psr(rewards, scores=scores, right=0.5).tolist() == [1, 1, 1, 0]


def test_nft_is_right_minus_the_solved_rate_within_its_bounds():
    scores, rewards = np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.7, 0.1, 0.0, 0.1])
    assert nft(rewards, scores=scores) == pytest.approx([0.75, -0.25, -0.25, -0.25])
    assert nft(rewards, scores=np.ones(4)) == pytest.approx([0.02] * 4)
    assert nft(rewards, scores=np.zeros(4)) == pytest.approx([-0.02] * 4)


def test_nft_of_binary_rewards_is_dr_grpo():
    assert nft(REWARDS, scores=REWARDS) == pytest.approx(mean(REWARDS))


def test_seed_trusts_groups_that_agree():
    rewards = np.array([1.0, 0.0, 0.0, 0.0])
    assert seed(rewards, answers=["a"] * 4) == pytest.approx(mean(rewards))  # entropy 0
    assert seed(rewards, answers=["a", "b", "c", None]) == pytest.approx(0.5 * mean(rewards))  # entropy log 4
    half = seed(rewards, answers=["a", "a", "b", "b"], alpha=1.0)  # log 2 / log 4 = 1/2
    assert half == pytest.approx(0.5 * mean(rewards))


def test_srft_is_plus_or_minus_one_and_the_demonstration_is_compared():
    is_demo = np.array([False, False, True])
    rewards, scores = np.array([0.7, 0.0, 1.1]), np.array([1.0, 0.0, 1.0])
    assert srft(rewards, scores=scores, is_demo=is_demo) == pytest.approx([1.0, -1.0, 0.5])


def test_of_a_pair_the_first_best_is_chosen():
    assert pair(np.array([0.0, 1.0])).tolist() == [-1.0, 1.0] and pair(np.array([1.0, 0.0])).tolist() == [1.0, -1.0]
