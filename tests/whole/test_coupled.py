"""Objectives that couple rows, read a second softmax or a value head: what their gradients do not depend on."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from r1lab.objective import build
from r1lab.objective.objective import Objective
from r1lab.objective.presets import PRESETS
from r1lab.policy.packing import pack
from r1lab.recipe import ObjectiveConfig
from r1lab.records import Role

COUPLED = (
    "gspo", "luspo", "srft", "iw_sft", "gem", "one_token_rollout", "dpo", "ipo", "simpo", "rpo", "ppo", "kl_cov",
    "deepseek_v3_2", "off_policy", "seq_tis",
)  # fmt: skip
KNOBS = {
    "off_policy": {"mask": {"use": "off_policy", "delta": 0.01}},
    "seq_tis": {"correction": {"use": "tis", "level": "seq_mean"}},
}


def made(preset):
    knobs = KNOBS.get(preset) or {"preset": preset}
    return build(ObjectiveConfig(**knobs), max_new_tokens=16, group_size=8)


ROLES = {
    **dict.fromkeys(("iw_sft", "gem", "one_token_rollout"), Role.DEMO),
    **dict.fromkeys(("dpo", "ipo", "simpo", "rpo"), Role.PAIR),
}


def ready(samples, preset):
    """The samples in the roles that the preset learns from, with every score, a little off the policy's."""
    random, done = np.random.default_rng(5), []
    for index, sample in enumerate(samples):
        size = len(sample.role)
        role = np.full(size, ROLES.get(preset, Role.POLICY), np.int8)
        advantage = sample.advantage if role[0] == Role.POLICY else np.full(size, 1.0 - index % 2 * 2, np.float32)
        old = sample.rollout.engine_logprobs - 0.05
        columns = {name: random.normal(size=size).astype(np.float32) for name in ("returns", "penalty")}
        unit = index // 2 + 1 if role[0] == Role.PAIR else 0
        ref = np.full(size, -4.0, np.float32)
        done.append(replace(sample, role=role, advantage=advantage, old=old, ref=ref, unit=unit, **columns))
    if preset == "rpo":
        done += [replace(s, role=np.full_like(s.role, Role.DEMO), unit=s.unit) for s in done if s.advantage[0] > 0]
    return done


@pytest.fixture(scope="module")
def learn(make_policy):
    """Loss and gradients, the value head's too, of one update from the tiny model's weights; they are not clipped. At a
    rate of 1e-30 the weights stay, so that one policy serves every update of its settings."""
    policies = {}

    def learn(samples, objective, **settings):
        key = (objective.has_values, *settings.items())
        if key not in policies:
            still = {"optimizer": {"grad_clip": 0.0, "warmup_updates": 0}, "learning_rate": 1e-30}
            policies[key] = make_policy(value_rate=1.0 if objective.has_values else None, **still, **settings)
            if objective.has_values:
                torch.nn.init.normal_(policies[key].value_head.weight, generator=torch.Generator().manual_seed(0))
        policy = policies[key]
        update = policy.update(samples, objective)
        weights = [weight for group in policy.optimizer.param_groups for weight in group["params"]]
        return update.loss, torch.cat([weight.grad.flatten() for weight in weights])

    return learn


def same(found, truth):
    assert found[0] == pytest.approx(truth[0], rel=1e-5, abs=1e-6)
    assert ((found[1] - truth[1]).norm() / truth[1].norm()).item() <= 1e-5


@pytest.mark.parametrize("preset", COUPLED)
def test_micro_batches_and_order_change_nothing(learn, make_samples, preset):
    samples, objective = ready(make_samples(8, engine=-4.0), preset), made(preset)
    whole = learn(samples, objective, micro_batch_tokens=16384)
    same(learn(samples, objective, micro_batch_tokens=1), whole)
    same(learn(samples[::-1], objective, micro_batch_tokens=30), whole)
    assert whole[1].norm() > 1e-5


@pytest.mark.parametrize("preset", COUPLED)
def test_a_shared_prompt_changes_nothing(learn, make_rollout, make_samples, preset):
    samples = make_samples(8, engine=-4.0)
    prompt = tuple(range(4, 64))
    samples = [
        replace(s, rollout=make_rollout(prompt, s.rollout.completion_ids, index=index, engine=-4.0))
        for index, s in enumerate(samples)
    ]
    samples, objective = ready(samples, preset), made(preset)
    same(learn(samples, objective, attention="auto"), learn(samples, objective, attention="padded"))


SEQUENCES = {"seq_mis", "geo_mask", "gmpo", "vespo"}
"""Presets whose weight or correction is one of a whole sequence, as `COUPLED`'s are."""
LOCAL = [
    name for name in PRESETS
    if name not in (SEQUENCES | set(COUPLED)) - {"gem", "one_token_rollout", "kl_cov"}
]  # fmt: skip


@pytest.mark.parametrize("preset", LOCAL)
def test_two_phases_are_one(learn, make_samples, monkeypatch, preset):
    objective = build(ObjectiveConfig(preset=preset), max_new_tokens=16, group_size=8)
    assert objective.is_local
    role = Role.DEMO if not objective.rule.samples else Role.POLICY
    samples = [
        replace(s, old=np.full(len(s.role), -4.1, np.float32), ref=np.full(len(s.role), -4.2, np.float32))
        for s in make_samples(6, role=role, engine=-4.0)
    ]
    one_pass = learn(samples, objective)
    monkeypatch.setattr(Objective, "is_local", property(lambda self: False))
    same(learn(samples, objective), one_pass)


@pytest.mark.parametrize("preset", COUPLED)
def test_completions_of_one_token_are_learned_from(learn, make_samples, preset):
    loss, gradient = learn(ready(make_samples(4, longest=1, engine=-4.0), preset), made(preset))
    assert np.isfinite(loss) and gradient.isfinite().all() and gradient.norm() > 1e-6


@pytest.mark.parametrize("preset", COUPLED)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_token_whose_engine_failed_is_as_if_it_were_silent(learn, make_samples, preset, bad):
    samples, objective = ready(make_samples(4, engine=-4.0), preset), made(preset)
    index = next(i for i, s in enumerate(samples) if len(s.role) > 1)
    scale = samples[index].scale.copy()
    scale[0] = 0.0
    engine = samples[index].rollout.engine_logprobs.copy()
    silent = [*samples]
    silent[index] = replace(samples[index], scale=scale)
    truth = learn(silent, objective)
    engine[0] = bad
    old = np.where(np.isfinite(engine), samples[index].old, bad).astype(np.float32)
    failed = replace(silent[index], rollout=replace(samples[index].rollout, engine_logprobs=engine), old=old)
    silent[index] = failed
    found = learn(silent, objective)
    assert np.isfinite(found[0]) and found[1].isfinite().all()
    if preset != "seq_tis":  # there the token leaves its sequence's mean of old - engine
        same(found, truth)


def test_a_pair_is_never_cut_in_two(make_samples):
    samples = ready(make_samples(8), "dpo")
    for tokens in (1, 20, 60, 10**6):
        batches = pack(samples, micro_batch_tokens=tokens, device=torch.device("cpu"), shared=True)
        seen = [set(batch.unit.tolist()) for batch in batches]
        assert sum(map(len, seen)) == len(set().union(*seen)) == 4
        assert sorted(index for batch in batches for index in set(batch.sequence.tolist())) == list(range(8))
    for shared in (False, True):
        assert len(pack(samples, micro_batch_tokens=1, device=torch.device("cpu"), shared=shared)) == 4
    assert all(batch.unit is None for batch in pack(make_samples(3), micro_batch_tokens=9, device=torch.device("cpu")))


def test_a_value_head_learns_its_return_and_comes_back_bit_for_bit(make_policy, make_samples, tmp_path):
    objective = made("ppo")
    samples = [
        replace(s, advantage=np.zeros_like(s.advantage), returns=np.full(len(s.role), 0.7, np.float32))
        for s in ready(make_samples(6, engine=-4.0), "ppo")
    ]
    policy = make_policy(value_rate=30.0, total_updates=100)
    assert all((scores.values == 0).all() for scores in policy.scores(samples))
    for _ in range(60):
        policy.update(samples, objective)
    values = np.concatenate([scores.values for scores in policy.scores(samples)])
    assert np.abs(values - 0.7).mean() < 0.1
    other = make_policy(value_rate=30.0, total_updates=100)
    policy.save(tmp_path)
    other.restore(tmp_path)
    other.load_state_dict(copy.deepcopy(policy.state_dict()))
    one, two = (each.update(samples, objective) for each in (policy, other))
    assert one.loss == two.loss and torch.equal(policy.value_head.weight, other.value_head.weight)


def test_the_value_heads_rate_is_a_multiple_of_the_policys(make_policy, make_samples):
    policy = make_policy(value_rate=30.0)
    policy.update(ready(make_samples(3, engine=-4.0), "ppo"), made("ppo"))
    assert [group["lr"] for group in policy.optimizer.param_groups] == pytest.approx([1e-3, 3e-2])
    assert make_policy().value_head is None and make_policy().scores(make_samples(1))[0].values is None
