"""What keys of TRL, verl and OpenRLHF say together is computed: a step's size, its count, the objective; and the
defaults that differ are told once."""

import pytest
import yaml

from r1lab.errors import RecipeError
from r1lab.objective import filled
from r1lab.recipe import ObjectiveConfig
from r1lab.recipe.load import resolve
from r1lab.recipe.porting import CONVERTED, DEFAULTS, TELLING, defaults, together

ONE = {"data": {"task": "addition"}, "steps": 3}


def said(**given) -> str:
    return "\n".join(text for _, text in together(given))


def refused(raw: dict) -> list[str]:
    with pytest.raises(RecipeError) as error:
        resolve(raw)
    return str(error.value).split("\n")


@pytest.mark.parametrize(("given", "here"), [
    # TRL: a batch is counted in completions: 8 x 4 / 8 = 4 problems.
    ({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "num_generations": 8},
     "prompts_per_step: 4, group_size: 8"),
    ({"per_device_train_batch_size": 16, "num_generations": 4}, "prompts_per_step: 4, group_size: 4"),
    ({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}, "prompts_per_step: 2, group_size: 8"),
    ({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "group_size": 4},
     "prompts_per_step: 4, group_size: 4"),
    ({"generation_batch_size": 64, "num_generations": 16}, "prompts_per_step: 4, group_size: 16"),
    ({"generation_batch_size": 64, "num_generations": 16, "per_device_train_batch_size": 32},
     "prompts_per_step: 4, group_size: 16, updates_per_step: 2"),
    ({"per_device_train_batch_size": 8, "steps_per_generation": 4, "num_generations": 8},
     "prompts_per_step: 4, group_size: 8, updates_per_step: 4"),
    ({"per_device_train_batch_size": "8", "gradient_accumulation_steps": "4", "num_generations": "8"},
     "prompts_per_step: 4, group_size: 8"),
    # verl: in prompts.
    ({"train_batch_size": 1024, "ppo_mini_batch_size": 256, "n": 5},
     "prompts_per_step: 1024, updates_per_step: 4, group_size: 5"),
    ({"train_batch_size": 64, "ppo_mini_batch_size": 64}, "prompts_per_step: 64, updates_per_step: 1"),
    # OpenRLHF: the rollouts' in prompts, training's in completions.
    ({"rollout_batch_size": 128, "n_samples_per_prompt": 8, "train_batch_size": 256},
     "prompts_per_step: 128, group_size: 8, updates_per_step: 4"),
])  # fmt: skip
def test_a_batch_is_computed_from_its_parts(given, here):
    assert f"`{here}` here" in said(**given)


@pytest.mark.parametrize(("given", "here"), [
    ({"max_steps": 100, "num_iterations": 2}, "`steps: 50, reuse: 2`"),
    ({"max_steps": 100, "num_iterations": 1}, ""),
    ({"max_steps": 100, "steps_per_generation": 4}, "`steps: 25`"),
    ({"max_steps": 100, "steps_per_generation": 8, "gradient_accumulation_steps": 4, "num_iterations": 2},
     "`steps: 25, reuse: 2`"),
    ({"max_steps": 100, "gradient_accumulation_steps": 4}, ""),
    ({"max_steps": 100, "generation_batch_size": 64, "per_device_train_batch_size": 16}, "`steps: 25`"),
    ({"max_steps": 100}, ""),
    ({"max_steps": -1, "num_iterations": 2}, ""),
    ({"max_steps": 1, "num_iterations": 4}, "`steps: 1, reuse: 4`"),
    ({"eval_steps": 20, "num_iterations": 2}, "`eval.every: 10`"),
    ({"save_steps": 0.1, "num_iterations": 2}, ""),
    ({"save_steps": 100, "num_iterations": 4}, "`checkpoint_every: 25`"),
])  # fmt: skip
def test_what_trl_counts_in_updates_is_counted_in_steps(given, here):
    assert here in said(**given) and bool(said(**given)) == bool(here)


@pytest.mark.parametrize("given", [
    {"per_device_train_batch_size": 8}, {"num_generations": 8}, {"num_generations": 8, "max_completion_length": 256},
    {"per_device_train_batch_size": "auto", "num_generations": 8}, {"train_batch_size": 1024},
    {"per_device_train_batch_size": True, "num_generations": 8}, {"train_batch_size": None, "ppo_mini_batch_size": 8},
    {"scale_rewards": False}, {"beta": 0.04}, {"loss_type": "vespo"}, {"loss_type": ["odd"]},
    {"loss_type": "grpo", "beta": "odd"}, {"adv_estimator": "gae"}, {"adv_estimator": ["grpo"]}, {"use_kl_loss": True},
])  # fmt: skip
def test_what_says_nothing_together_is_left_to_each_key(given):
    assert said(**given) == ""


@pytest.mark.parametrize("given", [
    {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_generations": 6},
    {"train_batch_size": 100, "ppo_mini_batch_size": 64},
])  # fmt: skip
def test_a_batch_of_no_whole_parts_is_said(given):
    assert said(**given).startswith("no whole number of ")


BASE = {"advantage": "zscore", "clip": (0.2, 0.2), "kl": 0.0, "aggregate": "seq_token_mean", "policy": "ppo"}


@pytest.mark.parametrize(("given", "preset", "means"), [
    ({"loss_type": "grpo"}, "grpo", {}),
    ({"loss_type": "grpo", "beta": 0.04}, "grpo", {"kl": 0.04}),
    ({"loss_type": "grpo", "scale_rewards": False}, "grpo", {"advantage": "mean"}),
    ({"loss_type": "dr_grpo", "scale_rewards": False}, "dr_grpo", {"advantage": "mean", "aggregate": "const"}),
    ({"loss_type": "dr_grpo"}, "dr_grpo", {"aggregate": "const"}),
    ({"loss_type": "dr_grpo", "scale_rewards": "none", "beta": 0.01}, "dr_grpo",
     {"advantage": "mean", "aggregate": "const", "kl": 0.01}),
    ({"loss_type": "bnpo"}, "dapo", {"aggregate": "token_mean"}),
    ({"loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.28}, "dapo",
     {"aggregate": "token_mean", "clip": (0.2, 0.28)}),
    ({"loss_type": "dapo", "scale_rewards": "batch"}, "lite_ppo",
     {"aggregate": "token_mean", "advantage": {"use": "mean", "scale": "batch_std"}}),
    ({"loss_type": "dapo", "scale_rewards": "mean"}, "max_rl", {"aggregate": "token_mean", "advantage": "max_rl"}),
    ({"loss_type": "grpo", "scale_rewards": "batch"}, "grpo", {"advantage": {"use": "mean", "scale": "batch_std"}}),
    ({"adv_estimator": "grpo", "loss_agg_mode": "seq-mean-token-sum"}, None, {"aggregate": "seq_token_sum"}),
    ({"loss_type": "dapo", "scale_rewards": False}, None, {"aggregate": "token_mean", "advantage": "mean"}),
    ({"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": "3e-4", "epsilon_high": 4e-4}, "gspo",
     {"clip": (3e-4, 4e-4), "policy": "gspo"}),
    ({"adv_estimator": "grpo"}, "dapo", {"aggregate": "token_mean"}),
    ({"adv_estimator": "grpo", "use_kl_loss": True, "kl_loss_coef": 0.001}, "dapo",
     {"aggregate": "token_mean", "kl": 0.001}),
    ({"adv_estimator": "grpo", "use_kl_loss": False, "kl_loss_coef": 0.001}, "dapo", {"aggregate": "token_mean"}),
    ({"adv_estimator": "grpo", "norm_adv_by_std_in_grpo": False, "loss_agg_mode": "seq-mean-token-sum-norm"}, "dr_grpo",
     {"advantage": "mean", "aggregate": "const"}),
    ({"adv_estimator": "grpo", "loss_agg_mode": "seq-mean-token-mean", "clip_ratio_high": 0.28}, "grpo",
     {"clip": (0.2, 0.28)}),
    ({"adv_estimator": "rloo"}, None, {"advantage": "rloo", "aggregate": "token_mean"}),
])  # fmt: skip
def test_an_objective_of_several_keys_names_the_preset_and_is_what_they_mean(given, preset, means):
    (line,) = (text for text in said(**given).split("\n") if text.startswith("`objective: "))
    fields = filled(ObjectiveConfig(**(stated := yaml.safe_load(line.split("`")[1])["objective"])))
    meant = {**BASE, **means}
    assert stated.get("preset") == preset
    assert (fields["advantage"], fields["aggregate"]) == (meant["advantage"], meant["aggregate"])
    assert (fields["clip_low"], fields["clip_high"]) == meant["clip"]
    assert (fields["kl"]["coef"], fields["weight"]["policy"]) == (meant["kl"], meant["policy"])
    assert fields["group"]["select"] == "all"  # theirs stay in the mean


def test_a_coefficient_that_is_switched_off_is_left_out():
    assert said(use_kl_loss=False, kl_loss_coef=0.001).startswith("left out here")
    assert said(use_kl_in_reward=True, kl_coef=0.01) == (
        "`objective.kl: {estimator: k1, coef: 0.01, where: reward}` here"
    )


TRL = {
    "num_generations": 8, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "loss_type": "dr_grpo",
    "scale_rewards": False, "max_steps": 100, "num_iterations": 2, "report_to": "wandb", "learning_rate": 1e-5,
}  # fmt: skip


def test_a_configuration_of_trl_is_told_of_a_line_each_and_the_defaults_once_at_the_end():
    first, *lines, last = refused({"data": {"task": "addition"}, **TRL})
    assert first == "8 unknown keys:" and all(line.startswith("  ") for line in [*lines, last])
    assert lines == [
        "  `num_generations`, `per_device_train_batch_size`, `gradient_accumulation_steps`: `prompts_per_step: 4, "
        "group_size: 8` here (8 x 4 / 8 problems a step on one device, times their number on several; "
        "micro_batch_tokens alone bounds memory)",
        "  `loss_type`, `scale_rewards`: `objective: {preset: dr_grpo}` here",
        "  `max_steps`, `num_iterations`: `steps: 50, reuse: 2` here (100 / 2: there updates are counted, a step here "
        "has 2)",
        "  `report_to` is `trackers: [wandb]` here",
        "  steps: missing in stage 'rl'; say how many, or set stop.max_tokens or epochs",
    ]
    assert last.startswith("  defaults here, in parentheses TRL's: correction tis, cap 2")
    assert "beta2 0.95 (0.999)" in last and "no KL" in last and "clip" not in last


VERL = {
    "data": {"train_batch_size": 1024, "train_files": "a.parquet", "max_response_length": 1024},
    "actor_rollout_ref": {
        "actor": {"ppo_mini_batch_size": 256, "use_kl_loss": True, "kl_loss_coef": 0.001, "optim": {"lr": 1e-6}},
        "rollout": {"n": 5},
    },
    "algorithm": {"adv_estimator": "grpo", "use_kl_in_reward": False, "kl_ctrl": {"kl_coef": 0.001}},
    "trainer": {"total_epochs": 15, "logger": ["console", "wandb"]},
}


def test_nested_sections_and_overrides_of_verl_are_told_of_alike():
    lines = refused(VERL)
    for part in ("`data.train_batch_size`: `prompts_per_step: 1024, updates_per_step: 4, group_size: 5` here",
                 "`objective: {preset: dapo, group: {select: all}, clip_high: 0.2, kl: {coef: 0.001}}` here",
                 "`trainer.logger` is `trackers: [wandb]` here", "`trainer.total_epochs` is `epochs` here",
    ):  # fmt: skip
        assert sum(part in line for line in lines) == 1
    flat = {"actor_rollout_ref.rollout.n": 5, "data.train_batch_size": 1024,
            "actor_rollout_ref.actor.ppo_mini_batch_size": 256}  # fmt: skip
    assert "`prompts_per_step: 1024, updates_per_step: 4, group_size: 5` here" in refused({**ONE, **flat})[1]


def test_two_typing_mistakes_or_one_key_of_another_library_stay_one_line():
    assert len(refused({**ONE, "learning_rat": 1, "group_sise": 2})) == 1
    assert refused({**ONE, "num_generations": 8}) == ["num_generations: unknown key; it is `group_size` here"]


def test_a_default_that_is_stated_is_not_told_of():
    given = dict.fromkeys(("num_generations", "max_completion_length"), 8)
    assert "beta2" in defaults(given) and "beta2" not in defaults({**given, "adam_beta2": 0.99})
    assert "prompt.format" not in defaults({**given, "prompt": {}})
    assert defaults({"num_generations": 8}) == "" and defaults({}) == ""
    assert set(DEFAULTS) == set(TELLING) == set(CONVERTED)
    assert "r1lab convert trl CONFIG" in defaults(given)
