import re
from pathlib import Path

import numpy as np
import pytest

from r1lab.errors import RecipeError
from r1lab.objective import build, filled
from r1lab.objective.group import Demonstrations, DropZeroVariance
from r1lab.objective.presets import COMMON, PRESETS
from r1lab.objective.samples import samples_of_group, scaled
from r1lab.recipe import ObjectiveConfig
from r1lab.records import Role


def made(group_size=2, max_new_tokens=100, **knobs):
    return build(ObjectiveConfig(**knobs), max_new_tokens=max_new_tokens, group_size=group_size)


FROM_DEMONSTRATIONS = {"sft", "dft", "iw_sft", "gem", "one_token_rollout", "token_cleaning"}


def fields_of(name):
    """The objective of a preset's fields."""
    return build(ObjectiveConfig(**{**COMMON, **PRESETS[name].fields}), max_new_tokens=100, group_size=8)


@pytest.mark.parametrize("name", PRESETS)
def test_every_presets_fields_build_and_say_where_they_come_from(name):
    objective = fields_of(name)
    assert PRESETS[name].paper and PRESETS[name].formula and set(PRESETS[name].fields) <= set(COMMON)
    assert objective.rule.samples == (name not in FROM_DEMONSTRATIONS)


def test_which_presets_need_the_two_phase_head():
    assert {name for name in PRESETS if not made(preset=name, group_size=8).is_local} == {
        "iw_sft", "gspo", "luspo", "seq_mis", "geo_mask", "gmpo", "vespo", "srft", "dpo", "rpo", "ipo", "simpo",
        "deepseek_v3_2",
    }  # fmt: skip


def test_the_knobs_are_the_axes():
    assert set(ObjectiveConfig.model_fields) == {"preset", *COMMON}


@pytest.mark.parametrize("name, denominators", [
    ("default", [6, 6]), ("dapo", [6, 6]),  # 4 + 2 tokens
    ("grpo", [8, 4]),  # 2 sequences x its tokens
    ("dr_grpo", [200, 200]),  # 2 sequences x max_new_tokens
    ("reinforce", [2, 2]), ("rloo", [2, 2]), ("sft", [6, 6]),
])  # fmt: skip
def test_denominators_of_the_presets_by_hand(make_group, name, denominators):
    objective = made(preset=name)
    samples = scaled(objective, samples_of_group(objective, make_group([1.0, 0.0], lengths=[4, 2])), step=1)
    assert [sample.scale[0] for sample in samples] == pytest.approx([1 / z for z in denominators])


@pytest.mark.parametrize("name, advantages", [
    ("default", [0.5, -0.5]), ("dr_grpo", [0.5, -0.5]), ("rloo", [1, -1]), ("reinforce", [1, 0]),
    ("grpo", [2**-0.5, -(2**-0.5)]), ("dapo", [2**-0.5, -(2**-0.5)]),  # 0.5 / sqrt(0.5)
])  # fmt: skip
def test_advantages_of_the_presets_by_hand(make_group, name, advantages):
    samples = samples_of_group(made(preset=name), make_group([1.0, 0.0]))
    assert [sample.advantage.tolist() for sample in samples] == [pytest.approx([a] * 3, rel=1e-5) for a in advantages]


def test_presets_fill_in_clip_kl_and_rule():
    assert made().clip == (0.2, 0.28) and made(preset="grpo").clip == made(preset="dr_grpo").clip == (0.2, 0.2)
    assert made(preset="grpo").kl.coef == 0.04 and made().kl.coef == 0 and made().needs == frozenset()
    assert made(preset="reinforce").clip is None and made(preset="grpo").needs == {"ref"}
    assert isinstance(made(preset="dapo").rule, DropZeroVariance) and made(preset="dapo").max_draws == 3
    assert isinstance(made(preset="sft").rule, Demonstrations)


def test_the_default_leaves_out_groups_of_equal_rewards_where_these_teach_nothing():
    default = {"select": "drop_zero_variance", "by": "reward"}
    for knobs in (
        {},
        {"preset": "default"},
        {"advantage": "zscore"},
        {"kl": {"coef": 0.1}},
        {"entropy": {"coef": 0.1}},
    ):
        assert filled(ObjectiveConfig(**knobs))["group"] == default and made(**knobs).max_draws == 1
    in_reward = {"estimator": "k1", "coef": 0.1, "where": "reward"}
    for knobs in ({"advantage": "raw"}, {"advantage": {"use": "nsr"}}, {"advantage": "numpy:sin"}, {"kl": in_reward}):
        assert filled(ObjectiveConfig(**knobs))["group"] == {"select": "all"}
    for preset in ("grpo", "dr_grpo", "rloo", "lite_ppo", "cispo", "gspo", "sapo", "opo"):  # as their sources
        assert filled(ObjectiveConfig(preset=preset))["group"] == {"select": "all"}


def test_what_the_recipe_states_wins():
    objective = made(preset="grpo", clip_low=0.1, aggregate={"use": "const", "length": 7}, advantage="rloo")
    assert objective.clip == (0.1, 0.2) and objective.aggregate.fn(np.array([3])) == [7]
    assert objective.advantage.fn(np.array([1.0, 0.0])).tolist() == [1, -1]
    assert made(preset="dr_grpo", max_new_tokens=9).aggregate.fn(np.array([3])) == [9]


def test_a_mapping_is_overlaid_key_by_key_and_one_that_names_a_function_replaced():
    assert filled(ObjectiveConfig(preset="grpo", kl={"estimator": "k2"}))["kl"] == {"estimator": "k2", "coef": 0.04}
    kept = filled(ObjectiveConfig(preset="dapo", group={"refill": {"max_draws": 9}}))["group"]
    assert kept == {"select": "drop_zero_variance", "by": "score", "refill": {"max_draws": 9}}
    assert filled(ObjectiveConfig(preset="dapo", group={"select": "all"}))["group"] == {"select": "all"}
    assert filled(ObjectiveConfig(weight={"policy": "one"}))["weight"] == {"policy": "one", "demo": "one"}
    assert filled(ObjectiveConfig(correction="none"))["correction"] == "none"


def test_a_weights_own_clip_is_the_one_reported():
    assert made(weight={"policy": {"use": "ppo", "clip_low": 0.05}}).clip == (0.05, 0.28)


def test_a_presets_clip_goes_with_its_weight_and_a_stated_one_is_a_contradiction():
    assert made(weight={"policy": "one"}).clip is None
    with pytest.raises(RecipeError, match=r"^objective: clip_low with weights that do not clip .*take the clip away"):
        made(weight={"policy": "one"}, clip_low=0.1)
    with pytest.raises(RecipeError, match=r"^objective: clip_high with weights that do not clip"):
        made(preset="reinforce", clip_high=0.1)


@pytest.mark.parametrize("name", ["default", "grpo", "dapo", "rloo"])
def test_an_advantage_that_compares_members_needs_two(name):
    with pytest.raises(RecipeError, match=r"^group_size: 1 with advantage .*use group_size >= 2 or advantage: raw"):
        made(preset=name, group_size=1)
    assert made(preset=name, group_size=1, advantage="raw")


@pytest.mark.parametrize("knobs, says", [
    ({"preset": "gpro"}, "objective.preset: 'gpro' .*did you mean 'grpo'"),
    ({"preset": "math:pi"}, "objective.preset: 'math:pi' is 3.1.*no Preset"),
    ({"advantage": "means"}, "objective.advantage: .*did you mean 'mean'"),
    ({"weight": {"policy": "pppo"}}, "objective.weight.policy: .*did you mean 'ppo'"),
    ({"aggregate": "token-mean"}, "did you mean 'token_mean'"),
    ({"aggregate": {"use": "const", "length": 0}}, "objective.aggregate: .*denominator that is not above 0"),
    ({"aggregate": {"use": "const", "length": 1.5}}, "objective.aggregate.length: 1.5 must be a whole number"),
    ({"correction": {"use": "tis", "cap": "two"}}, "objective.correction.cap: 'two' must be a finite number"),
    ({"correction": "tiss"}, "did you mean 'tis'"),
    ({"mix": "nome"}, "objective.mix: .*did you mean 'none'"),
    ({"mix": {"use": "constant"}}, "objective.mix: 'constant' is none of none"),
    ({"mask": "clip_conv"}, "objective.mask: 'clip_conv' .*did you mean 'clip_cov'"),
    ({"mask": ["off_policy", {"use": "kl_cov", "coeff": 1}]}, "objective.mask: unknown setting 'coeff'"),
    ({"kl": {"estimator": "k4"}}, "objective.kl.estimator: 'k4'"),
])  # fmt: skip
def test_what_is_wrong_is_one_clear_line(knobs, says):
    with pytest.raises(RecipeError, match=says) as error:
        made(**knobs)
    assert "\n" not in str(error.value)


def test_no_preset_has_a_weight_for_tokens_that_are_never_trained():
    assert all(Role.CONTEXT not in fields_of(name).weight for name in PRESETS)


def test_every_preset_is_held_against_its_source():
    pages = (Path(__file__).parents[1] / "sources").glob("test_*.py")
    held = {name for page in pages for name in re.findall(r'"(\w+)"(?=:)', page.read_text())}
    assert set(PRESETS) <= held
