"""From groups to the samples of an update: roles, advantages that wait for scores, masks, what is left out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from r1lab.errors import RunError
from r1lab.objective.loss import row_loss
from r1lab.objective.samples import prepared_updates, samples_of_group
from r1lab.records import Role


def scored(samples, **columns):
    """With these numbers on every token."""
    return [
        replace(s, **{name: np.full(len(s.role), value, np.float32) for name, value in columns.items()})
        for s in samples
    ]


def prepared_update(objective, samples, step):
    """The samples of a step's only update."""
    return prepared_updates(objective, [samples], step)[0]


def samples_of(objective, *groups):
    return [sample for group in groups for sample in samples_of_group(objective, objective.rule.settle(group).group)]


def test_a_greedy_baseline_is_out_of_the_update(made, draw_group):
    objective = made(preset="remax", group_size=3)
    samples = prepared_update(
        objective, samples_of(objective, draw_group(objective, [1.0, 0.0, 0.25], greedy=0.5)), step=1
    )
    assert [s.advantage[0] for s in samples] == [0.5, -0.5, -0.25, 0.0]
    assert samples[-1].left_out == "masked" and set(samples[-1].role) == {Role.CONTEXT}
    assert samples[0].scale[0] == pytest.approx(1 / 3)  # it is no sequence of the denominator


def test_a_demonstration_is_compared_only_where_the_recipe_says_so(made, draw_group):
    compared, alone = made(preset="luffy"), made(preset="hpt", group={"select": "with_demonstration"})
    rewards = [1.0] + [0.0] * 7
    *_, demo = samples_of_group(compared, draw_group(compared, rewards))
    first, *_ = samples_of_group(compared, draw_group(compared, rewards))
    assert demo.advantage[0] == first.advantage[0] == 1 - 2 / 8  # seven samples and the demonstration
    *_, demo = samples_of_group(alone, draw_group(alone, rewards))
    first, *_ = samples_of_group(alone, draw_group(alone, rewards))
    assert demo.advantage[0] == 1.0 and first.advantage[0] == 1 - 1 / 8


def test_pairs_take_their_role_sign_and_unit_and_rpos_chosen_one_comes_twice(made, draw_group):
    objective = made(preset="rpo", group_size=3)
    made_of = samples_of(objective, draw_group(objective, [0.0, 1.0, 0.5], number=4))
    assert [(int(s.role[0]), s.advantage[0], s.unit) for s in made_of] == [
        (Role.PAIR, -1.0, 5), (Role.PAIR, 1.0, 5), (Role.DEMO, 1.0, 5),
    ]  # fmt: skip
    assert made_of[2].rollout is made_of[1].rollout


def test_a_pair_of_which_one_is_masked_is_masked(made, draw_group):
    objective = replace(made(preset="dpo", group_size=2), truncated="mask")
    group = draw_group(objective, [1.0, 0.0])
    cut = replace(group.members[0], rollout=replace(group.members[0].rollout, finish="length"))
    samples = scored(samples_of_group(objective, replace(group, members=(cut, group.members[1]))), ref=-1.0)
    assert [s.left_out for s in prepared_update(objective, samples, step=1)] == ["masked", "masked"]


def test_kl_in_the_reward_is_paid_by_a_token_for_all_that_follow(made, draw_group):
    kl = {"estimator": "k1", "coef": 0.1, "where": "reward"}
    for to_go, paid in ((True, [0.3, 0.2, 0.1]), (False, [0.1] * 3)):
        objective = made(advantage="raw", kl={**kl, "to_go": to_go}, group_size=2)
        samples = scored(samples_of_group(objective, draw_group(objective, [1.0, 0.0])), old=-1.0, ref=-2.0)
        first = prepared_update(objective, samples, step=1)[0]
        assert first.advantage.tolist() == pytest.approx([1 - each for each in paid])


@pytest.mark.parametrize("num_updates", [1, 2])
def test_advantages_are_whitened_over_the_steps_policy_tokens(made, draw_group, num_updates):
    objective = made(preset="reinforce_pp_baseline", group_size=2)
    groups = draw_group(objective, [1.0, 0.0]), draw_group(objective, [1.0, 1.0], 1)
    parts = [groups] if num_updates == 1 else [[group] for group in groups]
    batches = prepared_updates(objective, [samples_of(objective, *part) for part in parts], step=1)
    samples = [sample for batch in batches for sample in batch]
    flat = np.concatenate([s.advantage for s in samples]).astype(np.float64)
    assert flat.mean() == pytest.approx(0, abs=1e-6) and flat.std(ddof=1) == pytest.approx(1, abs=1e-5)


def test_a_demonstration_is_not_whitened(made, draw_group):
    objective = made(preset="chord_mu", advantage={"use": "mean", "scale": "whiten"})
    *_, demo = prepared_update(objective, samples_of(objective, draw_group(objective, [1.0] + [0.0] * 7)), step=1)
    assert demo.advantage.tolist() == [1.0] * 10


def test_lite_ppo_divides_by_the_deviation_of_the_batchs_rewards(made, draw_group):
    objective = made(preset="lite_ppo", group_size=2)
    groups = draw_group(objective, [1.0, 0.0]), draw_group(objective, [1.0, 1.0], 1)
    samples = prepared_update(objective, samples_of(objective, *groups), step=1)
    assert samples[0].advantage[0] == pytest.approx(0.5 / (0.5 + 1e-6), rel=1e-5)  # rewards 1 0 1 1: std 0.5


def test_gae_pays_the_reward_at_the_last_token_and_gives_returns(made, draw_group):
    objective = made(advantage={"use": "gae", "gamma": 1.0, "lam": 1.0}, group_size=1)
    samples = scored(samples_of_group(objective, draw_group(objective, [1.0])), values=0.25)
    (sample,) = prepared_update(objective, samples, step=1)
    assert sample.advantage.tolist() == [0.75] * 3 and sample.returns.tolist() == [1.0] * 3
    assert sample.left_out == "" and objective.has_values and objective.needs == {"values"} and objective.waits


def test_a_value_head_learns_from_samples_without_an_advantage_too(made, draw_group):
    objective = made(advantage={"use": "gae", "gamma": 1.0, "lam": 1.0}, group_size=1)
    samples = scored(samples_of_group(objective, draw_group(objective, [0.0])), values=0.0)
    assert [s.left_out for s in prepared_update(objective, samples, step=1)] == [""]


def test_kl_cov_puts_a_penalty_on_samples_only_where_there_is_one(made, draw_group):
    objective = made(preset="kl_cov", group_size=2)
    samples = scored(samples_of_group(objective, draw_group(objective, [1.0, 0.0])), old=-1.0)
    penalties = [s.penalty for s in prepared_update(objective, samples, step=1)]
    assert sum((each > 0).sum() for each in penalties) == 1 and penalties[0].dtype == np.float32
    assert prepared_update(objective, [], step=1) == [] and prepared_update(made(), samples, step=1)[0].penalty is None


def test_the_drop_of_clip_cov_repeats_with_the_seed_of_the_run(made, draw_group):
    objective = made(preset="clip_cov", mask={"use": "clip_cov", "share": 0.3, "low": -9.0, "high": 9.0}, group_size=4)
    samples = scored(samples_of_group(objective, draw_group(objective, [1.0, 0.0, 0.0, 0.0])), old=-1.0)
    first, second = ([s.scale.tolist() for s in prepared_update(objective, samples, step=1)] for _ in range(2))
    assert first == second and sum(scale == 0 for each in first for scale in each) == 4  # 0.3 of 15 tokens


def test_hints_are_learned_where_the_group_has_no_advantage(made, draw_group):
    objective = made(preset="uft", kl={"coef": 0.0})
    samples = prepared_update(objective, samples_of(objective, draw_group(objective, [0.0] * 8)), step=1)
    has_hint = [(s.role == Role.PREFIX).any() for s in samples]
    assert has_hint[0] and [bool(s.left_out) for s in samples] == [not each for each in has_hint]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_advantage_that_is_not_finite_stops_the_update_and_names_the_request(make_policy, make_samples, made, bad):
    policy, samples = make_policy(), make_samples(2)
    samples[1] = replace(samples[1], advantage=np.full(len(samples[1].role), bad, np.float32))
    with pytest.raises(RunError, match=r"^an advantage of request train/rl:0:1 is not finite"):
        policy.update(samples, made())
    assert policy.version == 0


@pytest.mark.parametrize("preset", ["grpo", "iw_sft", "dpo"])
def test_a_missing_reference_stops_the_update_in_one_line(make_policy, make_samples, made, preset):
    with pytest.raises(RunError, match=r"^request train/rl:0:0 has no reference log-probabilities.*needs_ref=True"):
        make_policy().update(make_samples(2), made(preset=preset))


@pytest.mark.parametrize("preset", ["gspo", "dpo"])
def test_rows_that_belong_together_are_refused_in_parts_as_the_one_pass_head_takes_them(
    make_policy, make_samples, made, preset
):
    batch = make_policy()._pack(make_samples(4))[0]
    part = torch.zeros(len(batch.target) - 1)
    with pytest.raises(ValueError, match="one-pass head cannot compute it"):
        row_loss(made(preset=preset), batch, part, part, slice(0, len(part)))
