"""Configs that people have of TRL and verl become recipes that load, with every key in the table."""

import json

import numpy as np
import pytest
import yaml

from r1lab.conversion import configs, trl, verl
from r1lab.conversion.convert import convert
from r1lab.conversion.translation import DEFAULT, DIFFERS, FILL, NONE
from r1lab.errors import RecipeError
from r1lab.objective import build
from r1lab.recipe import load
from r1lab.recipe.load import parse_yaml

OPEN_R1 = {
    # the numbers of open-r1's recipes/Qwen2.5-Math-7B/grpo/config_simple_rl.yaml, which ran on 7 trainers of 8 GPUs
    "model_name_or_path": "Qwen/Qwen2.5-Math-7B", "torch_dtype": "bfloat16", "dataset_config": "default",
    "dataset_name": "DigitalLearningGmbH/MATH-lighteval", "dataset_prompt_column": "problem", "do_eval": True,
    "system_prompt": "Think first.", "bf16": True, "use_vllm": True, "vllm_gpu_memory_utilization": 0.7,
    "attn_implementation": "flash_attention_2",
    "eval_strategy": "steps", "eval_steps": 100, "gradient_accumulation_steps": 8, "gradient_checkpointing": True,
    "learning_rate": 3.0e-06, "lr_scheduler_type": "cosine", "max_prompt_length": 512, "max_completion_length": 1024,
    "max_steps": -1, "num_generations": 7, "num_train_epochs": 1, "output_dir": "data/Qwen-2.5-7B-Simple-RL",
    "per_device_train_batch_size": 16, "reward_funcs": ["accuracy", "format"], "reward_weights": [1.0, 1.0],
    "report_to": ["wandb"], "save_strategy": "no", "seed": 42, "warmup_ratio": 0.1, "log_completions": True,
}  # fmt: skip
VERL = r"""
set -x  # the numbers of verl's examples/grpo_trainer/run_qwen2-7b_math.sh
gsm8k_train_path=$HOME/data/gsm8k/train.parquet
math_train_path=$HOME/data/math/train.parquet
train_files="['$gsm8k_train_path', '$math_train_path']"
test_files="['$HOME/data/gsm8k/test.parquet', '$HOME/data/math/test.parquet']"
python3 -m verl.trainer.main_ppo \
    algorithm.adv_estimator=grpo \
    data.train_files="$train_files" \
    data.val_files="$test_files" \
    data.train_batch_size=1024 \
    data.max_prompt_length=1024 \
    data.max_response_length=1024 \
    data.filter_overlong_prompts=True \
    actor_rollout_ref.model.path=Qwen/Qwen2-7B-Instruct \
    actor_rollout_ref.actor.optim.lr=1e-6 \
    actor_rollout_ref.actor.ppo_mini_batch_size=256 \
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=16 \
    actor_rollout_ref.actor.use_kl_loss=True \
    actor_rollout_ref.actor.kl_loss_coef=0.001 \
    actor_rollout_ref.actor.kl_loss_type=low_var_kl \
    actor_rollout_ref.actor.entropy_coeff=0 \
    actor_rollout_ref.rollout.tensor_model_parallel_size=2 \
    actor_rollout_ref.rollout.name=vllm \
    actor_rollout_ref.rollout.gpu_memory_utilization=0.6 \
    actor_rollout_ref.rollout.n=5 \
    algorithm.use_kl_in_reward=False \
    trainer.logger=['console','wandb'] \
    trainer.experiment_name='qwen2_7b_function_rm' \
    trainer.n_gpus_per_node=8 \
    trainer.save_freq=20 \
    trainer.test_freq=5 \
    trainer.total_epochs=15 $@
"""
DAPO = {
    # of verl's recipe/dapo/run_dapo_qwen2.5_32b.sh, as its shell computes them
    "data.train_files": "dapo-math-17k.parquet", "data.train_batch_size": 512, "data.gen_batch_size": 1536,
    "data.max_response_length": 20480, "actor_rollout_ref.rollout.n": 16, "algorithm.adv_estimator": "grpo",
    "actor_rollout_ref.actor.clip_ratio_low": 0.2, "actor_rollout_ref.actor.clip_ratio_high": 0.28,
    "algorithm.filter_groups.enable": True, "algorithm.filter_groups.metric": "acc",
    "algorithm.filter_groups.max_num_gen_batches": 10, "actor_rollout_ref.actor.ppo_mini_batch_size": 32,
    "actor_rollout_ref.actor.optim.lr_warmup_steps": 10, "actor_rollout_ref.actor.optim.weight_decay": 0.1,
    "custom_reward_function.overlong_buffer.enable": True, "custom_reward_function.overlong_buffer.len": 4096,
    "custom_reward_function.overlong_buffer.penalty_factor": 1.0, "trainer.total_epochs": 1,
}  # fmt: skip


def made(tmp_path, trainer, given, **more):
    file = tmp_path / ("config.yaml" if trainer == "trl" else "overrides.txt")
    if not isinstance(given, str):
        lines = "\n".join(f"{key}={value}" for key, value in given.items())
        given = yaml.safe_dump(given) if trainer == "trl" else lines
    file.write_text(given)
    text, table = convert(trainer, file, **more)
    recipe = parse_yaml(text, "recipe")
    (stage,) = load.resolve(recipe).stages
    return recipe, stage, table


def test_a_public_config_of_trl_becomes_a_recipe(tmp_path):
    recipe, stage, table = made(tmp_path, "trl", OPEN_R1, processes=7)
    assert (stage.prompts_per_step, stage.group_size, stage.updates_per_step, stage.reuse) == (128, 7, 1, 1)
    assert (stage.max_new_tokens, stage.epochs, stage.steps, stage.learning_rate) == (1024, 1.0, None, 3e-6)
    assert recipe["objective"] == {
        "group": {"select": "all"}, "advantage": {"use": "zscore", "epsilon": 1e-4}, "clip_low": 0.2, "clip_high": 0.2,
        "aggregate": "token_mean", "correction": {"use": "icepop", "low": 0.0, "high": 3.0, "level": "seq_sum"},
    }  # fmt: skip
    assert recipe["optimizer"] == {"schedule": "cosine", "warmup_updates": 0, "beta2": 0.999}
    assert (recipe["verifier"], recipe["reward"]) == ("math", {"score": 1.0, "format": 1.0})
    assert recipe["data"]["columns"] == {"prompt": "problem", "answer": "solution"}
    assert recipe["eval"]["every"] == 100 and recipe["eval"]["sets"]["held_out"]["split"] == "test"
    assert recipe["engine"] == {"kind": "vllm", "gpu_memory_utilization": 0.7}
    assert "counted in problems: 16 x 7 processes x 8 / 7" in table
    assert "optimizer.warmup_updates: 0" in table.partition("\n")[2].partition("\n")[0], (
        "what is to fill in comes first"
    )


def test_a_public_script_of_verl_becomes_a_recipe(tmp_path):
    recipe, stage, table = made(tmp_path, "verl", VERL)
    assert (stage.prompts_per_step, stage.group_size, stage.updates_per_step, stage.reuse) == (1024, 5, 4, 1)
    assert [source.path for source in stage.data.values()] == [
        "~/data/gsm8k/train.parquet",
        "~/data/math/train.parquet",
    ]
    assert {name: source.path for name, source in stage.eval.sets.items()} == {
        "gsm8k": "~/data/gsm8k/test.parquet", "math": "~/data/math/test.parquet"
    }  # fmt: skip
    assert recipe["objective"] == {
        "group": {"select": "all"}, "advantage": "zscore", "weight": {"policy": {"use": "ppo", "dual": 3.0}},
        "clip_low": 0.2, "clip_high": 0.2, "aggregate": "token_mean", "kl": {"estimator": "k3", "coef": 0.001},
        "correction": "none",
    }  # fmt: skip
    assert recipe["optimizer"] == {"schedule": "constant", "warmup_updates": 0, "beta2": 0.999, "weight_decay": 0.01}
    assert (stage.epochs, stage.checkpoint_every, stage.eval.every, stage.eval.temperature) == (15.0, 20, 5, 0.0)
    assert stage.prompt.template == "chat" and recipe["engine"]["tensor_parallel"] == 2
    assert "1024 / 256" in table and "drawn from alike" in table


def test_dapos_script_becomes_what_the_shipped_recipe_says(tmp_path):
    recipe, stage, _ = made(tmp_path, "verl", DAPO)
    ((shipped,),) = (load.resolve(*load.read("dapo_qwen2.5_32b")).stages,)
    for key in ("prompts_per_step", "group_size", "updates_per_step", "max_new_tokens", "learning_rate"):
        assert getattr(stage, key) == getattr(shipped, key), key
    assert recipe["objective"]["group"] == {
        "select": "drop_zero_variance", "by": "score", "refill": {"max_draws": 30}
    }, "10 batches of 1536 for 512"  # fmt: skip
    assert recipe["reward"] == {"score": 1.0, "soft_overlong": {"buffer": 4096, "weight": 1.0}}
    assert recipe["optimizer"]["warmup_updates"] == 160, "10 steps of 16 updates"


@pytest.mark.parametrize("trainer, given", [("trl", OPEN_R1), ("verl", VERL)])
def test_what_was_made_passes_a_dry_run(tmp_path, monkeypatch, trainer, given):
    from r1lab.stages.dry_run import dry_run

    recipe, *_ = made(tmp_path, trainer, given, processes=7)
    for name, asked in (("train", "What is {0}+{0}?"), ("test", "Add {0} to {0}.")):
        texts = [asked.format(number) for number in range(8)]
        rows = [{"problem": text, "prompt": [{"role": "user", "content": text}], "solution": str(2 * number),
                 "reward_model": {"ground_truth": str(2 * number)}} for number, text in enumerate(texts)]  # fmt: skip
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.chdir(tmp_path)
    recipe |= {"model": "embedded", "engine": "local", "max_new_tokens": 32, "trackers": []}
    columns = recipe["data"]["columns"] if trainer == "trl" else {}  # verl's own are recognised
    recipe["data"] = {"path": "train.jsonl", "columns": columns}
    recipe["eval"] |= {"sets": {"held_out": {"path": "test.jsonl", "columns": columns}}}
    told = dry_run(load.resolve(recipe, tmp_path))
    per_step = "128 problems x 7 = 896 completions, 1 update" if trainer == "trl" else "1024 problems x 5 = 5,120"
    assert per_step in told and "verdict on the reference: correct" in told


@pytest.mark.parametrize("trainer, given", [("trl", OPEN_R1), ("verl", DAPO)])
def test_every_key_stands_in_the_table(tmp_path, trainer, given):
    given = {**given, "a.quite_new.key" if trainer == "verl" else "quite_new_key": "odd"}
    *_, table = made(tmp_path, trainer, given, processes=7)
    assert [key for key in given if f"{key}=" not in table] == []
    assert "nothing here reads" in table and "quite_new" in table.partition("nothing here reads")[2].partition("\n")[0]


BATCHES = {
    # (per_device, accumulation, num_generations, more), processes -> prompts, updates, reuse
    "the defaults": (({"per_device_train_batch_size": 8}), None, (1, 1, 1)),
    "accumulated": ({"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}, None, (2, 1, 1)),
    "several processes": ({"gradient_accumulation_steps": 4}, 4, (16, 1, 1)),
    "an old config says its processes": ({"num_processes": 7, "num_generations": 7}, None, (8, 1, 1)),
    "cut": ({"steps_per_generation": 8, "gradient_accumulation_steps": 2}, None, (8, 4, 1)),
    "by generation_batch_size": ({"generation_batch_size": 64, "gradient_accumulation_steps": 2}, None, (8, 4, 1)),
    "a dump has both": ({"generation_batch_size": 256, "steps_per_generation": 4, "gradient_accumulation_steps": 4},
                        None, (32, 1, 1)),
    "used again": ({"num_iterations": 2}, None, (1, 1, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", BATCHES)
def test_trls_batch_is_counted_in_problems(tmp_path, name):
    given, processes, expected = BATCHES[name]
    _, stage, _ = made(tmp_path, "trl", {**given, "max_steps": 100}, processes=processes)
    assert (stage.prompts_per_step, stage.updates_per_step, stage.reuse) == expected
    assert stage.steps == 100 // (stage.updates_per_step * stage.reuse), "max_steps counts updates"


LOSSES = [
    ({}, {"aggregate": "token_mean", "advantage": {"use": "zscore", "epsilon": 1e-4}}),
    ({"loss_type": "grpo"}, {"aggregate": "seq_token_mean"}),
    ({"loss_type": "bnpo"}, {"aggregate": "token_mean"}),
    ({"loss_type": "dr_grpo", "scale_rewards": False}, {"aggregate": "const", "advantage": "mean"}),
    ({"loss_type": "cispo", "epsilon_high": 5.0}, {"weight": {"policy": "cispo"}, "clip_low": 1.0, "clip_high": 4.0}),
    ({"loss_type": "sapo"}, {"preset": "sapo", "aggregate": "seq_token_mean"}),
    ({"loss_type": "luspo", "importance_sampling_level": "sequence"}, {"weight": {"policy": "gspo"},
                                                                      "aggregate": "seq_token_sum"}),
    ({"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
     {"weight": {"policy": "gspo"}, "clip_low": 3e-4, "clip_high": 4e-4}),
    ({"delta": 4.0}, {"weight": {"policy": {"use": "ppo", "dual": 4.0}}}),
    ({"scale_rewards": "batch"}, {"advantage": {"use": "mean", "scale": "batch_std"}}),
    ({"scale_rewards": "none"}, {"advantage": "mean"}),
    ({"beta": 0.04}, {"kl": {"estimator": "k3_is", "coef": 0.04}}),
    ({"beta": 0.04, "use_bias_correction_kl": False, "sync_ref_model": True, "ref_model_sync_steps": 64},
     {"kl": {"estimator": "k3", "coef": 0.04, "ref_refresh_steps": 64}}),
    ({"top_entropy_quantile": 0.2, "off_policy_mask_threshold": 0.5},
     {"mask": [{"use": "top_entropy", "share": 0.2}, {"use": "off_policy", "delta": 0.5}]}),
    ({"entropy_coef": 0.01}, {"entropy": {"coef": 0.01}}),
    ({"use_adaptive_entropy": True}, {"entropy": {"coef": 0.0, "target": 0.2, "delta": 0.005}}),
    ({"use_vllm": True, "vllm_importance_sampling_correction": False}, {"correction": "none"}),
    ({"use_vllm": True, "vllm_importance_sampling_mode": "token_truncate", "vllm_importance_sampling_clip_max": 2.0},
     {"correction": {"use": "tis", "cap": 2.0, "level": "token"}}),
    ({"use_vllm": False}, {"correction": "none"}),
]  # fmt: skip


@pytest.mark.parametrize("given, expected", LOSSES)
def test_trls_objective_is_ours(tmp_path, given, expected):
    recipe, *_ = made(tmp_path, "trl", {**given, "max_steps": 1})
    assert expected.items() <= recipe["objective"].items()


@pytest.mark.parametrize("scaled, is_told", [(None, True), (True, True), ("none", False), (False, False)])
def test_that_dr_grpo_keeps_z_scores_is_said_where_it_does(tmp_path, scaled, is_told):
    *_, table = made(tmp_path, "trl", {"loss_type": "dr_grpo", "scale_rewards": scaled, "max_steps": 1})
    assert ("TRL keeps z-scored advantages" in table) == is_told


ESTIMATORS = [
    ({"algorithm.adv_estimator": "grpo", "algorithm.norm_adv_by_std_in_grpo": False}, {"advantage": "mean"}),
    ({"algorithm.adv_estimator": "rloo"}, {"advantage": "rloo"}),
    ({"algorithm.adv_estimator": "remax"}, {"advantage": "remax", "group": {"select": "greedy"}}),
    ({"algorithm.adv_estimator": "gae", "algorithm.lam": 0.95},
     {"advantage": {"use": "gae", "scale": "whiten", "gamma": 1.0, "lam": 0.95}}),
    ({"algorithm.adv_estimator": "reinforce_plus_plus"}, {"advantage": {"use": "raw", "scale": "whiten"}}),
    ({"actor_rollout_ref.actor.policy_loss.loss_mode": "gspo"}, {"weight": {"policy": "gspo"},
                                                                "aggregate": "seq_token_mean"}),
    ({"actor_rollout_ref.actor.loss_agg_mode": "seq-mean-token-sum-norm"}, {"aggregate": "const"}),
    ({"actor_rollout_ref.actor.clip_ratio": 0.3}, {"clip_low": 0.3, "clip_high": 0.3}),
    ({"actor_rollout_ref.actor.use_kl_loss": "True", "actor_rollout_ref.actor.kl_loss_type": "mse"},
     {"kl": {"estimator": "k2", "coef": 0.001}}),
    ({"algorithm.use_kl_in_reward": "True"}, {"kl": {"estimator": "k1", "coef": 0.001, "where": "reward"}}),
    ({"algorithm.rollout_correction.rollout_is": "token"},
     {"correction": {"use": "tis", "cap": 2.0, "level": "token"}}),
    ({"actor_rollout_ref.actor.entropy_coeff": 0.01}, {"entropy": {"coef": 0.01}}),
]  # fmt: skip


@pytest.mark.parametrize("given, expected", ESTIMATORS)
def test_verls_objective_is_ours(tmp_path, given, expected):
    usual = {"algorithm.adv_estimator": "grpo", "actor_rollout_ref.rollout.n": 4}
    recipe, *_ = made(tmp_path, "verl", usual | given)
    assert expected.items() <= recipe["objective"].items()


def test_vespo_of_trl_is_ours_and_has_no_clip_nor_correction(tmp_path):
    given = {"loss_type": "vespo", "vespo_k_pos": 1.5, "use_vllm": True, "max_steps": 1, "epsilon": 0.2}
    recipe, stage, table = made(tmp_path, "trl", given)
    weight = {"use": "vespo", "k_positive": 1.5, "lam_positive": 3.0, "k_negative": 3.0, "lam_negative": 2.0}
    assert recipe["objective"]["weight"] == {"policy": weight} and recipe["objective"]["aggregate"] == "token_mean"
    assert recipe["objective"]["correction"] == "none" and "clip_low" not in recipe["objective"]
    assert "whole, where TRL" in table and "no counterpart" not in table
    built = build(stage.objective, max_new_tokens=8, group_size=8)
    assert built.clip is None and not built.corrections


def test_rewards_that_trl_normalises_first_are_gdpos(tmp_path):
    given = {"reward_funcs": ["accuracy_reward", "think_format_reward"], "reward_weights": [2.0, -0.5], "max_steps": 1,
             "multi_objective_aggregation": "normalize_then_sum"}  # fmt: skip
    recipe, stage, _ = made(tmp_path, "trl", given)
    weights = {"score": 2.0, "think_format_reward": 0.5}
    assert recipe["objective"]["advantage"] == {"use": "gdpo", "scale": "whiten", "weights": weights}
    # of TRL: weight x zscore of what the function says, here of (1, 0) and (1, 0), whose zscores are z and -z
    parts = {"score": np.array([2.0, 0.0]), "think_format_reward": np.array([-0.5, 0.0])}
    z = 1 / np.sqrt(2)
    advantage = build(stage.objective, max_new_tokens=8, group_size=2).advantage.fn(np.zeros(2), parts=parts)
    assert advantage == pytest.approx([(2.0 - 0.5) * z, -(2.0 - 0.5) * z], rel=1e-5)


@pytest.mark.parametrize("loss", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"])
def test_every_loss_of_trl_has_its_denominator_and_a_recipe_that_loads(tmp_path, loss):
    recipe, stage, table = made(tmp_path, "trl", {"loss_type": loss, "max_steps": 1, "epsilon_high": 4.0})
    assert "aggregate" in recipe["objective"] and "no counterpart" not in table
    build(stage.objective, max_new_tokens=8, group_size=8)


@pytest.mark.parametrize(
    "trainer, given, told",
    [
        ("trl", {"loss_type": "dppo", "max_steps": 1}, "another objective than dppo"),
        ("trl", {"lr_scheduler_type": "polynomial", "max_steps": 1}, "the recipe has constant"),
        ("trl", {"repetition_penalty": 1.1, "max_steps": 1}, "training samples from the policy itself"),
        ("trl", {"generation_kwargs": {"num_beams": 4}}, "of it: num_beams"),
        ("verl", {"algorithm.adv_estimator": "gpg", "actor_rollout_ref.rollout.n": 4}, "rewards less their mean"),
        ("verl", {"actor_rollout_ref.actor.policy_loss.loss_mode": "geo_mean", "actor_rollout_ref.rollout.n": 4,
                  "algorithm.adv_estimator": "grpo"}, "not what geo_mean does"),
        ("verl", {"actor_rollout_ref.actor.use_kl_loss": True, "actor_rollout_ref.actor.kl_loss_type": "kl",
                  "algorithm.adv_estimator": "grpo", "actor_rollout_ref.rollout.n": 4}, "teaches nothing"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_said_and_never_replaced_in_silence(tmp_path, trainer, given, told):
    *_, table = made(tmp_path, trainer, given)
    assert told in table.partition("no counterpart")[2]


def test_rewards_name_verifiers_and_functions_of_ones_own(tmp_path):
    names = ["think_format_reward", "my_lib.rewards.tidy", "accuracy_reward", "get_soft_overlong_punishment", "cosine"]
    recipe, _, table = made(tmp_path, "trl", {"reward_funcs": names, "reward_weights": [1, 2, 3, 4, 5], "max_steps": 1})
    assert recipe["verifier"] == "math"
    assert recipe["reward"] == {
        "score": 3.0, "think_format_reward": {"use": "format", "weight": 1.0},
        "tidy": {"use": "my_lib.rewards:tidy", "as": "trl", "weight": 2.0},
        "soft_overlong": {"buffer": 256, "max_new_tokens": 1280, "weight": 4.0},
        "cosine": {"use": "mine:cosine", "as": "trl", "weight": 5.0},
    }  # fmt: skip
    assert "mine:cosine" in table.partition("\n")[2]
    given = {"custom_reward_function.path": "/a/b/my_reward.py", "custom_reward_function.name": "score",
             "custom_reward_function.reward_kwargs.method": "strict"}  # fmt: skip
    recipe, *_ = made(tmp_path, "verl", given)
    assert recipe["verifier"] == {"use": "my_reward:score", "as": "verl", "method": "strict"}
    recipe, *_ = made(tmp_path, "verl", {"custom_reward_function.path": "pkg://lab.rewards"})
    assert recipe["verifier"]["use"] == "lab.rewards:compute_score"


def test_what_a_config_does_not_say_is_to_fill_in(tmp_path):
    recipe, _, table = made(tmp_path, "trl", {"max_steps": 1})
    assert (recipe["model"], recipe["data"]) == ("MODEL", {"path": "DATASET"})
    assert table.startswith(FILL) and recipe["verifier"] == {"use": "mine:reward", "as": "trl"}


@pytest.mark.parametrize(
    "trainer, text, told",
    [
        ("trl", "[1, 2]", "a TRL config is a mapping"),
        ("trl", "", "a TRL config is a mapping"),
        ("trl", "a: {", "not YAML"),
        ("trl", "num_generations: 7", "no whole number of groups of 7; .*--processes 7"),
        ("trl", "num_generations: eight", "num_generations: 'eight' must be a number"),
        ("trl", "num_generations: 0", "must be a whole number above 0"),
        ("trl", "{reward_funcs: [a, b], reward_weights: [1]}", "1 weights for the reward_funcs"),
        ("trl", "{scale_rewards: sometimes, max_steps: 1}", "must be group, batch or none"),
        ("trl", "{temperature: 0.0, max_steps: 1}", "temperature"),
        ("trl", "{reward_funcs: [a], reward_weights: [much], max_steps: 1}", "of another kind than trl takes"),
        ("verl", "set -x", "no override such as"),
        ("verl", "data.train_batch_size=many", "must be a number"),
        ("verl", "actor_rollout_ref.actor.loss_agg_mode=odd", "must be one of token-mean"),
        ("verl", "actor_rollout_ref.rollout.n=1\nalgorithm.adv_estimator=grpo", "group_size: 1 with advantage"),
    ],
)
def test_what_cannot_be_a_recipe_is_refused_in_one_line(tmp_path, trainer, text, told):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=told) as caught:
        convert(trainer, file)
    assert "\n" not in str(caught.value)


def test_other_trainers_scripts_and_files_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="must be one of trl, verl; did you mean 'verl'"):
        convert("Verl", tmp_path / "a")
    with pytest.raises(RecipeError, match="cannot be read"):
        convert("trl", tmp_path / "a.yaml")
    (tmp_path / "a.py").write_text("print(1)")
    with pytest.raises(RecipeError, match="a script is not run"):
        convert("trl", tmp_path / "a.py")


SHELL = {
    "n=4\na.b=$n": 4,
    "export n=4\na.b=${n}": 4,
    "a.b=${N:-16}": 16,
    "a.b=$((1024 * 20))": 20480,
    "x=2\ny=$((x * 3))\na.b=$(( (x + y) / 4 ))": 2,
    "p=${P:-\"${HOME}/verl\"}\na.b=\"${p}/x.parquet\"": "~/verl/x.parquet",
    "python -m main \\\n  +a.b=True \\\n  c.d=1": True,
    "a.b='[\"console\",\"wandb\"]'": ["console", "wandb"],
    "a.b=1 # a comment": 1,
    "a.b=1\na.b=2": 2,
    "a.b=null": None,
    "a.b=1e-6": 1e-6,
    'a.b="$(rm -rf /)"': "$(rm -rf /)",
    "a.b=$((__import__))": "$((__import__))",
    "a.b=${UNKNOWN}": "${UNKNOWN}",
    "a.b=": "",
    "x=$x\na.b=$x": "$x",
    "echo 'it is\na.b=5": 5,
}  # fmt: skip


@pytest.mark.parametrize("text", SHELL)
def test_a_shell_script_is_read_and_not_run(tmp_path, text):
    (tmp_path / "run.sh").write_text(text)
    assert configs.verl_overrides(tmp_path / "run.sh")["a.b"] == SHELL[text]


def test_variables_that_double_each_other_end(tmp_path):
    lines = ["v0=xxxxxxxxxx", *(f"v{n + 1}=$v{n}$v{n}" for n in range(60)), "a.b=$v60"]
    (tmp_path / "run.sh").write_text("\n".join(lines))
    assert len(configs.verl_overrides(tmp_path / "run.sh")["a.b"]) <= 200_000


def test_the_tables_kinds_are_told_apart():
    told = trl.translate({"max_steps": 10, "num_iterations": 2, "num_generations": 8, "fp16": True})
    kinds = {(row.kind, row.here.partition(":")[0]) for row in told.rows}
    assert {(DIFFERS, "steps"), (DEFAULT, "objective.aggregate"), (NONE, ""), (FILL, "")} <= kinds
    assert verl.translate({"data.train_batch_size": 8}).recipe["prompts_per_step"] == 8
