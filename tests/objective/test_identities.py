"""Methods that are one another at a setting, or at ratio 1: the whole catalogue tied together, token by token."""

from functools import partial

import numpy as np
import pytest

from r1lab.objective.advantage import mean, w_reinforce
from r1lab.records import Role

REWARDS = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]
WRONG = [0.0] * 8
DEMO = int(Role.DEMO)


@pytest.fixture
def ends(made, draw_group, weights_of):
    """The weight of each token under these knobs, of groups with these rewards."""

    def ends(*rewards, step=1, shift=0.0, **knobs):
        objective = made(**knobs)
        groups = [draw_group(objective, each, number) for number, each in enumerate(rewards or [REWARDS, WRONG])]
        return weights_of(objective, groups, step=step, shift=shift)

    return ends


def same(found, truth, factor=1.0):
    assert found.keys() == truth.keys() and truth
    for key, weights in truth.items():
        assert found[key] == pytest.approx([factor * w for w in weights], rel=1e-5), key


def flat(found):
    return [w for weights in found.values() for w in weights]


OFF = {"correction": "none"}


def test_nft_with_omega_rate_at_ratio_1_is_dr_grpo(ends):
    group = {"select": "drop_zero_variance"}
    same(ends(REWARDS, preset="nft", group=group), ends(REWARDS, preset="dr_grpo", group=group))


def test_nft_with_omega_root_at_ratio_1_is_grpo_with_the_population_deviation(ends):
    found = ends(REWARDS, preset="nft", weight={"policy": {"use": "nft", "omega": "root"}})
    same(found, ends(REWARDS, preset="dr_grpo"), 1 / np.std(REWARDS))


def test_rloo_is_the_mean_baseline_times_g_over_g_minus_1(ends):
    same(ends(preset="rloo"), ends(preset="rloo", advantage="mean"), 8 / 7)


@pytest.mark.parametrize("weight", ["ppo", "unclipped", "gspo", "cispo", "sapo"])
def test_at_ratio_1_a_clipped_objective_is_reinforce(ends, weight):
    given = {"preset": "default", "advantage": "zscore"}
    same(ends(**given, weight={"policy": weight}), ends(**given, weight={"policy": "one"}))


def test_iw_sft_whose_policy_is_the_reference_is_sft(made, draw_group, weights_of):
    objective = made(preset="iw_sft")
    found = weights_of(objective, [draw_group(objective, [0.0])], ref=-1.0)
    same(found, weights_of(made(preset="sft"), [draw_group(made(preset="sft"), [0.0])]))


def test_gem_at_kappa_1_is_sft(ends):
    same(ends([0.0], preset="gem", weight={"demo": {"use": "gem", "kappa": 1.0}}), ends([0.0], preset="sft"))


def test_raft_is_sft_on_what_is_right(ends):
    found = ends(REWARDS, preset="raft", **OFF)
    assert {key[1] for key in found} == {index for index, reward in enumerate(REWARDS) if reward}
    tokens = sum(map(len, found.values()))
    assert [w for weights in found.values() for w in weights] == pytest.approx([1 / tokens] * tokens)


def test_hpt_with_a_gate_of_all_is_sft_and_of_none_dr_grpo(ends):
    knobs = {"preset": "hpt", "aggregate": "token_mean", "entropy": {"coef": 0.0}}
    found = ends(group={"select": "gate", "gate": 8}, **knobs)
    assert {key[2] for key in found} == {DEMO}
    assert flat(found) == pytest.approx(flat(ends([0.0], [0.0], preset="sft")))
    same(ends(group={"select": "gate", "gate": -1}, **knobs), ends(preset="dr_grpo", aggregate="token_mean"))


def test_dyme_is_hpt_with_gate_0_and_zscore(ends):
    found = ends(preset="dyme")
    same(found, ends(preset="hpt", advantage="zscore", aggregate="seq_token_mean", entropy={"coef": 0.0}))
    assert {key[2] for key in found if key[0] == 1} == {DEMO}  # the second group had no right answer


def test_chord_with_mu_1_is_sft_and_with_mu_0_grpo(ends):
    mix = partial(dict, use="const")
    found = ends(preset="chord_phi", weight={"demo": "one"}, mix=mix(mu=1.0))
    assert flat(found) == pytest.approx(flat(ends([0.0], [0.0], preset="sft")))
    truth = ends(preset="grpo", kl={"coef": 0.0}, aggregate="token_mean")
    same(ends(preset="chord_phi", mix=mix(mu=0.0)), truth)


def test_chord_mu_follows_its_schedule(ends):
    first, late = (ends(preset="chord_mu", step=step)[(0, 8, DEMO)][0] for step in (1, 999))
    assert first == pytest.approx(0.9 / 20) and late == pytest.approx(0.05 / 20)  # two demonstrations of 10 tokens


def test_uft_behind_no_hint_is_grpo(made, draw_group, weights_of):
    objective, plain = made(preset="uft"), made(preset="grpo", kl={"coef": 0.001}, aggregate="token_mean")
    groups = [draw_group(each, REWARDS, 10_000) for each in (objective, plain)]
    same(weights_of(objective, groups[:1]), weights_of(plain, groups[1:]))


def test_token_cleaning_that_keeps_all_is_sft(ends):
    same(ends([0.0], preset="token_cleaning", mask={"use": "token_cleaning", "keep": 1.0}), ends([0.0], preset="sft"))


def test_w_reinforce_with_lambda_1_is_psr_plus_nsr(ends):
    both = ends(preset="w_reinforce", advantage={"use": "w_reinforce", "positive": 1.0})
    same(both, ends(preset="psr") | ends(preset="nsr"))
    assert w_reinforce(np.array(REWARDS), scores=np.array(REWARDS), positive=1.0).tolist() == [
        1,
        -1,
        -1,
        1,
        1,
        -1,
        -1,
        -1,
    ]


def test_dpo_at_the_start_pays_half_of_beta_on_both_sides(made, draw_group, weights_of):
    objective = made(preset="dpo")
    found = weights_of(objective, [draw_group(objective, REWARDS)], ref=-1.0)
    assert sorted(weights[0] for weights in found.values()) == pytest.approx([-0.05, 0.05])


def test_rpo_with_eta_0_is_dpo(ends):
    mix = {"use": "roles", "demo": 0.0}
    same(ends(preset="rpo", mix=mix), ends(preset="dpo", weight={"pair": {"use": "dpo", "beta": 0.01}}))


def test_rpo_adds_beta_eta_over_the_chosen_completion(ends):
    found = ends(REWARDS, preset="rpo")
    assert found[(0, 0, DEMO)] == pytest.approx([0.01 * 0.005] * 3)  # one chosen sequence, its tokens summed


def test_k2_as_a_loss_is_k1_in_the_reward_of_each_token_at_ratio_1(ends):
    in_loss = {"estimator": "k2", "coef": 0.1}
    in_reward = {"estimator": "k1", "coef": 0.1, "where": "reward", "to_go": False}
    everywhere = {"select": "all"}
    same(ends(kl=in_reward), ends(kl=in_loss, group=everywhere))


def test_r_times_k3_is_k2_at_ratio_1(ends):
    same(ends(kl={"estimator": "k3_is", "coef": 0.1}), ends(kl={"estimator": "k2", "coef": 0.1}))


def test_entropy_advantage_with_alpha_0_is_its_base(ends):
    flat = {"policy": {"use": "entropy_advantage", "alpha": 0.0}}
    same(ends(preset="entropy_advantage", weight=flat), ends(preset="entropy_advantage", weight={"policy": "ppo"}))


def test_pods_that_keeps_all_is_grpo(ends):
    same(ends(preset="pods", group={"select": "pods", "keep": 8}), ends(preset="grpo", kl={"coef": 0.0}))


def test_tis_and_icepop_of_an_engine_that_agrees_are_off(ends):
    for correction in ("tis", "icepop", {"use": "tis", "level": "seq_mean"}, {"use": "icepop", "level": "seq_sum"}):
        same(ends(correction=correction), ends(correction="none"))


def test_luffy_without_a_demonstrations_weight_is_dr_grpo_of_its_group(ends):
    # seven samples and a right demonstration: the baseline is the mean of eight
    found = ends([*REWARDS[:7], 0.0], preset="luffy", entropy={"coef": 0.0})
    sampled = {key: weights for key, weights in found.items() if key[2] != DEMO}
    assert sampled[(0, 0, 0)][0] == pytest.approx((1 - 4 / 8) / (8 * 16))
    p = np.exp(-1.0)
    assert found[(0, 7, DEMO)][0] == pytest.approx((1 - 4 / 8) * 0.1 * p / (p + 0.1) ** 2 / (8 * 16), rel=1e-5)


def test_of_a_relative_advantage_the_weights_of_a_group_cancel_per_completion():
    assert mean(np.array(REWARDS)).sum() == pytest.approx(0)
