"""A GRPOConfig of TRL as a recipe. Read with the defaults of TRL 1.16; what other versions meant is not known here.

TRL counts optimizer updates and completions; here a step is one block of problems, and `updates_per_step` x `reuse`
updates follow it.
"""

import math
import re
from pathlib import PurePath
from typing import Any

from r1lab.conversion.foreign import AGGREGATES, SCALED
from r1lab.conversion.translation import ALWAYS, Translation, flow
from r1lab.errors import RecipeError

OF_NO_BEARING = (
    "do_eval do_train do_predict generation_batch_size gradient_accumulation_steps "
    "gradient_checkpointing_kwargs hub_strategy logging_first_step logging_strategy log_level max_steps "
    "model_revision num_processes overwrite_output_dir per_device_eval_batch_size ref_model_mixup_alpha "
    "ref_model_sync_steps remove_unused_columns save_strategy shuffle_dataset"
)
"""Keys that are read with others, or say how TRL itself runs."""
ACCURACY = {"accuracy": "math", "accuracy_reward": "math", "reasoning_accuracy_reward": "math"}
FORMAT = {"format": "format", "format_reward": "format", "think_format_reward": "format"}
SCHEDULES = {
    "constant": "constant", "constant_with_warmup": "constant", "linear": "linear", "cosine": "cosine",
}  # fmt: skip


def translate(given: dict[str, Any], processes: int | None = None) -> Translation:
    """The whole config. processes: that it ran on; None: what it says, else one."""
    told = Translation(given)
    for key in OF_NO_BEARING.split():
        told.get(key)
    _model_and_data(told)
    _rewards(told)
    updates = _batch(told, processes)
    _length(told, updates)
    _evaluation(told, updates)
    _sampling(told)
    _objective(told, updates)
    _optimizer(told, updates)
    _engine(told)
    return told


def _model_and_data(told: Translation) -> None:
    name = str(told.get("run_name") or PurePath(str(told.get("output_dir") or "trl")).name)
    told.put("run_name output_dir", "name", re.sub(r"[^\w.-]+", "_", name) or "trl")
    told.rename("seed", "seed", theirs=42, ours=42)
    if told.get("model_name_or_path"):
        told.put("model_name_or_path", "model", str(told.get("model_name_or_path")))
    else:
        told.fill("model", "MODEL", "TRL is given the model beside its config")
    told.rename("trust_remote_code", "trust_remote_code", theirs=False, ours=False)
    columns = {}
    if told.get("dataset_prompt_column"):
        columns["prompt"] = told.get("dataset_prompt_column")
    sources = [dict(each) for each in told.get("datasets") or [] if isinstance(each, dict)]
    if sources:
        data = [_source(each.get("path"), each.get("name"), each.get("split", "train"), columns) for each in sources]
        told.put("datasets", "data", data, "the sources are drawn from alike; give each a weight")
    elif told.get("dataset_name"):
        split = told.get("dataset_train_split") or told.get("dataset_split") or "train"
        keys = "dataset_name dataset_config dataset_train_split dataset_split dataset_prompt_column"
        told.put(keys, "data", _source(told.get("dataset_name"), told.get("dataset_config"), split, columns))
    else:
        told.fill("data", {"path": "DATASET"}, "TRL is given the dataset beside its config")
    note = "a prompt of chat messages needs template: chat; the text as it is: format '{prompt}'"
    if told.get("system_prompt") or told.get("chat_template") or told.get("chat_template_kwargs"):
        prompt = {"template": "chat", "system_prompt": told.get("system_prompt")}
        prompt["template_variables"] = told.get("chat_template_kwargs")
        kept = {key: value for key, value in prompt.items() if value}
        told.put("system_prompt chat_template chat_template_kwargs", "prompt", kept, note)
    else:
        told.put(ALWAYS, "prompt", {"format": "{prompt}"}, note)


def _source(path: Any, config: Any, split: Any, columns: dict) -> dict:
    source = {"path": str(path), "config": config, "split": str(split), "columns": dict(columns)}
    return {key: value for key, value in source.items() if value and (key, value) != ("split", "train")}


def _rewards(told: Translation) -> None:
    """The first accuracy reward, else the first of all, is the problem's verifier; the others are paid beside it."""
    names = told.get("reward_funcs") or told.get("reward_functions") or []
    names = [str(name) for name in ([names] if isinstance(names, str) else names)]
    weights = told.get("reward_weights") or [1.0] * len(names)
    if len(weights) != len(names):
        raise RecipeError(f"reward_weights: {len(weights)} weights for the reward_funcs {flow(names)}")
    if not names:
        told.fill(
            "verifier", {"use": "mine:reward", "as": "trl"}, "TRL is given its reward functions beside its config"
        )
        return
    first = next((name for name in names if name in ACCURACY), names[0])
    reward: dict[str, Any] = {"score": float(weights[names.index(first)])}
    for name, weight in zip(names, weights):
        if name == "get_soft_overlong_punishment":
            reward["soft_overlong"] = {"buffer": 256, "max_new_tokens": 1280, "weight": float(weight)}
        elif name != first:
            use = _verifier(name)
            part = name.rpartition(".")[2]
            reward[part] = float(weight) if use == part else {**_spec(use), "weight": float(weight)}
    own = "; an answer of its own reading: what math-verify takes, math may not" if first in ACCURACY else ""
    told.put("reward_funcs reward_functions", "verifier", _verifier(first), f"the problem's verifier{own}")
    if reward != {"score": 1.0}:
        told.put("reward_weights" if told.get("reward_weights") else "reward_funcs", "reward", reward)
    if first in ACCURACY and isinstance(told.recipe.get("data"), dict):
        told.recipe["data"].setdefault("columns", {}).setdefault("answer", "solution")
        note = "TRL's accuracy_reward reads the column solution; worked solutions need answer_format: boxed or hash"
        told.put(ALWAYS, "data.columns.answer", "solution", note)
    for name in names:
        if "." not in name and name not in {*ACCURACY, *FORMAT, "get_soft_overlong_punishment"}:
            told.ask(f"mine:{name}", "the module that has this function; it stands beside the recipe")


def _verifier(name: str) -> str | dict:
    if name in ACCURACY or name in FORMAT:
        return ACCURACY.get(name) or FORMAT[name]
    module, _, function = name.rpartition(".")
    return {"use": f"{module or 'mine'}:{function}", "as": "trl"}


def _spec(use: str | dict) -> dict:
    return dict(use) if isinstance(use, dict) else {"use": use}


def _batch(told: Translation, processes: int | None) -> int:
    """prompts_per_step and what goes with it; the optimizer updates of a step."""
    group, device = told.whole("num_generations", 8), told.whole("per_device_train_batch_size", 8)
    accumulated = told.whole("gradient_accumulation_steps", 1)
    whole, per_generation = (
        told.whole("generation_batch_size", 1),
        float(told.whole("steps_per_generation", accumulated)),
    )
    at_once = device * (processes or told.whole("num_processes", 1))
    if {"generation_batch_size", "steps_per_generation"} <= told.given.keys() and processes is None:
        at_once = whole / per_generation  # a dump has both
    elif "generation_batch_size" in told.given:
        per_generation = whole / at_once
    processes = round(at_once / device)
    completions = at_once * per_generation
    if completions != int(completions) or completions % group:
        count = next((each for each in range(1, 1025) if device * each * per_generation % group == 0), None)
        remedy = f"say on how many processes it ran, such as --processes {count}" if count else "mend the config"
        raise RecipeError(
            f"per_device_train_batch_size {device} x {processes} processes x {per_generation:g} steps_per_generation "
            f"are {completions:g} completions, no whole number of groups of {group}; {remedy}"
        )
    keys = "per_device_train_batch_size gradient_accumulation_steps steps_per_generation generation_batch_size"
    sizes = f"{device} x {processes} processes x {per_generation:g} / {group}"
    told.put(f"{keys} num_processes", "prompts_per_step", int(completions) // group, f"counted in problems: {sizes}")
    told.put("num_generations", "group_size", group)
    cut = max(1, int(per_generation) // accumulated)
    reuse = told.whole("num_iterations", 1)
    if cut > 1:
        uneven = "; TRL's do not end with a block" if per_generation % accumulated else ""
        note = f"updates that a block is cut into, whole groups each, where TRL shuffles completions{uneven}"
        told.put(f"{keys} num_processes", "updates_per_step", cut, note)
    if reuse > 1 or "num_iterations" in told.given:
        told.put("num_iterations", "reuse", reuse)
    return cut * reuse


def _steps(told: Translation, key: str, place: str, count: float, updates: int) -> None:
    note = f"there updates are counted, and a step here has {updates}" if updates > 1 else ""
    told.put(key, place, max(1, math.ceil(count / updates)), note)


def _length(told: Translation, updates: int) -> None:
    most = told.number("max_steps", -1)
    if most > 0:
        _steps(told, "max_steps", "steps", most, updates)
        told.get("num_train_epochs")
    else:
        told.put("num_train_epochs", "epochs", float(told.number("num_train_epochs", 3.0)))
    length = told.get("max_completion_length", 512)
    told.put(
        "max_completion_length", "max_new_tokens", 512 if length is None else told.whole("max_completion_length", 512)
    )
    told.switch("mask_truncated_completions", "truncated", "mask")
    if told.get("save_strategy", "steps") == "steps" and told.number("save_steps", 0) >= 1:
        _steps(told, "save_steps", "checkpoint_every", told.number("save_steps", 0), updates)
    told.rename("save_total_limit", "keep_last", theirs=None, ours=None)
    if told.get("report_to") is not None:
        names = told.get("report_to")
        names = [names] if isinstance(names, str) else list(names)
        kept = [name for name in ("tensorboard", "wandb") if name in names or "all" in names]
        if kept:
            told.put("report_to", "trackers", kept)


def _evaluation(told: Translation, updates: int) -> None:
    if told.get("eval_strategy", "no") == "no":
        return
    if not isinstance(told.recipe.get("data"), dict):
        return told.leave("eval_strategy", "name the held-out sets: eval.sets")
    split = told.get("dataset_test_split") or "test"
    told.put("eval_strategy dataset_test_split", "eval.sets", {"held_out": {**told.recipe["data"], "split": split}})
    every = told.number("eval_steps", None) or told.number("logging_steps", 10)
    if told.get("eval_strategy") == "steps" and every >= 1:
        _steps(told, "eval_steps", "eval.every", every, updates)
    told.rename("num_generations_eval", "eval.n", theirs=1, ours=1)
    told.rename("eval_on_start", "eval.at_start", theirs=False, ours=True)


def _sampling(told: Translation) -> None:
    told.rename("temperature", "temperature", theirs=1.0, ours=1.0)
    cut = {"top_p": told.number("top_p", 1.0), "top_k": told.number("top_k", 0), "min_p": told.number("min_p", 0.0)}
    if cut["top_p"] < 1 or cut["top_k"] > 0 or cut["min_p"] > 0:
        sampling = {key: value for key, value in cut.items() if value > 0 and (key, value) != ("top_p", 1.0)}
        note = "samples of a truncated distribution, which is another one than the trained"
        told.put("top_p top_k min_p", "sampling", {**sampling, "allow_biased_sampling": True}, note)
    more = dict(told.get("generation_kwargs") or {})
    if stop := more.pop("stop", None) or more.pop("stop_strings", None):
        kind = "stop_after" if more.pop("include_stop_str_in_output", False) else "stop"
        told.put("generation_kwargs", f"sampling.{kind}", [stop] if isinstance(stop, str) else list(stop))
    if more:
        told.leave("generation_kwargs", f"of it: {', '.join(map(str, more))}")
    if told.number("repetition_penalty", 1.0) != 1.0:
        told.leave("repetition_penalty", "training samples from the policy itself")


def _objective(told: Translation, updates: int) -> None:
    loss = str(told.get("loss_type", "dapo"))
    low = float(told.number("epsilon", 0.2))
    high = float(told.number("epsilon_high", None) or low)
    told.put(ALWAYS, "objective.group", {"select": "all"}, "groups of equal rewards stay in the mean")
    scaled = {True: "group", False: "none"}.get(told.get("scale_rewards", "group"), told.get("scale_rewards", "group"))
    if scaled not in SCALED:
        raise RecipeError(f"scale_rewards: {scaled!r} must be group, batch or none")
    told.put("scale_rewards", "objective.advantage", SCALED[scaled])
    if told.get("multi_objective_aggregation", "sum_then_normalize") == "normalize_then_sum":
        parts = told.recipe.get("reward", {"score": 1.0})
        paid = {name: each["weight"] if isinstance(each, dict) else each for name, each in parts.items()}
        weights = {name: abs(weight) for name, weight in paid.items()}  # the sign is in what is paid
        gdpo = {"use": "gdpo", "scale": "whiten", "weights": weights}
        note = "whitened over the step's tokens, where TRL takes its completions"
        told.put("multi_objective_aggregation reward_weights", "objective.advantage", gdpo, note)
    _weight(told, loss, low, high)
    if loss in AGGREGATES:
        note = "over the whole update, not over each micro-batch" * (loss == "bnpo")
        if loss == "dr_grpo" and scaled == "group":
            note = "TRL keeps z-scored advantages; preset dr_grpo is the paper's"
        told.put("loss_type", "objective.aggregate", AGGREGATES[loss], note)
    else:
        told.leave("loss_type", f"the recipe has PPO's clip in its place: another objective than {loss}")
    _kl(told, updates)
    masks: list[Any] = []
    if told.number("top_entropy_quantile", 1.0) < 1:
        masks.append({"use": "top_entropy", "share": float(told.get("top_entropy_quantile"))})
    if told.number("off_policy_mask_threshold", None):
        masks.append({"use": "off_policy", "delta": float(told.get("off_policy_mask_threshold"))})
    if masks:
        told.put("top_entropy_quantile off_policy_mask_threshold", "objective.mask", masks)
    entropy = {"coef": float(told.number("entropy_coef", 0.0))}
    if told.get("use_adaptive_entropy"):
        entropy["target"] = float(told.number("entropy_target", 0.2))
        entropy["delta"] = float(told.number("entropy_coef_delta", 0.005))
    if entropy["coef"] or "target" in entropy:
        keys = "entropy_coef use_adaptive_entropy entropy_target entropy_coef_delta"
        told.put(keys, "objective.entropy", entropy, "aggregated as the loss is, where TRL takes the mean over tokens")


def _weight(told: Translation, loss: str, low: float, high: float) -> None:
    """The ratio's weight and its clip."""
    is_sequence = told.get("importance_sampling_level", "token") == "sequence"
    clip = {"clip_low": low, "clip_high": high}
    keys = "loss_type importance_sampling_level"
    if loss == "cispo":
        clip = {"clip_low": 1.0, "clip_high": high - 1.0}
        told.put(keys, "objective.weight.policy", "cispo", f"epsilon_high is the largest ratio itself, {high:g}")
    elif loss == "sapo":
        taus = {"tau_positive": "sapo_temperature_pos", "tau_negative": "sapo_temperature_neg"}
        usual = {"tau_positive": 1.0, "tau_negative": 1.05}
        values = {name: float(told.number(key, usual[name])) for name, key in taus.items()}
        told.put(f"{keys} {' '.join(taus.values())}", "objective.weight.policy", {"use": "sapo", **values})
        clip = {}
    elif loss == "vespo":
        names = {"k_positive": "vespo_k_pos", "lam_positive": "vespo_lambda_pos", "k_negative": "vespo_k_neg",
                 "lam_negative": "vespo_lambda_neg"}  # fmt: skip
        usual = {"k_positive": 2.0, "lam_positive": 3.0, "k_negative": 3.0, "lam_negative": 2.0}
        values = {name: float(told.number(key, usual[name])) for name, key in names.items()}
        told.put(f"{keys} {' '.join(names.values())}", "objective.weight.policy", {"use": "vespo", **values})
        clip = {}
    elif is_sequence or loss == "luspo":
        note = "the correction stands on each token, not on the sequence's ratio"
        told.put("importance_sampling_level loss_type", "objective.weight.policy", "gspo", note)
    elif told.number("delta", None):
        told.put("delta", "objective.weight.policy", {"use": "ppo", "dual": float(told.get("delta"))})
    for name, key in (("clip_low", "epsilon"), ("clip_high", "epsilon_high epsilon")):
        if name in clip:
            told.put(key, f"objective.{name}", clip[name])
    if not clip:
        told.put("loss_type", "objective.preset", loss)


def _kl(told: Translation, updates: int) -> None:
    coef = float(told.number("beta", 0.0))
    is_corrected = bool(told.get("use_bias_correction_kl", True))
    if coef:
        note = "TRL 1.16 multiplies the KL by the ratio; for older ones take k3" if is_corrected else ""
        kl = {"estimator": "k3_is" if is_corrected else "k3", "coef": coef}
        told.put("beta use_bias_correction_kl", "objective.kl", kl, note)
    elif "beta" in told.given:
        told.put("beta", "objective.kl", {"coef": 0.0})
    if coef and told.get("sync_ref_model"):
        every = max(1, math.ceil(told.number("ref_model_sync_steps", 512) / updates))
        note = "the reference is replaced whole, where TRL mixes by ref_model_mixup_alpha"
        told.put(
            "sync_ref_model ref_model_sync_steps ref_model_mixup_alpha", "objective.kl.ref_refresh_steps", every, note
        )


def _optimizer(told: Translation, updates: int) -> None:
    told.rename("learning_rate", "learning_rate", theirs=1e-6, ours=1e-6)
    name = str(told.get("lr_scheduler_type", "linear")).removeprefix("SchedulerType.").lower()
    if name in SCHEDULES:
        told.put("lr_scheduler_type", "optimizer.schedule", SCHEDULES[name])
    else:
        told.leave("lr_scheduler_type", "constant, linear and cosine are the schedules; the recipe has constant")
    ratio, warmup = told.number("warmup_ratio", 0.0), told.number("warmup_steps", 0)
    if 0 < warmup < 1:
        ratio, warmup = warmup, 0
    if ratio and not warmup:
        total = told.recipe.get("steps", 0) * updates
        if total:
            told.put("warmup_ratio warmup_steps", "optimizer.warmup_updates", math.ceil(ratio * total))
        else:
            note = f"{ratio:g} of the updates, whose number the dataset decides; a dry run tells the steps"
            told.fill("optimizer.warmup_updates", 0, note)
            told.get("warmup_ratio")
    else:
        told.put("warmup_steps", "optimizer.warmup_updates", int(warmup))
    for key, place, theirs, ours in (
        ("adam_beta1", "optimizer.beta1", 0.9, 0.9), ("adam_beta2", "optimizer.beta2", 0.999, 0.95),
        ("adam_epsilon", "optimizer.epsilon", 1e-8, 1e-8), ("weight_decay", "optimizer.weight_decay", 0.0, 0.0),
        ("max_grad_norm", "optimizer.grad_clip", 1.0, 1.0),
    ):  # fmt: skip
        told.rename(key, place, theirs=theirs, ours=ours)
    optim = str(told.get("optim", "adamw_torch")).removeprefix("OptimizerNames.").lower()
    if not optim.startswith("adamw"):
        told.leave("optim", "AdamW is the only optimizer")
    if any(told.get(key) in ("bfloat16", "bf16") for key in ("dtype", "torch_dtype")):
        note = "weights of float32, computed with in bfloat16 on a GPU; pure_bf16 would be their bfloat16 weights"
        told.put("dtype torch_dtype bf16", "precision", "auto", note)
    elif "bf16" in told.given:
        told.put("bf16", "precision", "auto" if told.get("bf16") else "float32")
    if told.get("fp16"):
        told.leave("fp16", "float16 is not trained in")
    told.switch("use_liger_kernel", "model_kernels", "liger")
    if "gradient_checkpointing" in told.given:
        told.put("gradient_checkpointing", "activation_checkpointing", bool(told.get("gradient_checkpointing")))
    if told.get("use_peft"):
        targets = told.get("lora_target_modules") or "all-linear"
        lora = {"rank": told.whole("lora_r", 16), "alpha": float(told.number("lora_alpha", 32))}
        lora["targets"] = targets if isinstance(targets, str) else list(targets)
        told.put("use_peft lora_r lora_alpha lora_target_modules", "lora", lora)


def _engine(told: Translation) -> None:
    if not told.get("use_vllm"):
        for key in [key for key in told.given if key.startswith("vllm_")]:
            told.get(key)
        told.put("use_vllm", "engine.kind", "local", "sampled in the trainer, as by transformers; auto takes vllm")
        told.put("use_vllm", "objective.correction", "none")
        return
    if told.get("vllm_mode", "colocate") == "server":
        host, port = told.get("vllm_server_host", "0.0.0.0"), told.get("vllm_server_port", 8000)
        host = "127.0.0.1" if host == "0.0.0.0" else host
        url = told.get("vllm_server_base_url") or f"http://{host}:{port}"
        told.put("use_vllm vllm_mode", "engine.kind", "server", "started by r1lab serve MODEL, not by trl vllm-serve")
        told.put("vllm_server_base_url vllm_server_host vllm_server_port", "engine.urls", [url])
    else:
        told.put("use_vllm vllm_mode", "engine.kind", "vllm")
        told.rename("vllm_gpu_memory_utilization", "engine.gpu_memory_utilization", theirs=None, ours=None)
        told.rename("vllm_tensor_parallel_size", "engine.tensor_parallel", theirs=1, ours=1)
        told.rename("vllm_max_model_length", "engine.max_model_len", theirs=None, ours=None)
    is_vespo = told.get("loss_type") == "vespo"
    note = (
        "the ratio to the sampler stands in vespo's own weight, whole, where TRL puts a capped one" if is_vespo else ""
    )
    told.put(
        "vllm_importance_sampling_correction vllm_importance_sampling_mode vllm_importance_sampling_clip_max "
        "vllm_importance_sampling_clip_min vllm_importance_sampling_cap", "objective.correction",
        "none" if is_vespo else _correction(told), note,
    )  # fmt: skip


def _correction(told: Translation) -> str | dict:
    if not told.get("vllm_importance_sampling_correction", True):
        return "none"
    mode = str(told.get("vllm_importance_sampling_mode", "sequence_mask"))
    most = told.number("vllm_importance_sampling_clip_max", None) or told.number("vllm_importance_sampling_cap", None)
    least = told.number("vllm_importance_sampling_clip_min", None)
    level = "seq_sum" if mode.startswith("sequence") else "token"
    if mode.endswith("truncate"):
        return {"use": "tis", "cap": float(most or 3.0), "level": level}
    return {"use": "icepop", "low": float(least or 0.0), "high": float(most or 3.0), "level": level}
