"""Overrides of verl's PPO trainer as a recipe. Read with the defaults of its `ppo_trainer.yaml` as of 0.6.

A step is the same there and here: one batch of prompts, then `train_batch_size / ppo_mini_batch_size` updates an epoch
over it.
"""

import math
import re
from pathlib import PurePath
from typing import Any

from r1lab.conversion.foreign import VERL_AGGREGATES, VERL_ESTIMATORS
from r1lab.conversion.translation import ALWAYS, Translation
from r1lab.errors import RecipeError

ACTOR, ROLLOUT, MODEL = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.model"
ADVANTAGES: dict[str, Any] = {
    "grpo": "zscore", "rloo": "rloo", "opo": "opo", "remax": "remax",
    "reinforce_plus_plus": {"use": "raw", "scale": "whiten"},
    "reinforce_plus_plus_baseline": {"use": "mean", "scale": "whiten"},
}  # fmt: skip
NO_LIMIT = 100
"""Draws of a step's problems, where verl draws without end."""
IN_LOSS = {name: estimator for name, estimator in VERL_ESTIMATORS.items() if estimator != "k1"}
"""k1 as a loss teaches nothing."""
OVERLONG = ("reward_model.overlong_buffer", "custom_reward_function.overlong_buffer",
            "reward_model.reward_kwargs.overlong_buffer_cfg")  # fmt: skip


def translate(given: dict[str, Any], processes: int | None = None) -> Translation:
    """All overrides. processes: not asked for, since nothing of verl's counts by process."""
    told = Translation(given)
    _model_and_data(told)
    _reward(told)
    _batch(told)
    _sampling(told)
    _objective(told)
    _optimizer(told)
    _engine(told)
    _run(told)
    return told


def _model_and_data(told: Translation) -> None:
    names = [told.get(f"trainer.{key}") for key in ("project_name", "experiment_name")]
    name = re.sub(r"[^\w.-]+", "_", "-".join(str(each) for each in names if each)) or "verl"
    told.put("trainer.project_name trainer.experiment_name", "name", name)
    path = told.get(f"{MODEL}.path")
    if path:
        told.put(f"{MODEL}.path", "model", str(path))
    else:
        told.fill("model", "MODEL", f"{MODEL}.path is not said")
    told.rename(f"{MODEL}.trust_remote_code", "trust_remote_code", theirs=False, ours=False)
    drops = bool(told.get("data.filter_overlong_prompts", False))
    sources = [_source(told, each, drops) for each in _listed(told.get("data.train_files"))]
    if sources:
        keys = "data.train_files data.prompt_key data.train_max_samples data.filter_overlong_prompts"
        note = "drawn from alike, where verl's rows are one list: a weight each, as large as its file" * (
            len(sources) > 1
        )
        told.put(keys, "data", sources[0] if len(sources) == 1 else sources, note)
    else:
        told.fill("data", {"path": "train.parquet"}, "data.train_files is not said")
    told.leave(
        "data.max_prompt_length data.truncation", "prompts are not cut; data.on_long_prompt: drop leaves them out"
    )
    held_out = {_name(each): _source(told, each, drops) for each in _listed(told.get("data.val_files"))}
    if held_out:
        told.put("data.val_files", "eval.sets", held_out)
    told.put(ALWAYS, "prompt", {"template": "chat"}, "verl puts every prompt through the chat template")


def _listed(value: Any) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value]) if each]


def _name(path: str) -> str:
    """A set's name of its file: `gsm8k` of `~/data/gsm8k/test.parquet`."""
    place = PurePath(path)
    name = (
        place.parent.name if place.stem in ("test", "val", "validation", "train") and place.parent.name else place.stem
    )
    return re.sub(r"[^\w.-]+", "_", name) or "held_out"


def _source(told: Translation, path: str, drops: bool) -> dict:
    source: dict[str, Any] = {"path": path}
    if (key := told.get("data.prompt_key", "prompt")) != "prompt":
        source["columns"] = {"prompt": key}
    if (limit := told.number("data.train_max_samples", -1)) > 0:
        source["limit"] = int(limit)
    return source | ({"on_long_prompt": "drop"} if drops else {})


def _reward(told: Translation) -> None:
    function = "custom_reward_function"
    path, name = told.get(f"{function}.path"), told.get(f"{function}.name", "compute_score")
    prefix = f"{function}.reward_kwargs."
    settings = {key.removeprefix(prefix): told.get(key) for key in told.given if key.startswith(prefix)}
    if path:
        module = str(path).removeprefix("pkg://") if "://" in str(path) else PurePath(str(path)).stem
        keys = f"{function}.path {function}.name {' '.join(prefix + key for key in settings)}"
        told.put(keys, "verifier", {"use": f"{module}:{name}", "as": "verl", **settings},
                 "the module is found beside the recipe or in the current folder")  # fmt: skip
    else:
        note = "verl chooses a function by the rows' data_source; name another one where it is no mathematics"
        told.put(ALWAYS, "verifier", "math", note)
    reward: dict[str, Any] = {"score": 1.0}
    for place in OVERLONG:
        if told.get(f"{place}.enable") and told.get(f"{place}.len"):
            weight = float(told.number(f"{place}.penalty_factor", 1.0))
            reward["soft_overlong"] = {"buffer": told.whole(f"{place}.len", 1), "weight": weight}
            told.put(f"{place}.enable {place}.len {place}.penalty_factor", "reward", reward)
    if told.get("reward_model.enable"):
        told.leave("reward_model.enable reward_model.model.path", "a learned reward is no verifier")
    told.leave("reward_model.reward_manager", "a completion's score is what its verifier says; -1 for wrong ones is "
               "reward: {score: {correct: 1, wrong: -1}}")  # fmt: skip


def _batch(told: Translation) -> None:
    prompts = told.whole("data.train_batch_size", 1024)
    part, group = told.whole(f"{ACTOR}.ppo_mini_batch_size", 256), told.whole(f"{ROLLOUT}.n", 1)
    told.put("data.train_batch_size", "prompts_per_step", prompts)
    told.put(f"{ROLLOUT}.n", "group_size", group)
    updates = max(1, round(prompts / part))
    note = f"the batches that a step's problems are cut into: {prompts} / {part}"
    told.put(
        f"{ACTOR}.ppo_mini_batch_size", "updates_per_step", updates, note + ", rounded" * (updates * part != prompts)
    )
    told.rename(f"{ACTOR}.ppo_epochs", "reuse", theirs=1, ours=1)
    told.put("data.max_response_length", "max_new_tokens", told.whole("data.max_response_length", 512))
    told.leave("data.gen_batch_size", "as many problems are drawn as are missing")


def _sampling(told: Translation) -> None:
    told.rename(f"{ROLLOUT}.temperature", "temperature", theirs=1.0, ours=1.0)
    top_p, top_k = float(told.number(f"{ROLLOUT}.top_p", 1)), told.number(f"{ROLLOUT}.top_k", -1)
    if top_p < 1 or top_k > 0:
        sampling = {"top_p": top_p, "top_k": max(0, int(top_k)), "allow_biased_sampling": True}
        told.put(f"{ROLLOUT}.top_p {ROLLOUT}.top_k", "sampling", sampling, "a distribution that is not the trained one")
    if "eval" not in told.recipe:
        return
    val = f"{ROLLOUT}.val_kwargs"
    told.rename(f"{val}.n", "eval.n", theirs=1, ours=1)
    is_greedy = not told.get(f"{val}.do_sample", False)
    temperature = 0.0 if is_greedy else float(told.number(f"{val}.temperature", 0))
    told.put(f"{val}.do_sample {val}.temperature", "eval.temperature", temperature)
    if not is_greedy:
        told.rename(f"{val}.top_p", "eval.top_p", theirs=1.0, ours=1.0)
    told.get(f"{val}.top_k")
    told.get(f"{val}.top_p")


def _objective(told: Translation) -> None:
    name = str(told.get("algorithm.adv_estimator", "gae"))
    is_scaled = bool(told.get("algorithm.norm_adv_by_std_in_grpo", True))
    filters = " ".join(f"algorithm.filter_groups.{key}" for key in ("enable", "metric", "max_num_gen_batches"))
    told.put(filters, "objective.group", _group(told, name))
    if name == "gae":
        advantage: Any = {"use": "gae", "scale": "whiten", "gamma": float(told.number("algorithm.gamma", 1.0)),
                          "lam": float(told.number("algorithm.lam", 1.0))}  # fmt: skip
        told.put("algorithm.adv_estimator algorithm.gamma algorithm.lam", "objective.advantage", advantage,
                 "the value head reads the policy's hidden states, where verl trains a critic of its own")  # fmt: skip
    elif name in ADVANTAGES:
        advantage = "mean" if name == "grpo" and not is_scaled else ADVANTAGES[name]
        told.put("algorithm.adv_estimator algorithm.norm_adv_by_std_in_grpo", "objective.advantage", advantage)
    else:
        told.leave("algorithm.adv_estimator", "the recipe has the default in its place: rewards less their mean")
    _loss(told)
    _kl(told)
    if coef := told.number(f"{ACTOR}.entropy_coeff", 0):
        told.put(f"{ACTOR}.entropy_coeff", "objective.entropy", {"coef": float(coef)})
    level = told.get("algorithm.rollout_correction.rollout_is") or told.get(f"{ROLLOUT}.rollout_is")
    cap = float(told.number("algorithm.rollout_correction.rollout_is_threshold", 2.0))
    keys = "algorithm.rollout_correction.rollout_is algorithm.rollout_correction.rollout_is_threshold"
    levels = {"token": "token", "sequence": "seq_sum"}
    correction = {"use": "tis", "cap": cap, "level": levels[str(level)]} if str(level) in levels else "none"
    told.put(keys, "objective.correction", correction)


def _group(told: Translation, advantage: str) -> dict:
    if advantage == "remax":
        return {"select": "greedy"}
    filters = "algorithm.filter_groups"
    if not told.get(f"{filters}.enable"):
        return {"select": "all"}
    prompts = told.whole("data.train_batch_size", 1024)
    drawn = told.number(f"{filters}.max_num_gen_batches", 0) * told.whole("data.gen_batch_size", prompts)
    by = "score" if told.get(f"{filters}.metric") == "acc" else "reward"
    return {"select": "drop_zero_variance", "by": by, "refill": {"max_draws": math.ceil(drawn / prompts) or NO_LIMIT}}


def _loss(told: Translation) -> None:
    mode = str(told.get(f"{ACTOR}.policy_loss.loss_mode", "vanilla"))
    low = float(told.number(f"{ACTOR}.clip_ratio_low", None) or told.number(f"{ACTOR}.clip_ratio", 0.2))
    high = float(told.number(f"{ACTOR}.clip_ratio_high", None) or told.number(f"{ACTOR}.clip_ratio", 0.2))
    dual = float(told.number(f"{ACTOR}.clip_ratio_c", 3.0))
    if mode == "vanilla":
        told.put(f"{ACTOR}.clip_ratio_c", "objective.weight.policy", {"use": "ppo", "dual": dual})
    elif mode == "gspo":
        told.put(f"{ACTOR}.policy_loss.loss_mode", "objective.weight.policy", "gspo")
    else:
        told.leave(f"{ACTOR}.policy_loss.loss_mode", f"the recipe has PPO's clip in its place: not what {mode} does")
    told.put(f"{ACTOR}.clip_ratio_low {ACTOR}.clip_ratio", "objective.clip_low", low)
    told.put(f"{ACTOR}.clip_ratio_high {ACTOR}.clip_ratio", "objective.clip_high", high)
    aggregate = str(told.get(f"{ACTOR}.loss_agg_mode", "seq-mean-token-mean" if mode == "gspo" else "token-mean"))
    if aggregate not in VERL_AGGREGATES:
        raise RecipeError(f"{ACTOR}.loss_agg_mode: {aggregate!r} must be one of {', '.join(VERL_AGGREGATES)}")
    note = "over all tokens of the update, where verl averages micro-batches" if aggregate == "token-mean" else ""
    told.put(f"{ACTOR}.loss_agg_mode", "objective.aggregate", VERL_AGGREGATES[aggregate], note)


def _kl(told: Translation) -> None:
    in_loss, in_reward = told.get(f"{ACTOR}.use_kl_loss", False), told.get("algorithm.use_kl_in_reward", False)
    coef, kind = told.number(f"{ACTOR}.kl_loss_coef", 0.001), str(told.get(f"{ACTOR}.kl_loss_type", "low_var_kl"))
    keys = f"{ACTOR}.use_kl_loss {ACTOR}.kl_loss_coef {ACTOR}.kl_loss_type"
    rewarded = "algorithm.use_kl_in_reward algorithm.kl_ctrl.kl_coef algorithm.kl_penalty"
    if in_loss and kind.rstrip("+") in IN_LOSS:
        kl = {"estimator": "k2" if kind.endswith("+") else IN_LOSS[kind], "coef": float(coef)}
        told.put(
            keys, "objective.kl", kl, "k2 has the gradient that verl gives its + forms" if kind.endswith("+") else ""
        )
    elif in_loss:
        told.leave(keys, f"as a loss {kind} teaches nothing, its gradient has the mean 0; take k2 or k3")
    if in_reward and not (in_loss and "kl" in told.recipe["objective"]):
        penalty = str(told.get("algorithm.kl_penalty", "kl"))
        kl = {
            "estimator": VERL_ESTIMATORS.get(penalty, "k1"),
            "coef": float(told.number("algorithm.kl_ctrl.kl_coef", 0.001)),
        }
        told.put(rewarded, "objective.kl", {**kl, "where": "reward"})
    elif in_reward:
        told.leave(rewarded, "one KL alone; the recipe has that of the loss")
    if told.get("algorithm.kl_ctrl.type", "fixed") != "fixed":
        told.leave("algorithm.kl_ctrl.type", "the coefficient is fixed")
    for key in (*keys.split(), *rewarded.split()):
        told.get(key)


def _optimizer(told: Translation) -> None:
    optim = f"{ACTOR}.optim"
    told.rename(f"{optim}.lr", "learning_rate", theirs=1e-6, ours=1e-6)
    name = str(told.get(f"{optim}.lr_scheduler_type") or told.get(f"{optim}.warmup_style", "constant"))
    if name in ("constant", "cosine"):
        told.put(f"{optim}.lr_scheduler_type {optim}.warmup_style", "optimizer.schedule", name)
    else:
        told.leave(f"{optim}.lr_scheduler_type {optim}.warmup_style", "constant, linear and cosine are the schedules")
    steps = told.number("trainer.total_training_steps", None)
    ratio = float(told.number(f"{optim}.lr_warmup_steps_ratio", 0.0))
    warmup = told.number(f"{optim}.lr_warmup_steps", -1)
    updates = told.recipe["updates_per_step"] * told.recipe.get("reuse", 1)
    keys = f"{optim}.lr_warmup_steps {optim}.lr_warmup_steps_ratio"
    if warmup < 0 and ratio and not steps:
        told.fill("optimizer.warmup_updates", 0, f"{ratio:g} of the steps, whose number the dataset decides; a dry run "
                  f"tells it, and a step has {updates} updates")  # fmt: skip
    else:
        there = warmup if warmup >= 0 else math.ceil(ratio * (steps or 0))
        note = f"verl's rate changes once a step of {updates} updates" if updates > 1 and there else ""
        told.put(keys, "optimizer.warmup_updates", int(there) * updates, note)
    betas = told.get(f"{optim}.betas", [0.9, 0.999])
    told.put(f"{optim}.betas", "optimizer.beta2", float(betas[1]))
    if float(betas[0]) != 0.9:
        told.put(f"{optim}.betas", "optimizer.beta1", float(betas[0]))
    told.rename(f"{optim}.weight_decay", "optimizer.weight_decay", theirs=0.01, ours=0.0)
    told.rename(f"{ACTOR}.grad_clip", "optimizer.grad_clip", theirs=1.0, ours=1.0)
    if rank := told.number(f"{MODEL}.lora_rank", 0):
        targets = told.get(f"{MODEL}.target_modules", "all-linear")
        lora = {"rank": int(rank), "alpha": float(told.number(f"{MODEL}.lora_alpha", 16)), "targets": targets}
        told.put(f"{MODEL}.lora_rank {MODEL}.lora_alpha {MODEL}.target_modules", "lora", lora)
    key = f"{MODEL}.enable_gradient_checkpointing"
    if key in told.given:
        told.put(key, "activation_checkpointing", bool(told.get(key)))
    told.switch(f"{MODEL}.use_liger", "model_kernels", "liger")
    if told.get(f"{ACTOR}.use_dynamic_bsz") and (tokens := told.number(f"{ACTOR}.ppo_max_token_len_per_gpu", None)):
        told.put(f"{ACTOR}.use_dynamic_bsz {ACTOR}.ppo_max_token_len_per_gpu", "micro_batch_tokens", int(tokens))
    if told.get(f"{ACTOR}.strategy") in ("fsdp", "fsdp2"):
        told.put(f"{ACTOR}.strategy", "parallel", "fsdp2")


def _engine(told: Translation) -> None:
    name = told.get(f"{ROLLOUT}.name")
    if name == "vllm":
        told.put(f"{ROLLOUT}.name", "engine.kind", "vllm")
        told.rename(f"{ROLLOUT}.gpu_memory_utilization", "engine.gpu_memory_utilization", theirs=None, ours=None)
        told.rename(f"{ROLLOUT}.tensor_model_parallel_size", "engine.tensor_parallel", theirs=None, ours=None)
        told.rename(f"{ROLLOUT}.max_num_seqs", "engine.max_num_seqs", theirs=256, ours=256)
        told.rename(f"{ROLLOUT}.max_model_len", "engine.max_model_len", theirs=None, ours=None)
    else:
        told.leave(f"{ROLLOUT}.name", "vLLM and a local loop sample here; engine.kind: auto")


def _run(told: Translation) -> None:
    steps = told.number("trainer.total_training_steps", None)
    if steps:
        told.put("trainer.total_training_steps", "steps", int(steps))
        told.get("trainer.total_epochs")
    else:
        told.put("trainer.total_epochs", "epochs", float(told.number("trainer.total_epochs", 30)))
    if told.number("trainer.save_freq", -1) > 0:
        told.put("trainer.save_freq", "checkpoint_every", told.whole("trainer.save_freq", 1))
    if told.number("trainer.test_freq", -1) > 0 and "eval" in told.recipe:
        told.put("trainer.test_freq", "eval.every", told.whole("trainer.test_freq", 1))
    if "eval" in told.recipe:
        told.rename("trainer.val_before_train", "eval.at_start", theirs=True, ours=True)
    trackers = [each for each in ("tensorboard", "wandb") if each in _listed(told.get("trainer.logger"))]
    if trackers:
        told.put("trainer.logger", "trackers", trackers)
