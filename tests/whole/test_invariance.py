"""What the loss and its gradient do not depend on, and what an update does at its edges."""

import copy
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from r1lab import loop
from r1lab.errors import RunError
from r1lab.objective import build
from r1lab.objective.samples import samples_of_group, scaled, why_left_out
from r1lab.recipe import ObjectiveConfig
from r1lab.records import Role, Sample, Settled
from r1lab.run.ledger import Ledger
from r1lab.run.metrics import update_metrics

PRESETS = ("default", "grpo", "reinforce", "sft")


def made(preset="default", **knobs):
    return build(ObjectiveConfig(preset=preset, **knobs), max_new_tokens=16, group_size=8)


@pytest.fixture
def learn(make_policy):
    """Loss and gradients of one update from the tiny model's weights; grad_clip is off so that they stay."""

    def learn(samples, objective, **settings):
        policy = make_policy(**{"optimizer": {"grad_clip": 0.0, "warmup_updates": 0}, **settings})
        update = policy.update(samples, objective)
        return update.loss, torch.cat([weight.grad.flatten() for weight in policy.model.parameters()])

    return learn


def same(found, truth):
    assert found[0] == pytest.approx(truth[0], rel=1e-5)
    assert ((found[1] - truth[1]).norm() / truth[1].norm()).item() <= 1e-5


def scored(samples):
    """With old and reference log-probabilities a little off the engine's."""
    return [
        replace(s, old=s.rollout.engine_logprobs - 0.05, ref=np.full(len(s.role), -2.0, np.float32)) for s in samples
    ]


@pytest.mark.parametrize("preset", PRESETS)
def test_micro_batches_and_order_change_nothing(learn, make_samples, preset):
    samples = scored(make_samples(8, role=Role.DEMO if preset == "sft" else Role.POLICY, engine=-4.0))
    objective, whole = made(preset), None
    for tokens in (16384, 1, 30):
        found = learn(samples if tokens != 30 else samples[::-1], objective, micro_batch_tokens=tokens)
        whole = whole or found
        same(found, whole)
    assert whole[1].norm() > 1e-4


def test_padding_is_never_read(learn, make_policy, make_samples, make_rollout):
    short = make_samples(1, longest=2)
    long = replace(short[0], rollout=make_rollout((9,) * 40, short[0].rollout.completion_ids, index=1))
    silent = replace(long, scale=np.zeros_like(long.scale))
    same(learn([*short, silent], made()), learn(short, made()))
    beside = [make_policy().score([*short, other])[0] for other in (long, replace(long, rollout=short[0].rollout))]
    assert np.allclose(*beside, rtol=1e-5, atol=1e-6)


@pytest.fixture
def siblings(make_rollout):
    """Two prompts of 60 tokens with four completions each, and one completion on its own."""
    made = []
    for number, prompt in enumerate([tuple(range(4, 64)), tuple(range(63, 3, -1)), (9, 9, 9)]):
        for index in range(4 if number < 2 else 1):
            rollout = make_rollout(prompt, tuple(range(5 + index, 5 + 3 * index + 2)), index=index, engine=-4.0)
            size = len(rollout.completion_ids)
            made.append(Sample(rollout, rollout.role, np.full(size, index - 1.5), np.full(size, 0.05)))
    return made


@pytest.mark.parametrize("tokens", [16384, 80])
def test_a_shared_prompt_changes_nothing(learn, siblings, tokens):
    shared = learn(siblings, made(), attention="auto", micro_batch_tokens=tokens)
    same(shared, learn(siblings, made(), attention="padded", micro_batch_tokens=tokens))
    assert shared[1].norm() > 1e-4


def test_completions_behind_one_prompt_do_not_read_each_other(make_policy, siblings, make_rollout):
    policy = make_policy()
    assert any(batch.segments is not None for batch in policy._pack(siblings))
    before = policy.score(siblings)
    size = len(siblings[2].rollout.completion_ids)
    other = make_rollout(siblings[2].rollout.request.prompt_ids, (50,) * size, index=2)
    after = policy.score([replace(s, rollout=other) if index == 2 else s for index, s in enumerate(siblings)])
    assert all(np.array_equal(*pair) for index, pair in enumerate(zip(before, after)) if index != 2)
    assert not np.array_equal(before[2], after[2])


ROLES = [Role.POLICY] * 3 + [Role.CONTEXT] * 4 + [Role.POLICY] * 2 + [Role.CONTEXT] * 3 + [Role.POLICY]


@pytest.fixture
def episodes(make_rollout):
    """Two groups of four episodes with three turns and one of a single turn; engine log-probabilities of what was
    observed are NaN, as they come."""
    made = []
    for number, prompt in enumerate([tuple(range(4, 64)), (9, 8), (7, 7, 7)]):
        for index in range(4 if number < 2 else 1):
            role = ROLES[: 13 - 2 * index] if number < 2 else ROLES[:3]
            ids = tuple(range(5 + 7 * index + number, 5 + 7 * index + number + len(role)))
            rollout = make_rollout(prompt, ids, draw=number, index=index, role=role, engine=-4.0)
            made.append(Sample(rollout, rollout.role, np.full(len(role), index - 1.5, np.float32),
                               np.full(len(role), 0.05, np.float32)))  # fmt: skip
    return scored(made)


@pytest.mark.parametrize("preset", [*PRESETS[:3], "gspo", "ppo"])
def test_episodes_learn_the_same_in_any_packing_micro_batch_and_order(learn, episodes, preset):
    samples = [replace(s, returns=np.full(len(s.role), 0.3, np.float32)) for s in episodes]
    whole = learn(samples, made(preset), attention="auto")
    same(learn(samples, made(preset), attention="padded"), whole)
    for tokens in (1, 40):
        same(learn(samples[::-1], made(preset), attention="auto", micro_batch_tokens=tokens), whole)
    assert whole[1].norm() > 1e-4


def test_the_loss_of_an_episode_is_that_of_its_turns_in_one_forward_pass(make_policy, learn, episodes):
    found, policy, total = learn(episodes, made("reinforce", correction="none")), make_policy(), 0.0
    for sample in episodes:
        prompt, ids = sample.rollout.request.prompt_ids, sample.rollout.completion_ids
        logits = policy.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        logprobs = logits.log_softmax(-1)[range(len(ids)), ids]
        at = torch.tensor(sample.role == Role.POLICY)
        total = total - (logprobs * torch.tensor(sample.advantage * sample.scale))[at].sum()
    total.backward()
    same(found, (total.item(), torch.cat([weight.grad.flatten() for weight in policy.model.parameters()])))


def test_samples_of_one_batch_do_not_read_each_other(make_policy, make_samples, make_rollout):
    policy, samples = make_policy(), make_samples(4)
    size = len(samples[2].rollout.completion_ids)
    other = make_rollout(samples[2].rollout.request.prompt_ids, (50,) * size, index=2)
    before, after = policy.score(samples), policy.score([*samples[:2], replace(samples[2], rollout=other), samples[3]])
    assert all(np.array_equal(before[i], after[i]) for i in (0, 1, 3)) and not np.array_equal(before[2], after[2])


def test_an_update_is_the_sum_of_its_parts(learn, make_samples):
    samples = make_samples(8)
    whole, parts = learn(samples, made()), [learn(samples[:3], made()), learn(samples[3:], made())]
    same((parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]), whole)


def test_leaving_out_what_weighs_nothing_changes_nothing_and_it_stays_in_z(learn, make_group):
    objective = made()
    samples = [s for draw, rewards in enumerate(([1.0, 1.0], [1.0, 0.0])) for s in
               samples_of_group(objective, make_group(rewards, draw, lengths=[2, 5]))]  # fmt: skip
    samples = scaled(objective, samples, step=1)
    left_out = [replace(sample, left_out=why_left_out(objective, sample)) for sample in samples]
    assert [bool(s.left_out) for s in left_out] == [True, True, False, False]
    assert {s.scale[0] for s in samples} == {np.float32(1 / 14)}  # 2 + 5 tokens of each group
    same(learn(left_out, objective), learn(samples, objective))


def test_an_update_of_nothing_still_steps_and_is_reported(make_policy, make_samples):
    policy = make_policy(optimizer={"warmup_updates": 4, "weight_decay": 0.0})
    before = [weight.clone() for weight in policy.model.parameters()]
    samples = [replace(sample, left_out="zero_advantage") for sample in make_samples(3)]
    first, second = policy.update(samples, made()), policy.update([], made())
    assert policy.version == 2 and [first.learning_rate, second.learning_rate] == [0.25e-3, 0.5e-3]
    assert policy.optimizer.state_dict()["state"][0]["step"] == 2
    assert (first.loss, first.grad_norm, first.forwarded_tokens, first.rows) == (0.0, 0.0, 0, {})
    assert all(torch.equal(a, b) for a, b in zip(before, policy.model.parameters()))
    row = update_metrics([first, second], samples, (0.2, 0.2))
    assert row["update/empty"] == 2 and row["update/forwarded_share"] == 0 and row["ratio/mean"] is None


def test_an_empty_update_after_a_full_one_moves_by_momentum(make_policy, make_samples):
    policy = make_policy()
    policy.update(make_samples(4), made())
    before = next(policy.model.parameters()).clone()
    policy.update([], made())
    assert not torch.equal(before, next(policy.model.parameters()))


def test_an_update_reports_what_it_forwarded(make_policy, make_samples):
    samples = make_samples(5)
    update = make_policy(micro_batch_tokens=20).update([*samples[:4], replace(samples[4], left_out="masked")], made())
    tokens = [len(s.rollout.request.prompt_ids) + len(s.rollout.completion_ids) for s in samples[:4]]
    assert update.forwarded_tokens == sum(tokens) and update.learning_rate == 1e-3
    assert len(update.rows["logp"]) == sum(len(s.rollout.completion_ids) for s in samples[:4])


@pytest.fixture
def broken_model(tiny_model, tmp_path):
    """The tiny model, whose token 50 is embedded as NaN."""
    folder = shutil.copytree(tiny_model, tmp_path / "broken")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.get_input_embeddings().weight.data[50] = math.nan
    model.save_pretrained(folder)
    return folder


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_problem_and_request(
    make_policy, broken_model, make_samples, make_rollout
):
    policy, samples = make_policy(location=broken_model), make_samples(3, longest=3)
    samples = [
        replace(s, rollout=make_rollout((4, 5), (6, 7, 8)[: len(s.role)], draw=i)) for i, s in enumerate(samples)
    ]
    samples[1] = replace(samples[1], rollout=make_rollout((4, 50), samples[1].rollout.completion_ids, draw=1, index=6))
    before = [weight.clone() for weight in policy.model.parameters()]
    with pytest.raises(RunError, match=r"not finite at problem 'p1', request train/rl:1:6; the weights are unchanged"):
        policy.update(samples, made())
    assert policy.version == 0 and not policy.optimizer.state_dict()["state"]
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(before, policy.model.parameters()))


def test_a_gradient_that_is_not_finite_stops_before_the_step(make_policy, make_samples):
    policy = make_policy()
    samples = [replace(s, advantage=np.full(len(s.role), 1e37, np.float32)) for s in make_samples(3)]
    before = next(policy.model.parameters()).clone()
    with pytest.raises(
        RunError, match=r"gradient norm is inf in update 0 \(train/rl:0:0, .*; the weights are unchanged"
    ):
        policy.update(samples, made(correction="none"))
    assert policy.version == 0 and torch.equal(before, next(policy.model.parameters()))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_scores_are_those_of_a_full_forward(make_policy, make_samples, temperature):
    policy, samples = make_policy(temperature=temperature, micro_batch_tokens=30), make_samples(6)
    for sample, found in zip(samples, policy.score(samples)):
        prompt, completion = sample.rollout.request.prompt_ids, sample.rollout.completion_ids
        with torch.no_grad():
            logits = policy.model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        truth = (logits.double() / temperature).log_softmax(-1)[range(len(completion)), completion]
        assert found.dtype == np.float32 and found == pytest.approx(truth.numpy(), abs=2e-5)


def test_scores_are_the_log_probabilities_that_the_update_sees(make_policy, make_samples):
    policy, samples = make_policy(), make_samples(1)
    (score,) = policy.score(samples)
    assert policy.update(samples, made()).rows["logp"] == pytest.approx(score, abs=1e-6)


def block_of(make_group, groups=4):
    settled = [make_group([1.0, 0.0, 1.0], draw=draw, lengths=[4, 2, 3]) for draw in range(groups)]
    return [Settled(group, group, "kept") for group in settled]


def steps_of(policy, objective, block):
    stage, ledger = policy.stage, Ledger()
    split = loop.split_into_updates(block, objective, stage)
    batches = loop.prepare_updates(split, 1, objective, policy, stage, ledger)
    return batches, loop.learn(batches, policy, objective, stage, ledger), ledger


def ratios(update):
    return np.exp(update.rows["logp"].astype(np.float64) - update.rows["old"])


def test_of_two_updates_on_a_block_the_second_has_another_ratio_than_1(make_policy, make_group):
    policy, block = make_policy(updates_per_step=2), block_of(make_group)
    batches, (first, second), ledger = steps_of(policy, made(), block)
    assert [len(batch) for batch in batches] == [6, 6] and policy.version == 2
    assert ratios(first) == pytest.approx(1.0, abs=1e-5) and np.abs(ratios(second) - 1).max() > 1e-3
    assert ledger.tokens["trained"] == 4 * 9 and ledger.flops["score"] == 2 * policy.parameters * 12 * 5


def test_reuse_goes_over_the_block_again_and_the_engine_may_say_what_was_old(make_policy, make_group):
    policy = make_policy(reuse=2, old_logprobs="engine")
    batches, updates, ledger = steps_of(policy, made(), block_of(make_group, 1))
    assert len(updates) == 2 and ledger.tokens["trained"] == 18 and ledger.flops["score"] == 0
    assert all(np.array_equal(s.old, s.rollout.engine_logprobs) for s in batches[0])


def test_one_update_scores_nothing_and_has_ratio_1(make_policy, make_group):
    policy = make_policy()
    batches, (update,), ledger = steps_of(policy, made(), block_of(make_group, 1))
    assert batches[0][0].old is None and ledger.flops["score"] == 0 and set(ratios(update)) == {1.0}


def test_more_updates_than_groups_leaves_some_empty(make_policy, make_group):
    batches, updates, _ = steps_of(make_policy(updates_per_step=3), made(), block_of(make_group, 1))
    assert [len(batch) for batch in batches] == [0, 0, 3] and [bool(u.rows) for u in updates] == [False, False, True]


def test_a_reference_exists_only_where_a_term_needs_it(make_policy, make_group):
    assert make_policy().reference is None and not made().needs
    objective = made("grpo")
    policy = make_policy(needs_ref="ref" in objective.needs)
    batches, (update,), _ = steps_of(policy, objective, block_of(make_group, 1))
    assert update.rows["ref"] == pytest.approx(update.rows["logp"], abs=1e-6)  # both are the model the stage began with
    assert all(sample.ref is not None for sample in batches[0])
    _, (later,), _ = steps_of(policy, objective, block_of(make_group, 1))
    assert np.abs(later.rows["ref"] - later.rows["logp"]).max() > 1e-3
    policy.refresh_reference()
    _, (fresh,), _ = steps_of(policy, objective, block_of(make_group, 1))
    assert fresh.rows["ref"] == pytest.approx(fresh.rows["logp"], abs=1e-6)
    assert not any(weight.requires_grad for weight in policy.reference.parameters())


def test_without_a_reference_there_is_no_distance_to_it(make_policy, make_samples):
    update = make_policy().update(make_samples(2), made())
    assert np.isnan(update.rows["ref"]).all() and update_metrics([update], [], None)["policy/kl_ref"] is None


def test_policies_of_one_process_may_differ_in_precision(make_policy, make_samples):
    samples = make_samples(2)
    full, half, again = (make_policy(precision=p).score(samples) for p in ("float32", "bf16_autocast", "float32"))
    assert np.array_equal(full[0], again[0]) and not np.array_equal(full[0], half[0])
    assert half[0] == pytest.approx(full[0], abs=0.5)


def test_a_loss_that_is_not_finite_by_its_own_function_blames_no_request(make_policy, make_samples):
    objective = made()
    term = replace(objective.weight[Role.POLICY], fn=lambda *, logp, old, advantage: logp * math.nan)
    with pytest.raises(RunError, match=r"though the policy's log-probabilities are; the weights are unchanged"):
        make_policy().update(make_samples(2), replace(objective, weight={Role.POLICY: term}))


def test_state_and_weights_come_back_bit_for_bit(make_policy, make_samples, tmp_path):
    policy, samples = make_policy(needs_ref=True), make_samples(4)
    policy.update(samples, made())
    policy.save(tmp_path)
    other = make_policy(needs_ref=True)
    other.restore(tmp_path)
    other.load_state_dict(copy.deepcopy(policy.state_dict()))
    one, two = (each.update(samples, made()) for each in (policy, other))
    assert (one.loss, one.grad_norm, policy.version) == (two.loss, two.grad_norm, other.version)
    assert all(torch.equal(a, b) for a, b in zip(policy.model.parameters(), other.model.parameters()))
