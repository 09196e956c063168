"""The axes put together: samples, scales, what is left out, and the loss of a row."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from r1lab.errors import RecipeError
from r1lab.objective import build
from r1lab.objective.loss import row_loss
from r1lab.objective.samples import samples_of_group, scaled, why_left_out
from r1lab.recipe import ObjectiveConfig
from r1lab.records import PackedBatch, Role, Scored

PLUGINS = """
import torch
from r1lab.objective.term import Term

def median(rewards, *, shift: float = 0.0):
    return rewards - sorted(rewards)[len(rewards) // 2] + shift

def wrong_shape(rewards):
    return rewards[:1]

def not_finite(rewards):
    return rewards / 0.0

def squared(*, logp, old, advantage, clip_low: float = 0.5):
    return clip_low * advantage * logp ** 2

def gap(*, logp, ref):
    return (logp - ref).abs()
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_terms.py").write_text(PLUGINS)
    monkeypatch.syspath_prepend(tmp_path)


def made(truncated="score", group_size=8, **knobs):
    return build(ObjectiveConfig(**knobs), max_new_tokens=16, truncated=truncated, group_size=group_size)


def packed(role, *, advantage=1.0, scale=1.0, engine=-1.0, old=None, ref=None):
    """Rows of these roles; the fields are numbers or lists."""
    size = len(role)

    def row(value):
        return None if value is None else torch.tensor(np.broadcast_to(np.asarray(value, np.float32), size).copy())

    nothing = torch.zeros(size, dtype=torch.int64)
    return PackedBatch(
        nothing[None], None, None, nothing, nothing, nothing, torch.tensor(role), row(advantage), row(scale),
        row(engine), row(old), row(ref),
    )  # fmt: skip


def slopes(objective, rows, logp, entropy=2.0):
    """Losses, and their derivatives by logp and entropy."""
    logp = torch.tensor(np.broadcast_to(np.asarray(logp, np.float32), len(rows.role)).copy(), requires_grad=True)
    entropy = torch.full_like(logp, entropy, requires_grad=True)
    loss = row_loss(objective, rows, logp, entropy, slice(0, len(logp)))
    by = torch.autograd.grad(loss.sum(), (logp, entropy), allow_unused=True)
    return loss.tolist(), by[0].tolist(), None if by[1] is None else by[1].tolist()


def test_an_advantage_stands_on_each_token_and_a_demonstrations_is_1(make_group, make_rollout):
    group = make_group([1.0, 0.0])
    prefix = make_rollout((5,), (7, 8, 9), role=[Role.DEMO, Role.DEMO, Role.POLICY])
    group = replace(group, members=(replace(group.members[0], rollout=prefix), group.members[1]))
    first, second = samples_of_group(made(), group)
    assert first.advantage.tolist() == [1.0, 1.0, 0.5] and second.advantage.tolist() == [-0.5] * 3
    assert first.advantage.dtype == np.float32


def test_members_without_a_group_to_compare_with_are_left_out_but_count(make_group):
    objective = made()
    samples = [s for rewards in ([1.0, 1.0], [1.0, 0.0]) for s in samples_of_group(objective, make_group(rewards))]
    samples = scaled(objective, samples, step=1)
    assert [why_left_out(objective, sample) for sample in samples] == ["zero_advantage", "zero_advantage", "", ""]
    assert samples[2].scale[0] == pytest.approx(1 / 12)  # 4 completions of 3 tokens, two of them left out


@pytest.mark.parametrize("knobs", [{"kl": {"coef": 0.1}}, {"entropy": {"coef": 0.1}}, {"entropy": {"coef": -0.1}}])
def test_with_a_regulariser_a_zero_advantage_is_no_reason_to_leave_out(make_group, knobs):
    objective = made(**knobs)
    samples = scaled(objective, samples_of_group(objective, make_group([1.0, 1.0])), step=1)
    assert [why_left_out(objective, sample) for sample in samples] == ["", ""]


def test_a_masked_completion_is_left_out_as_masked(make_group, make_rollout):
    objective, group = made(truncated="mask"), make_group([1.0, 0.0])
    cut = replace(group.members[0], rollout=make_rollout((5,), (7,), finish="length"))
    samples = scaled(objective, samples_of_group(objective, replace(group, members=(cut, group.members[1]))), step=1)
    assert [why_left_out(objective, sample) for sample in samples] == ["masked", ""]
    assert samples[1].scale[0] == pytest.approx(1 / 3)


def test_the_demonstrations_of_sft_are_never_left_out(make_rollout, make_group):
    objective, rollout = made(preset="sft"), make_rollout((5,), (7,), role=Role.DEMO)
    group = replace(make_group([1.0]), members=(Scored(rollout, None, 1.0),))
    (sample,) = scaled(objective, samples_of_group(objective, group), step=1)
    assert why_left_out(objective, sample) == "" and sample.scale.tolist() == [1.0]


def test_the_loss_of_sft_is_the_negative_log_likelihood_times_scale():
    loss, by_logp, _ = slopes(made(preset="sft"), packed([Role.DEMO] * 2, scale=0.25, engine=math.nan), [-1.0, -3.0])
    assert loss == [0.25, 0.75] and by_logp == [-0.25, -0.25]


def test_on_policy_ppo_is_reinforce():
    rows = packed([Role.POLICY] * 3, advantage=[0.5, -2.0, 0.0], scale=0.1)
    reinforce = made(preset="reinforce", correction="none")
    for name in ("default", "dr_grpo", "dapo"):
        assert slopes(made(preset=name), rows, -1.0)[1] == pytest.approx(slopes(reinforce, rows, -1.0)[1])


def test_the_current_log_probability_stands_for_old_where_one_update_follows():
    # R = 1, so rho = exp(logp - engine) alone corrects: e^0.5
    rows = packed([Role.POLICY], advantage=2.0, engine=-1.5)
    assert slopes(made(), rows, -1.0)[1] == pytest.approx([-2 * math.exp(0.5)])


def test_a_given_old_makes_a_ratio_and_the_correction_reads_old_and_engine():
    # R = e^0.1, rho = e^-0.2, w = A R rho
    rows = packed([Role.POLICY], advantage=2.0, old=-1.1, engine=-0.9)
    assert slopes(made(), rows, -1.0)[1] == pytest.approx([-2 * math.exp(0.1) * math.exp(-0.2)])
    assert slopes(made(correction="none"), rows, -1.0)[1] == pytest.approx([-2 * math.exp(0.1)])


def test_roles_have_their_own_weights_and_corrections_touch_policy_rows_alone():
    rows = packed([Role.POLICY, Role.DEMO, Role.PREFIX], advantage=[2.0, 1.0, 1.0], engine=[-2.0, math.nan, math.nan])
    loss, by_logp, _ = slopes(made(), rows, -1.0)
    assert by_logp == pytest.approx([-2 * 2.0, -1.0, 0.0])  # tis caps e^1 at 2; a prefix has no weight here
    assert loss[1:] == [1.0, 0.0]


@pytest.mark.parametrize("estimator, weight", [("abs", -1.0), ("k2", -0.5), ("k3", -(1 - math.exp(-0.5)))])
def test_kl_adds_its_weight_to_policy_rows(estimator, weight):
    rows = packed([Role.POLICY, Role.DEMO], advantage=0.0, ref=-1.5, scale=0.5)
    objective = made(kl={"estimator": estimator, "coef": 0.2})
    assert [-g for g in slopes(objective, rows, -1.0)[1]] == pytest.approx([0.5 * 0.2 * weight, 0.0])


def test_the_entropy_bonus_adds_its_slope_to_policy_rows():
    _, _, by_entropy = slopes(made(entropy={"coef": 0.1}), packed([Role.POLICY, Role.DEMO], scale=0.5), -1.0)
    assert by_entropy == pytest.approx([-0.05, 0.0])
    assert slopes(made(), packed([Role.POLICY]), -1.0)[2] is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_of_scale_zero_whose_engine_failed_has_loss_and_slope_zero(bad):
    # `old_logprobs: engine` puts the same number into old.
    rows = packed([Role.POLICY] * 2, scale=[0.0, 1.0], engine=[bad, -1.0], old=[bad, -1.0])
    loss, by_logp, _ = slopes(made(), rows, -1.0)
    assert loss == [0.0, -1.0] and by_logp == [0.0, -1.0]
    assert slopes(made(correction="none"), rows, -1.0)[1] == [0.0, -1.0]


@pytest.mark.parametrize("gap", [-50.0, 50.0])
def test_log_ratios_of_50_give_finite_losses_and_slopes(gap):
    rows = packed([Role.POLICY] * 2, advantage=[1.0, -1.0], old=-60 - gap, engine=-60 - gap, ref=-60 + gap)
    loss, by_logp, _ = slopes(made(preset="grpo"), rows, -60.0)
    assert all(map(math.isfinite, [*loss, *by_logp]))


def test_the_loss_of_a_slice_is_the_slice_of_the_loss():
    rows, objective = packed([Role.POLICY] * 3, advantage=[1, 2, 3], old=[-1, -2, -3], ref=-1.0), made(preset="grpo")
    logp, entropy = torch.tensor([-1.0, -1.5, -2.0]), torch.zeros(3)
    whole = row_loss(objective, rows, logp, entropy, slice(0, 3))
    assert torch.equal(row_loss(objective, rows, logp[1:], entropy[1:], slice(1, 3)), whole[1:])


def test_an_advantage_of_ones_own_comes_by_dotted_path(own, make_group):
    objective = made(advantage={"use": "own_terms:median", "shift": 0.25}, group_size=1)
    assert [s.advantage[0] for s in samples_of_group(objective, make_group([3.0, 1.0, 0.0]))] == [2.25, 0.25, -0.75]


@pytest.mark.parametrize("name", ["wrong_shape", "not_finite"])
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_an_advantage_of_ones_own_must_give_one_finite_number_each(own, make_group, name):
    with pytest.raises(RecipeError, match=r"^objective\.advantage: must return one finite number a completion"):
        samples_of_group(made(advantage=f"own_terms:{name}"), make_group([1.0, 0.0]))


def test_a_weight_of_ones_own_comes_by_dotted_path_and_may_clip(own):
    objective = made(weight={"policy": "own_terms:squared"}, clip_low=0.1, correction="none")
    # 0.1 A logp^2, slope 0.2 A logp
    assert slopes(objective, packed([Role.POLICY], advantage=3.0), -2.0)[:2] == (
        pytest.approx([1.2]),
        pytest.approx([-1.2]),
    )
    assert objective.clip == (0.1, math.inf)
    with pytest.raises(RecipeError, match="clip_high with weights that do not clip"):
        made(weight={"policy": "own_terms:squared"}, clip_high=0.1)


def test_an_estimator_of_ones_own_needs_the_reference_too(own):
    objective = made(kl={"estimator": "own_terms:gap", "coef": 0.5})
    assert objective.needs == {"ref"}
    assert slopes(objective, packed([Role.POLICY], advantage=0.0, ref=-3.0), -1.0)[1] == [0.5]
