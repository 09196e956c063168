"""What several keys of TRL, verl or OpenRLHF say together: how large a step is, how many there are, the objective; and
which of their defaults differ. Not what one key is called here (`r1lab.recipe.foreign`).

TRL counts optimizer updates and completions; here a step is one block of prompts, and `updates_per_step` x `reuse`
updates follow each.
"""

from collections.abc import Callable, Mapping
from typing import Any

import yaml

Given = Mapping[str, Any]
"""Unknown keys by the last part of their paths, with their values, and the keys that the recipe states."""
Said = tuple[tuple[str, ...], str]
"""Keys, and what they are here together."""

_AGGREGATES = {"grpo": "seq_token_mean", "bnpo": "token_mean", "dapo": "token_mean", "dr_grpo": "const"}
"""The denominator by TRL's `loss_type`, of those whose tokens have PPO's weight."""
VERL_AGGREGATES = {
    "token-mean": "token_mean", "seq-mean-token-mean": "seq_token_mean", "seq-mean-token-sum": "seq_token_sum",
    "seq-mean-token-sum-norm": "const",
}  # fmt: skip
"""The denominator by verl's `loss_agg_mode`."""
_BATCH_STD = {"use": "mean", "scale": "batch_std"}
_SCALED = {True: "zscore", "group": "zscore", False: "mean", "none": "mean", "batch": _BATCH_STD, "mean": "max_rl"}
"""The advantage by TRL's `scale_rewards`."""
VERL_ESTIMATORS = {"low_var_kl": "k3", "k3": "k3", "mse": "k2", "k2": "k2", "abs": "abs", "kl": "k1", "k1": "k1"}
"""The KL estimator by verl's name of it."""


def together(given: Given) -> list[Said]:
    """What keys that depend on each other are here, each key at most once."""
    told: list[Said] = []
    for rule in RULES:
        taken = {key for keys, _ in told for key in keys}
        told += rule({key: value for key, value in given.items() if key not in taken})
    return told


def defaults(given: Given) -> str:
    """The defaults of the library that the keys are of which differ here, of what the keys do not say; empty where
    fewer than two keys are one library's."""
    counts = {name: len(TELLING[name] & set(given)) for name in TELLING}
    name = max(counts, key=lambda each: counts[each])
    if counts[name] < 2:
        return ""
    differing = "; ".join(text for keys, text in DEFAULTS[name] if not keys & set(given))
    return f"defaults here, in parentheses {name}'s: {differing}; {CONVERTED[name]}"


def _whole(given: Given, key: str, default: int = 0) -> int:
    """A count; 0 where it is none."""
    value = given.get(key, default)
    value = int(value) if isinstance(value, str) and value.isdigit() else value
    return value if type(value) is int and value > 0 else 0


def _present(given: Given, *keys: str) -> tuple[str, ...]:
    return tuple(key for key in keys if key in given)


def _flow(value: Any) -> str:
    """On one line, as a recipe has it."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf")).strip()


def _pairs(**knobs: int | None) -> str:
    return f"`{', '.join(f'{key}: {value}' for key, value in knobs.items() if value is not None)}`"


def _trl_batch(given: Given) -> list[Said]:
    """prompts_per_step and group_size of TRL's batch, which is counted in completions."""
    names = ("per_device_train_batch_size", "gradient_accumulation_steps", "num_generations", "steps_per_generation",
             "generation_batch_size")  # fmt: skip
    keys = _present(given, *names)
    is_sized = {"per_device_train_batch_size", "generation_batch_size"} & set(keys)
    device, accumulated = _whole(given, names[0], 8), _whole(given, names[1], 1)
    group, per_generation = (
        _whole(given, names[2], _whole(given, "group_size", 8)),
        _whole(given, names[3], accumulated),
    )
    if len(keys) < 2 or not is_sized or not all((device, accumulated, group, per_generation)):
        return []
    completions = _whole(given, names[4], device * per_generation)
    if not completions:
        return []
    how = f"{completions}" if "generation_batch_size" in keys else f"{device} x {per_generation}"
    if completions % group:
        return [(keys, f"no whole number of groups: {how} completions / {group}; here a step has prompts_per_step x "
                       "group_size completions")]  # fmt: skip
    is_stated = "per_device_train_batch_size" in keys and completions % (device * accumulated) == 0
    updates = completions // (device * accumulated) if is_stated else 1
    knobs = _pairs(
        prompts_per_step=completions // group, group_size=group, updates_per_step=updates if updates > 1 else None
    )
    where = "" if "generation_batch_size" in keys else " on one device, times their number on several"
    memory = "; micro_batch_tokens alone bounds memory"
    return [(keys, f"{knobs} here ({how} / {group} problems a step{where}{memory})")]


def _trl_steps(given: Given) -> list[Said]:
    """Steps of what TRL counts in updates, where several follow a block."""
    accumulated = _whole(given, "gradient_accumulation_steps", 1)
    per_generation = _whole(given, "steps_per_generation", accumulated)
    if (device := _whole(given, "per_device_train_batch_size")) and (whole := _whole(given, "generation_batch_size")):
        per_generation = whole // device
    reuse = _whole(given, "num_iterations", 1)
    of_batch, rest = divmod(per_generation, accumulated) if accumulated else (0, 1)
    updates = reuse * of_batch
    if rest or updates < 2:
        return []
    told: list[Said] = []
    for key, here in (("max_steps", "steps"), ("eval_steps", "eval.every"), ("save_steps", "checkpoint_every"),
                      ("ref_model_sync_steps", "objective.kl.ref_refresh_steps")):  # fmt: skip
        if num_updates := _whole(given, key):
            steps = max(1, round(num_updates / updates))
            more = {"reuse": reuse} if key == "max_steps" and "num_iterations" in given else {}
            knobs = _pairs(**{here: steps}, **more)
            keys = (key, *_present(given, "num_iterations")) if more else (key,)
            count = " / ".join(map(str, (num_updates, *(each for each in (reuse, of_batch) if each > 1))))
            told.append((keys, f"{knobs} here ({count}: there updates are counted, a step here has {updates})"))
    return told


def _verl_batch(given: Given) -> list[Said]:
    """verl's batches, which are counted in prompts."""
    keys = _present(given, "train_batch_size", "ppo_mini_batch_size", "n")
    prompts, part, group = (_whole(given, key) for key in ("train_batch_size", "ppo_mini_batch_size", "n"))
    if "rollout_batch_size" in given or not (prompts and part) or ("n" in keys and not group):
        return []
    if prompts % part:
        return [(keys, f"no whole number of updates: {prompts} / {part}; here updates_per_step cuts a step's prompts")]
    knobs = _pairs(prompts_per_step=prompts, updates_per_step=prompts // part, group_size=group or None)
    return [(keys, f"{knobs} here ({prompts} / {part} updates a step)")]


def _openrlhf_batch(given: Given) -> list[Said]:
    """OpenRLHF's, of which one is counted in prompts and one in completions."""
    keys = _present(given, "rollout_batch_size", "n_samples_per_prompt", "train_batch_size")
    prompts, group = _whole(given, "rollout_batch_size"), _whole(given, "n_samples_per_prompt", 1)
    part = _whole(given, "train_batch_size")
    if not (prompts and group and part) or prompts * group % part:
        return []
    knobs = _pairs(prompts_per_step=prompts, group_size=group, updates_per_step=prompts * group // part)
    return [(keys, f"{knobs} here ({prompts} x {group} / {part} updates a step)")]


_PRESETS: dict[str, tuple[Any, str, tuple[float, float]]] = {
    "grpo": ("zscore", "seq_token_mean", (0.2, 0.2)), "dr_grpo": ("mean", "const", (0.2, 0.2)),
    "lite_ppo": (_BATCH_STD, "token_mean", (0.2, 0.2)), "max_rl": ("max_rl", "token_mean", (0.2, 0.2)),
    "dapo": ("zscore", "token_mean", (0.2, 0.28)), "gspo": ("zscore", "seq_token_mean", (3e-4, 4e-4)),
    "": ("mean", "token_mean", (0.2, 0.28)),
}  # fmt: skip
"""Advantage, denominator and clip of presets; of none, the default's."""


def _objective(advantage: Any, aggregate: str, low: float, high: float, kl: dict, is_sequence: bool = False) -> dict:
    """The shortest `objective:` that says this, groups of equal rewards kept in the mean."""
    by_aggregate = {"seq_token_mean": "grpo", "const": "dr_grpo"}.get(aggregate, "")
    exact = (name for name, (own, mean, _) in _PRESETS.items() if (own, mean) == (advantage, aggregate))
    name = "gspo" if is_sequence else next(exact, by_aggregate)
    made: dict[str, Any] = {"preset": name} if name else {}
    if name in ("dapo", ""):
        made["group"] = {"select": "all"}
    if name == "grpo":
        kl = kl or {"coef": 0.0}  # the preset's is the paper's 0.04
    keys = ("advantage", "aggregate", "clip_low", "clip_high")
    wanted, own = (advantage, aggregate, low, high), (*_PRESETS[name][:2], *_PRESETS[name][2])
    made |= {key: value for key, value, usual in zip(keys, wanted, own, strict=True) if value != usual}
    return made | ({"kl": kl} if kl else {})


def _number(value: Any) -> float | None:
    """A number, also one that YAML 1.1 reads as text; None where it is none."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _trl_objective(given: Given) -> list[Said]:
    """The preset of TRL's `loss_type` with what changes it."""
    loss, scaled = given.get("loss_type"), given.get("scale_rewards", True)
    if not isinstance(loss, str) or not isinstance(scaled, str | bool):
        return []
    low = _number(given.get("epsilon", 0.2))
    high = low if given.get("epsilon_high") is None else _number(given["epsilon_high"])
    coef = _number(given.get("beta", 0.0))
    if loss not in _AGGREGATES or scaled not in _SCALED or low is None or high is None or coef is None:
        return []
    keys = _present(given, "loss_type", "scale_rewards", "beta", "epsilon", "epsilon_high", "importance_sampling_level")
    is_sequence = given.get("importance_sampling_level") == "sequence"
    kl = {"coef": coef} if coef else {}
    made = _objective(_SCALED[scaled], _AGGREGATES[loss], low, high, kl, is_sequence)
    return [(keys, f"`objective: {_flow(made)}` here")]


def _verl_kl(given: Given) -> list[tuple[tuple[str, ...], dict]]:
    """The KL of each of verl's switches with its keys; a coefficient counts only where it is switched on."""
    told: list[tuple[tuple[str, ...], dict]] = []
    for switch, coef, kind, usual, more in (("use_kl_loss", "kl_loss_coef", "kl_loss_type", "low_var_kl", {}),
                                            ("use_kl_in_reward", "kl_coef", "kl_penalty", "kl",
                                             {"where": "reward"})):  # fmt: skip
        estimator, number = VERL_ESTIMATORS.get(str(given.get(kind, usual))), _number(given.get(coef, 0.001))
        keys = _present(given, switch, coef, kind)
        if len(keys) > 1 and given.get(switch) is False:
            told.append((keys, {}))
        elif len(keys) > 1 and given.get(switch) is True and estimator and number is not None:
            own = {} if estimator == "k3" and not more else {"estimator": estimator}
            told.append((keys, {**own, "coef": number, **more}))
    return told


def _verl_objective(given: Given) -> list[Said]:
    """The preset of verl's estimator with what changes it, and its KL; else the KL alone."""
    name, mode = given.get("adv_estimator"), given.get("loss_agg_mode", "token-mean")
    is_scaled = given.get("norm_adv_by_std_in_grpo", True)
    advantage = {"grpo": "zscore" if is_scaled else "mean", "rloo": "rloo", "opo": "opo"}.get(str(name))
    ratio = given.get("clip_ratio", 0.2)
    low, high = _number(given.get("clip_ratio_low", ratio)), _number(given.get("clip_ratio_high", ratio))
    terms = _verl_kl(given)
    if not advantage or not isinstance(mode, str) or mode not in VERL_AGGREGATES or low is None or high is None:
        off = "left out here: it is switched off, and no KL is the default"
        return [(keys, f"`objective.kl: {_flow(kl)}` here" if kl else off) for keys, kl in terms]
    keys = _present(given, "adv_estimator", "norm_adv_by_std_in_grpo", "loss_agg_mode", "clip_ratio", "clip_ratio_low",
                    "clip_ratio_high")  # fmt: skip
    keys += tuple(key for those, _ in terms for key in those)
    made = _objective(advantage, VERL_AGGREGATES[mode], low, high, next((kl for _, kl in terms if kl), {}))
    return [(keys, f"`objective: {_flow(made)}` here")]


RULES: tuple[Callable[[Given], list[Said]], ...] = (
    _trl_steps, _trl_batch, _openrlhf_batch, _verl_batch, _trl_objective, _verl_objective,
)  # fmt: skip

_GROUPS = "advantage r - mean, groups of equal rewards left out (divided by the standard deviation, kept in the mean)"
_CLIP = frozenset({"epsilon", "epsilon_high", "loss_type", "clip_ratio", "clip_ratio_low", "clip_ratio_high",
                   "adv_estimator", "eps_clip", "eps_clip_low_high", "objective"})  # fmt: skip
_ADVANTAGE = frozenset({"loss_type", "scale_rewards", "adv_estimator", "norm_adv_by_std_in_grpo", "objective"})
_BETA2 = frozenset({"adam_beta2", "betas", "optimizer"})
_SCHEDULE = frozenset({"lr_scheduler_type", "warmup_steps", "warmup_ratio", "lr_warmup_steps", "lr_warmup_steps_ratio",
                       "optimizer"})  # fmt: skip
_TEMPLATE = frozenset({"apply_chat_template", "input_template", "prompt"})
DEFAULTS: dict[str, list[tuple[frozenset[str], str]]] = {
    "TRL": [
        (_ADVANTAGE, _GROUPS),
        (_CLIP, "clip 0.2/0.28 (0.2/0.2)"),
        (frozenset({"vllm_importance_sampling_correction", "vllm_importance_sampling_mode"}),
         "correction tis, cap 2, of each token (with vLLM alone: sequences above 3 masked)"),
        (frozenset({"beta"}), "no KL (the same)"),
        (frozenset({"temperature"}), "temperature 1 (the same)"),
        (_BETA2, "AdamW's beta2 0.95 (0.999)"),
        (_SCHEDULE, "a constant rate after 10 updates of warm-up (linear to 0, none)"),
        (_TEMPLATE, "prompt.format 'Question: {prompt}\\nAnswer:' (the text as it is, or the chat template)"),
    ],
    "verl": [
        (_ADVANTAGE, _GROUPS),
        (_CLIP, "clip 0.2/0.28 (0.2/0.2, dual 3)"),
        (frozenset(), "correction tis, cap 2, of each token (none)"),
        (frozenset({"use_kl_loss", "kl_loss_coef", "use_kl_in_reward", "kl_coef"}), "no KL (the same)"),
        (_BETA2, "AdamW's beta2 0.95 (0.999)"),
        (_SCHEDULE, "10 updates of warm-up (none)"),
        (frozenset({"n"}), "group_size 8 (1)"),
        (frozenset({"train_batch_size"}), "prompts_per_step 32 (1024)"),
        (_TEMPLATE, "prompt.format 'Question: {prompt}\\nAnswer:' (the chat template: prompt.template: chat)"),
    ],
    "OpenRLHF": [
        (_ADVANTAGE, "advantage r - mean of its group (GAE with a critic)"),
        (_CLIP, "clip 0.2/0.28 (0.2/0.2)"),
        (frozenset({"enable_vllm_is_correction"}), "correction tis, cap 2, of each token (none)"),
        (frozenset({"init_kl_coef"}), "no KL (0.01 of k1 in the reward)"),
        (frozenset({"n_samples_per_prompt"}), "group_size 8 (1)"),
        (_SCHEDULE, "a constant rate after 10 updates of warm-up (cosine to a tenth, 3 % of warm-up)"),
    ],
}  # fmt: skip
"""Keys that settle it, and a default of ours with theirs in parentheses."""
CONVERTED = {
    "TRL": "r1lab convert trl CONFIG makes a recipe that states them",
    "verl": "r1lab convert verl OVERRIDES makes a recipe that states them",
    "OpenRLHF": "r1lab train --explain KEY says more of each",
}
"""What goes on from there."""
TELLING = {
    "TRL": frozenset({
        "beta", "epsilon", "epsilon_high", "gradient_accumulation_steps", "log_completions", "loss_type",
        "max_completion_length", "max_prompt_length", "num_generations", "num_iterations", "output_dir",
        "per_device_train_batch_size", "report_to", "reward_funcs", "scale_rewards", "steps_per_generation",
        "generation_batch_size", "use_vllm", "vllm_mode", "num_train_epochs", "logging_steps", "max_steps",
    }),
    "verl": frozenset({
        "adv_estimator", "clip_ratio", "kl_loss_coef", "kl_loss_type", "loss_agg_mode", "max_response_length", "n",
        "norm_adv_by_std_in_grpo", "ppo_epochs", "ppo_micro_batch_size_per_gpu", "ppo_mini_batch_size", "total_epochs",
        "total_training_steps", "train_batch_size", "train_files", "use_kl_in_reward", "use_kl_loss", "kl_coef",
    }),
    "OpenRLHF": frozenset({
        "advantage_estimator", "actor_learning_rate", "eps_clip", "generate_max_len", "init_kl_coef", "max_epochs",
        "micro_rollout_batch_size", "micro_train_batch_size", "n_samples_per_prompt", "num_episodes", "pretrain",
        "prompt_data", "prompt_max_len", "rollout_batch_size",
    }),
}  # fmt: skip
"""Keys by which a library is known."""
