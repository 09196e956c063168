"""Flags of OpenRLHF as keys of a recipe, as far as they depend on each other or differ by default. Not a whole recipe:
`r1lab convert` takes none of its configs.
"""

from typing import Any

from r1lab.conversion.translation import ALWAYS, Translation

NAMES = (
    "actor_learning_rate generate_max_len max_epochs micro_rollout_batch_size micro_train_batch_size num_episodes "
    "pretrain prompt_data prompt_max_len rollout_batch_size train_batch_size"
)
"""Keys that are told of by their names."""


def translate(given: dict[str, Any], processes: int | None = None) -> Translation:
    """Sizes and what its defaults are; other keys by their names. processes: not asked for."""
    told = Translation(given)
    group = told.whole("n_samples_per_prompt", 1)
    told.put("n_samples_per_prompt", "group_size", group)
    if {"rollout_batch_size", "train_batch_size"} <= told.given.keys():
        prompts, part = told.whole("rollout_batch_size", 1), told.whole("train_batch_size", 1)
        told.put("rollout_batch_size", "prompts_per_step", prompts)
        note = f"the batches that a step's problems are cut into: {prompts} x {group} / {part}"
        rounded = ", rounded" * bool(prompts * group % part)
        told.put("train_batch_size", "updates_per_step", max(1, round(prompts * group / part)), note + rounded)
    told.put(ALWAYS, "objective.group", {"select": "all"})
    if "advantage_estimator" not in told.given:
        told.put(ALWAYS, "objective.advantage", {"use": "gae", "scale": "whiten"})
    if not {"eps_clip", "eps_clip_low_high"} & told.given.keys():
        told.put(ALWAYS, "objective.clip_high", 0.2)
    if "init_kl_coef" not in told.given:
        told.put(ALWAYS, "objective.kl", {"estimator": "k1", "coef": 0.01, "where": "reward"})
    if not told.get("enable_vllm_is_correction"):
        told.put(ALWAYS, "objective.correction", "none")
    if "lr_scheduler" not in told.given:
        told.put(ALWAYS, "optimizer.schedule", "cosine", "to a tenth, after 3 % of warm-up")
    for key in NAMES.split():
        told.get(key)
    return told
