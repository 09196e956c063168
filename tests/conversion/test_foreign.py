"""Keys of TRL, verl, OpenRLHF and vLLM are told apart from typing mistakes: what each is called here."""

import pytest

from r1lab.conversion.foreign import KEYS, PATHS, VALUES, counterpart
from r1lab.recipe import SourceConfig
from r1lab.recipe.base import Config
from r1lab.recipe.load import KIND_OF_STAGE, TOP
from r1lab.recipe.messages import keys

TARGETS = [*KEYS.values(), *PATHS.values(), *(here for by_value in VALUES.values() for here in by_value.values())]


def stands_in_a_recipe(path: str) -> bool:
    first, *rest = path.split(".")
    if first in TOP and not rest:
        return True
    for model in KIND_OF_STAGE.values():
        field = next((each for name, each in model.model_fields.items() if (each.alias or name) == first), None)
        if field is None:
            continue
        if not rest or rest[0].startswith("<"):
            return True
        inner = [
            each for each in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(each, type)
        ]
        inner = [each for each in inner if issubclass(each, Config)] or [SourceConfig]
        if rest[0] in keys(inner[0]):
            return True
    return False


@pytest.mark.parametrize("here", sorted(set(TARGETS)))
def test_what_a_key_is_said_to_be_stands_in_a_recipe(here):
    name = here.partition("; ")[0].partition(":")[0]
    assert name == "no key" or stands_in_a_recipe(name)


def test_no_key_of_a_recipe_is_called_foreign():
    for model in KIND_OF_STAGE.values():
        assert not set(KEYS) & set(keys(model))


@pytest.mark.parametrize(("path", "value", "here"), [
    ("num_generations", 8, "group_size"), ("actor_rollout_ref.rollout.n", 8, "group_size"),
    ("optim.lr", 1e-6, "learning_rate"), ("scale_rewards", True, "objective.advantage: zscore"),
    ("scale_rewards", False, "objective.advantage: mean"), ("scale_rewards", None, "objective.advantage; zscore where"),
    ("loss_type", "dr_grpo", "objective.aggregate: {use: const}; TRL's keeps z-scored advantages"),
    ("loss_type", ["odd"], "objective.aggregate"), ("learning_rat", 1, ""), ("rollout.notes", 1, ""),
    ("mask_truncated_completions", True, "truncated: mask"), ("use_vllm", True, "engine.kind: vllm"),
    ("mask_truncated_completions", False, "no key; false is how it is here"), ("use_peft", False, "no key; false is"),
    ("gradient_checkpointing", False, "no key; false is"), ("fp16", False, "no key; false is"),
    ("log_completions", False, "print_samples: 0"), ("eval_on_start", False, "eval.at_start: false"),
    ("eval_strategy", "no", "no key; eval.every: 0"), ("eval_strategy", "steps", "eval.every"),
    ("max_steps", -1, "no key; -1 leaves"), ("max_steps", 100, "steps"), ("lr_scheduler_type", "cosine",
     "optimizer.schedule: cosine"), ("lr_scheduler_type", "polynomial", "optimizer.schedule; constant, linear"),
    ("report_to", "wandb", "trackers: [wandb]"), ("report_to", ["wandb", "tensorboard"],
     "trackers: [tensorboard, wandb]"), ("report_to", "none", "no key; none is how it is here"),
    ("report_to", [], "no key; none is how"), ("report_to", "mlflow", "trackers; a list of tensorboard and wandb"),
    ("report_to", "all", "trackers: [tensorboard, wandb]"), ("report_to", 3, "trackers"),
    ("trainer.logger", ["console", "wandb"], "trackers: [wandb]"), ("trainer.logger", ["console"], "no key; none is"),
    ("vllm_importance_sampling_correction", False, "objective.correction: none"),
    ("adv_estimator", "rloo", "objective.advantage: rloo"), ("adv_estimator", "remax", "objective.preset: remax"),
])  # fmt: skip
def test_a_key_is_known_by_name_by_the_end_of_its_path_or_with_its_value(path, value, here):
    assert counterpart(path, value).startswith(here) and bool(counterpart(path, value)) == bool(here)
