"""What keys of TRL, verl and OpenRLHF in a recipe are told to be is what `r1lab convert` writes; their defaults come
once."""

import json
import re

import pytest
import yaml

from r1lab.conversion.convert import TRAINERS, convert
from r1lab.conversion.porting import LIBRARIES, told
from r1lab.errors import RecipeError
from r1lab.recipe.load import parse_yaml, resolve

ONE = {"data": {"task": "addition"}, "steps": 3}
SAID = re.compile(r"`(\w+: [^`]*)` here")
"""`` `steps: 50` here ``; not `` `data.path` here ``."""


def said(given: dict, stated: dict | None = None) -> dict:
    """The recipe that the lines say."""
    lines, _ = told(given, stated or {})
    texts = [text for listed in lines.values() for text in listed]
    return {key: value for text in texts for each in SAID.findall(text) for key, value in yaml.safe_load(each).items()}


def refused(raw: dict) -> list[str]:
    with pytest.raises(RecipeError) as error:
        resolve(raw)
    return str(error.value).split("\n")


@pytest.mark.parametrize(("given", "here"), [
    # TRL: a batch is counted in completions: 8 x 4 / 8 = 4 problems.
    ({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "num_generations": 8},
     {"prompts_per_step": 4, "group_size": 8}),
    ({"per_device_train_batch_size": 16, "num_generations": 4}, {"prompts_per_step": 4, "group_size": 4}),
    ({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}, {"prompts_per_step": 2}),
    ({"generation_batch_size": 64, "num_generations": 16, "per_device_train_batch_size": 32},
     {"prompts_per_step": 4, "group_size": 16, "updates_per_step": 2}),
    ({"per_device_train_batch_size": 8, "steps_per_generation": 4, "num_generations": 8},
     {"prompts_per_step": 4, "group_size": 8, "updates_per_step": 4}),
    # It counts updates, of which a block has num_iterations x steps_per_generation / gradient_accumulation_steps.
    ({"max_steps": 100, "num_iterations": 2}, {"steps": 50, "reuse": 2}),
    ({"max_steps": 100, "steps_per_generation": 4}, {"steps": 25, "prompts_per_step": 4, "updates_per_step": 4}),
    ({"max_steps": 100, "steps_per_generation": 8, "gradient_accumulation_steps": 4, "num_iterations": 2},
     {"steps": 25, "prompts_per_step": 8, "updates_per_step": 2, "reuse": 2}),
    ({"max_steps": 1, "num_iterations": 4}, {"steps": 1, "reuse": 4}),
    ({"save_steps": 100, "num_iterations": 4}, {"checkpoint_every": 25, "reuse": 4}),
    ({"warmup_ratio": 0.1, "max_steps": 100}, {"steps": 100, "optimizer": {"schedule": "linear", "warmup_updates": 10,
                                                                           "beta2": 0.999}}),
    # verl: in prompts.
    ({"train_batch_size": 1024, "ppo_mini_batch_size": 256, "n": 5},
     {"prompts_per_step": 1024, "updates_per_step": 4, "group_size": 5}),
    ({"data.train_batch_size": 64, "ppo_mini_batch_size": 64}, {"prompts_per_step": 64, "updates_per_step": 1}),
    # OpenRLHF: the rollouts' in prompts, training's in completions.
    ({"rollout_batch_size": 128, "n_samples_per_prompt": 8, "train_batch_size": 256},
     {"prompts_per_step": 128, "group_size": 8, "updates_per_step": 4}),
])  # fmt: skip
def test_sizes_are_computed_from_their_parts(given, here):
    assert said(given) == here


def test_a_key_of_the_recipes_own_counts_and_is_not_said_again():
    given = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
    assert said(given, {"group_size": 4}) == {"prompts_per_step": 4}
    both = {"loss_type": "grpo", "num_generations": 8, "beta": 0.04}
    assert said(both, {"objective": {"preset": "grpo"}}) == {"group_size": 8}
    assert "defaults" in told(both, {})[1][0] and "objective" not in told(both, {"objective": {}})[1][0]


@pytest.mark.parametrize("given", [
    {"num_generations": 8}, {"train_batch_size": 1024}, {"learning_rat": 1, "group_sise": 2}, {"beta": 0.1, "odd": 1},
    {"num_generations": "eight", "beta": 0.1}, {"per_device_train_batch_size": 8, "num_generations": 6},
    {"loss_type": ["odd"], "num_generations": True}, {"train_batch_size": "many", "ppo_mini_batch_size": 8}, {},
])  # fmt: skip
def test_one_key_and_values_that_cannot_be_leave_each_key_to_its_name(given):
    lines, _ = told(given, {})
    assert not lines


def test_a_batch_of_no_whole_parts_is_said():
    (line,) = told({"per_device_train_batch_size": 8, "num_generations": 6}, {})[1]
    assert "8 completions, no whole number of groups of 6" in line
    assert "must be a number" in refused({**ONE, "num_generations": "eight", "beta": 0.1})[-1]


TRL = [
    {"num_generations": 8, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "loss_type": "dr_grpo",
     "scale_rewards": False, "max_steps": 100, "num_iterations": 2, "report_to": "wandb", "learning_rate": 1e-5},
    {"loss_type": "grpo", "beta": 0.04, "max_steps": 10},
    {"loss_type": "dr_grpo", "epsilon_high": 0.28, "max_steps": 10},
    {"loss_type": "dapo", "scale_rewards": "batch", "max_steps": 10},
    {"loss_type": "cispo", "epsilon_high": 5.0, "max_steps": 10, "use_vllm": True},
    {"loss_type": "sapo", "sapo_temperature_pos": 0.9, "max_steps": 10, "warmup_steps": 5, "adam_beta2": 0.99},
    {"importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4, "max_steps": 10},
    {"beta": 0.01, "use_bias_correction_kl": False, "sync_ref_model": True, "max_steps": 1000, "num_iterations": 2},
    {"mask_truncated_completions": True, "top_entropy_quantile": 0.2, "entropy_coef": 0.01, "max_steps": 10},
    {"use_peft": True, "lora_r": 8, "max_completion_length": 256, "num_train_epochs": 2, "top_p": 0.9},
]  # fmt: skip
VERL = [
    {"algorithm.adv_estimator": "grpo", "actor_rollout_ref.actor.use_kl_loss": True, "trainer.total_epochs": 15,
     "actor_rollout_ref.actor.kl_loss_coef": 0.001, "actor_rollout_ref.rollout.n": 5, "data.train_batch_size": 1024},
    {"algorithm.adv_estimator": "grpo", "algorithm.norm_adv_by_std_in_grpo": False, "actor_rollout_ref.rollout.n": 8,
     "actor_rollout_ref.actor.loss_agg_mode": "seq-mean-token-sum-norm"},
    {"algorithm.adv_estimator": "rloo", "actor_rollout_ref.rollout.n": 8, "algorithm.use_kl_in_reward": True},
    {"algorithm.adv_estimator": "grpo", "algorithm.filter_groups.enable": True, "actor_rollout_ref.rollout.n": 8,
     "algorithm.filter_groups.metric": "acc", "data.train_batch_size": 512, "trainer.total_training_steps": 100},
]  # fmt: skip


@pytest.mark.parametrize(
    ("trainer", "given"), [*(("trl", each) for each in TRL), *(("verl", each) for each in VERL)]
)  # fmt: skip
def test_what_is_said_is_what_convert_writes(tmp_path, trainer, given):
    file = tmp_path / "config"
    texts = (f"{key}={json.dumps(value)}" for key, value in given.items())
    file.write_text(json.dumps(given) if trainer == "trl" else "\n".join(texts))
    recipe = parse_yaml(convert(trainer, file)[0], "recipe")
    unknown = {key: value for key, value in given.items() if key != "learning_rate"}  # a key of ours too
    here, (last,) = said(unknown, {}), told(unknown, {})[1]
    assert here and {key: recipe[key] for key in here} == here
    defaults = [yaml.safe_load(each) for each in re.findall(r"`(\w+: [^`]*)`", last)]
    assert all(recipe[key] == value for each in defaults for key, value in each.items())
    assert {*here, *(key for each in defaults for key in each)} >= {*recipe} - {
        "name",
        "model",
        "data",
        "verifier",
        "engine",
        "epochs",
        "learning_rate",
    }


def test_a_configuration_of_trl_is_told_of_a_line_each_and_the_defaults_once_at_the_end():
    first, *lines, last = refused({"data": {"task": "addition"}, **TRL[0]})
    assert first == "8 unknown keys:" and all(line.startswith("  ") for line in [*lines, last])
    assert lines == [
        "  `num_generations` is `group_size: 8` here",
        "  `per_device_train_batch_size`, `gradient_accumulation_steps`: `prompts_per_step: 4` here (counted in "
        "problems: 8 x 1 processes x 4 / 8)",
        "  `loss_type`, `scale_rewards`: `objective: {group: {select: all}, advantage: mean, clip_low: 0.2, clip_high: "
        "0.2, aggregate: const, correction: none}` here (groups of equal rewards stay in the mean)",
        "  `max_steps` is `steps: 50` here (there updates are counted, and a step here has 2)",
        "  `num_iterations` is `reuse: 2` here",
        "  `report_to` is `trackers: [wandb]` here",
        "  steps: missing in stage 'rl'; say how many, or set stop.max_tokens or epochs",
    ]
    assert last == (
        "  TRL's defaults that differ here: `prompt: {format: '{prompt}'}`, `max_new_tokens: 512`, `optimizer: "
        "{schedule: linear, warmup_updates: 0, beta2: 0.999}`; r1lab convert trl CONFIG makes a recipe of it all"
    )


NESTED = {
    "data": {"train_batch_size": 1024, "train_files": "a.parquet", "max_response_length": 1024},
    "actor_rollout_ref": {
        "actor": {"ppo_mini_batch_size": 256, "use_kl_loss": True, "kl_loss_coef": 0.001, "optim": {"lr": 1e-6}},
        "rollout": {"n": 5},
    },
    "algorithm": {"adv_estimator": "grpo", "use_kl_in_reward": False, "kl_ctrl": {"kl_coef": 0.001}},
    "trainer": {"total_epochs": 15, "logger": ["console", "wandb"]},
}


def test_nested_sections_and_overrides_of_verl_are_told_of_alike():
    lines = refused(NESTED)
    for part in ("`data.train_batch_size` is `prompts_per_step: 1024` here",
                 "kl: {estimator: k3, coef: 0.001}", "`actor_rollout_ref.rollout.n` is `group_size: 5` here",
                 "`trainer.logger` is `trackers: [wandb]` here", "`trainer.total_epochs` is `epochs: 15.0` here",
    ):  # fmt: skip
        assert sum(part in line for line in lines) == 1, part
    flat = {"actor_rollout_ref.rollout.n": 5, "data.train_batch_size": 1024,
            "actor_rollout_ref.actor.ppo_mini_batch_size": 256}  # fmt: skip
    assert said(flat) == {"prompts_per_step": 1024, "updates_per_step": 4, "group_size": 5}
    assert "`data.train_batch_size` is `prompts_per_step: 1024` here" in "\n".join(refused({**ONE, **flat}))


def test_a_value_of_several_lines_or_of_many_parts_stays_one_line():
    stops = [f"stop {number}" for number in range(1000)]
    lines, _ = told({"system_prompt": "a\nb", "generation_kwargs": {"stop": stops}, "max_steps": 3}, {})
    texts = [text for listed in lines.values() for text in listed]
    assert len(texts) == 3 and all("\n" not in text and len(text) < 800 for text in texts)


def test_what_is_switched_off_or_has_no_counterpart_is_said():
    lines, _ = told({"use_kl_loss": False, "kl_loss_coef": 0.001, "adv_estimator": "grpo"}, {})
    assert "kl" not in said({"use_kl_loss": False, "kl_loss_coef": 0.001, "adv_estimator": "grpo"})["objective"]
    lines, _ = told({"fp16": True, "loss_type": "dppo", "use_vllm": True}, {})
    assert lines["fp16"] == ["`fp16` has no key here (float16 is not trained in)"]
    assert "another objective than dppo" in lines["loss_type"][0]


def test_two_typing_mistakes_or_one_key_of_another_library_stay_one_line():
    assert len(refused({**ONE, "learning_rat": 1, "group_sise": 2})) == 1
    assert refused({**ONE, "num_generations": 8}) == ["num_generations: unknown key; it is `group_size` here"]


def test_a_default_that_is_stated_is_not_told_of():
    given = {"num_generations": 8, "max_completion_length": 64}
    assert "optimizer" in told(given, {})[1][0] and "optimizer" not in told(given, {"optimizer": {}})[1][0]
    assert "`prompt:" in told(given, {})[1][0] and "`prompt:" not in told(given, {"prompt": {}})[1][0]
    assert "epochs" not in told(given, {"steps": 3})[1][0]
    assert told({"num_generations": 8}, {}) == ({}, [])
    assert {library for _, library in TRAINERS.values()} < set(LIBRARIES)
