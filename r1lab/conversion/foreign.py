"""What a key of TRL, verl, OpenRLHF or vLLM is in a recipe, also by its value. Read where a key is unknown
(`r1lab.recipe.messages`) and where a config is translated; no such key is taken as it stands, since what is alike in
name often differs in units. Not what several of them say together (`trl`, `verl`, `openrlhf`).
"""

from typing import Any

from r1lab.conversion.foreign_keys import CONTAINERS, KEYS, PATHS, WHOLE

__all__ = ["CONTAINERS", "KEYS", "PATHS", "VALUES", "WHOLE", "counterpart"]

_DR_GRPO = (
    "objective.aggregate: {use: const}; TRL's keeps z-scored advantages: add objective.advantage: zscore for the "
    "same numbers, since preset dr_grpo here is the paper's, centred on the mean alone"
)
AGGREGATES = {
    "grpo": "seq_token_mean", "bnpo": "token_mean", "dapo": "token_mean", "dr_grpo": "const", "cispo": "token_mean",
    "sapo": "seq_token_mean", "luspo": "seq_token_sum", "vespo": "token_mean",
}  # fmt: skip
"""The denominator of TRL's `loss_type`."""
SCALED: dict[str, Any] = {
    "group": {"use": "zscore", "epsilon": 1e-4}, "none": "mean", "batch": {"use": "mean", "scale": "batch_std"},
    "mean": "max_rl",
}  # fmt: skip
"""The advantage of TRL's `scale_rewards`, where true is group and false none."""
VERL_AGGREGATES = {
    "token-mean": "token_mean", "seq-mean-token-mean": "seq_token_mean", "seq-mean-token-sum": "seq_token_sum",
    "seq-mean-token-sum-norm": "const",
}  # fmt: skip
"""The denominator of verl's `loss_agg_mode`."""
VERL_ESTIMATORS = {"low_var_kl": "k3", "k3": "k3", "mse": "k2", "k2": "k2", "abs": "abs", "kl": "k1", "k1": "k1"}
"""The KL estimator by verl's name of it."""
SWITCHES = frozenset(
    {
        "auto_find_batch_size", "dynamic_filtering", "enable_gradient_checkpointing", "filter_overlong_prompts",
        "fp16", "gradient_checkpointing", "load_best_model_at_end", "mask_truncated_completions", "push_to_hub",
        "sync_ref_model", "tensorboard", "use_kl_in_reward", "use_kl_loss", "use_liger_kernel", "use_liger_loss",
        "use_peft", "use_vllm", "wandb",
    }
)  # fmt: skip
"""Keys that turn on what is off here."""
_ZSCORE = "objective.advantage: zscore; exactly {use: zscore, epsilon: 0.0001}"
_MEAN = "objective.advantage: mean"
_NO_EVALS = "no key; eval.every: 0 is how it is here"
VALUES: dict[str, dict[Any, str]] = {
    "apply_chat_template": {False: "prompt.template: plain"},
    "bf16": {False: "precision: float32"},
    "enable_vllm_is_correction": {False: "objective.correction: none"},
    "eval_on_start": {False: "eval.at_start: false"},
    "eval_strategy": {False: _NO_EVALS, "no": _NO_EVALS},
    "evaluation_strategy": {False: _NO_EVALS, "no": _NO_EVALS},
    "log_completions": {False: "print_samples: 0"},
    "max_steps": {-1: "no key; -1 leaves the length to the epochs"},
    "val_before_train": {False: "eval.at_start: false"},
    "vllm_importance_sampling_correction": {False: "objective.correction: none"},
    "loss_type": {
        **{name: f"objective.aggregate: {AGGREGATES[name]}" for name in ("grpo", "bnpo", "dapo")},
        "dr_grpo": _DR_GRPO,
        "cispo": "objective.preset: cispo; its clip_high is epsilon_high - 1",
        "sapo": "objective.preset: sapo",
        "luspo": "objective.preset: luspo",
        "vespo": "objective.preset: vespo",
        "sigmoid": "objective.preset: dpo",
        "ipo": "objective.preset: ipo",
    },
    "scale_rewards": dict.fromkeys((True, "group"), _ZSCORE) | dict.fromkeys((False, "none"), _MEAN) | {
        "batch": "objective.advantage: {use: mean, scale: batch_std}",
        "mean": "objective.advantage: max_rl",
    },
    "loss_agg_mode": {name: f"objective.aggregate: {here}" for name, here in VERL_AGGREGATES.items()},
    "adv_estimator": {
        "grpo": "objective.advantage: zscore",
        "gae": "objective.advantage: {use: gae}",
        "rloo": "objective.advantage: rloo",
        "remax": "objective.preset: remax",
        "opo": "objective.advantage: opo",
        "reinforce_plus_plus": "objective.preset: reinforce_pp",
        "reinforce_plus_plus_baseline": "objective.preset: reinforce_pp_baseline",
    },
    "kl_loss_type": {
        "low_var_kl": "objective.kl.estimator: k3",
        "kl": "objective.kl.estimator: k1; as a loss it teaches nothing: take k2 or k3",
        "mse": "objective.kl.estimator: k2",
        "abs": "objective.kl.estimator: abs",
    },
    "lr_scheduler_type": {
        "linear": "optimizer.schedule: linear",
        "cosine": "optimizer.schedule: cosine",
        "constant": "optimizer.schedule: constant",
        "constant_with_warmup": "optimizer.schedule: constant; with optimizer.warmup_updates",
    },
    "vllm_mode": {"colocate": "engine.kind: vllm", "server": "engine.kind: server; and engine.urls"},
}  # fmt: skip
"""The same of a key with a value."""
TRACKERS = ("tensorboard", "wandb")


def counterpart(path: str, value: Any = None) -> str:
    """What a key of another library, by its dotted path here, is in a recipe; an empty text where it is none of them.

    >>> counterpart("num_generations")
    'group_size'
    """
    key = path.rpartition(".")[2]
    if value is False and key in SWITCHES:
        return "no key; false is how it is here"
    by_value = VALUES.get(key, {})
    if isinstance(value, str | int) and value in by_value:
        return by_value[value]
    if key in ("report_to", "logger") and isinstance(value, str | list):
        return _trackers([value] if isinstance(value, str) else value)
    for end, here in PATHS.items():
        if f".{path}".endswith(f".{end}"):
            return here
    return KEYS.get(key, "")


def _trackers(names: list) -> str:
    """What a choice of trackers is here: a list of those there are."""
    if "all" in names:
        return "trackers: [tensorboard, wandb]"
    known = [name for name in TRACKERS if name in names]
    if known:
        return f"trackers: [{', '.join(known)}]"
    if set(map(str, names)) <= {"none", "no", "console"}:
        return "no key; none is how it is here, metrics.jsonl has every step"
    return "trackers; a list of tensorboard and wandb, metrics.jsonl has every step"
