"""Every knob says what it is, and refuses what it is not."""

import math

import pytest
from pydantic import ValidationError

from r1lab.errors import RecipeError
from r1lab.recipe import (
    EntropyConfig,
    EvalConfig,
    KlConfig,
    ObjectiveConfig,
    OptimizerConfig,
    RlStageConfig,
    SamplingConfig,
    SftStageConfig,
    SourceConfig,
    StopConfig,
    stages,
)
from r1lab.recipe.base import Config, Kind, kind_of, select
from r1lab.recipe.load import resolve

MODELS = [
    each for each in vars(stages).values() if isinstance(each, type) and issubclass(each, Config) and each != Config
]
FIELDS = [(model, name) for model in MODELS for name in model.model_fields]
SOURCE = {"task": "addition"}


def stage(kind=RlStageConfig, **settings):
    return kind(**{"data": SOURCE, "steps": 1, **settings})


@pytest.mark.parametrize("model, name", FIELDS, ids=[f"{model.__name__}.{name}" for model, name in FIELDS])
def test_every_knob_says_what_it_is_and_of_which_kind(model, name):
    text = model.model_fields[name].description or ""
    assert kind_of(model, name) in Kind
    assert len(text.split()) >= 3, f"{text!r} says less than three words"


def test_every_model_is_frozen_and_refuses_unknown_keys():
    for model in MODELS:
        assert model.__doc__ and model.model_config["frozen"] and model.model_config["extra"] == "forbid"


def test_the_defaults_are_those_of_the_vouched_for_recipe():
    made = stage()
    assert (made.group_size, made.temperature, made.learning_rate, made.updates_per_step) == (8, 1.0, 1e-6, 1)
    assert (made.optimizer.beta1, made.optimizer.beta2, made.optimizer.weight_decay) == (0.9, 0.95, 0.0)
    assert (made.optimizer.warmup_updates, made.optimizer.grad_clip, made.reward) == (10, 1.0, {"score": 1.0})


@pytest.mark.parametrize("name", ["prompts_per_step", "group_size", "max_new_tokens", "micro_batch_tokens", "reuse",
                                  "updates_per_step", "steps", "checkpoint_every", "keep_last"])  # fmt: skip
@pytest.mark.parametrize("value", [0, -1, 1.5, "3", True, math.nan])
def test_sizes_are_whole_numbers_above_zero(name, value):
    with pytest.raises(ValidationError):
        stage(**{name: value})


@pytest.mark.parametrize("settings", [
    {"learning_rate": 0}, {"learning_rate": -1e-6}, {"learning_rate": math.nan}, {"learning_rate": math.inf},
    {"learning_rate": "1e-6"}, {"temperature": 0}, {"temperature": math.inf}, {"max_error_rate": 1.5}, {"threads": -1},
    {"truncated": "drop"}, {"precision": "fp8"}, {"kernel": "triton2"}, {"reward": {"score": "one"}}, {"model": 3},
    {"data": {}}, {"data": []}, {"data": None}, {"data": 5}, {"data": {"path": "a", "task": "b"}}, {"objective": 3},
])  # fmt: skip
def test_what_is_of_another_kind_is_refused(settings):
    with pytest.raises(ValidationError):
        stage(**settings)


@pytest.mark.parametrize("model, settings", [
    (OptimizerConfig, {"beta1": 1.1}), (OptimizerConfig, {"epsilon": 0}), (OptimizerConfig, {"grad_clip": -1}),
    (OptimizerConfig, {"schedule": "step"}), (SamplingConfig, {"top_p": 0}), (SamplingConfig, {"top_k": -1}),
    (SamplingConfig, {"min_p": 2}), (EvalConfig, {"n": 0}), (EvalConfig, {"temperature": -1}),
    (StopConfig, {"max_tokens": 0}), (StopConfig, {"max_hours": 0}), (SourceConfig, {}),
    (SourceConfig, {**SOURCE, "path": "x"}), (SourceConfig, {**SOURCE, "weight": 0}),
    (SourceConfig, {**SOURCE, "size": 0}), (ObjectiveConfig, {"clip_low": -0.1}),
    (ObjectiveConfig, {"clip_high": math.nan}), (ObjectiveConfig, {"advantage": 3}),
    *((KlConfig, each) for each in ({"coef": -1}, {"coef": math.nan}, {"coef": math.inf}, {"where": "prompt"},
        {"ref_refresh_steps": 1.5}, {"ref_refresh_steps": math.inf}, {"beta": 0.1}, {"estimator": 3})),
    *((EntropyConfig, each) for each in ({"coef": True}, {"coef": "x"}, {"coef": math.nan}, {"coef": math.inf},
        {"c": 1}, {"coef": 0.1, "target": "low"}, {"coef": 0.1, "delta": 0.01})),
])  # fmt: skip
def test_what_is_out_of_range_is_refused(model, settings):
    with pytest.raises(ValidationError):
        model(**settings)


def test_patience_and_metric_go_together():
    assert StopConfig(patience=2, metric="eval/test/avg").patience == 2
    for half in ({"patience": 2}, {"metric": "eval/test/avg"}):
        with pytest.raises(ValidationError, match="`patience` and `metric` go together"):
            StopConfig(**half)


@pytest.mark.parametrize("sampling", [{"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}])
def test_training_on_another_distribution_than_the_policys_must_be_asked_for(sampling):
    with pytest.raises(ValidationError, match=r"set sampling\.allow_biased_sampling: true"):
        stage(sampling=sampling)
    assert stage(sampling={**sampling, "allow_biased_sampling": True}).sampling.biased
    assert not stage().sampling.biased


@pytest.mark.parametrize("data, names", [
    (SOURCE, ["addition"]), ([SOURCE, SOURCE], ["addition", "addition-1"]), ({"mine": SOURCE}, ["mine"]),
    ({"path": "a/x"}, ["data"]), ([{"path": "a/x"}, SOURCE, {"path": "b"}], ["data", "addition", "data-2"]),
])  # fmt: skip
def test_one_source_a_list_and_a_mapping_are_sources_by_name(data, names):
    assert list(stage(data=data).data) == names


def test_an_sft_stage_has_no_knobs_of_rl():
    assert set(RlStageConfig.model_fields) - set(SftStageConfig.model_fields) == {
        "group_size", "updates_per_step", "reuse", "temperature", "reward", "truncated", "old_logprobs",
        "max_error_rate", "max_staleness", "second_verifier", "print_samples", "curriculum", "train_verifier",
    }  # fmt: skip
    with pytest.raises(ValidationError):
        stage(SftStageConfig, group_size=2)


def test_each_knob_is_selected_under_one_kind():
    made = stage(stop={"max_tokens": 5}, eval={"sets": {"t": SOURCE}, "keep_best": "eval/t/avg"})
    chosen = {kind: select(made, kind) for kind in Kind}
    assert chosen[Kind.FREE]["stop"]["max_tokens"] == 5 and "stop" not in chosen[Kind.RESULT]
    assert chosen[Kind.RESULT]["learning_rate"] == 1e-6 and chosen[Kind.ROUNDING].keys() == {
        "micro_batch_tokens", "attention", "activation_checkpointing", "model_kernels", "kernel", "parallel", "threads",
        "engine",
    }  # fmt: skip
    assert chosen[Kind.RESULT]["eval"] == {"keep_best": "eval/t/avg"}


@pytest.mark.parametrize(("trackers", "names"), [
    ("wandb", ("wandb",)), (["wandb"], ("wandb",)), (["tensorboard", "wandb"], ("tensorboard", "wandb")), ([], ()),
    ("none", ()), (None, ()),
])  # fmt: skip
def test_one_tracker_may_stand_alone(trackers, names):
    assert resolve({"data": {"task": "addition"}, "steps": 1, "trackers": trackers}).stages[0].trackers == names


@pytest.mark.parametrize("trackers", ["mlflow", ["mlflow"], 3, True, {"wandb": 1}, ["none"]])
def test_what_is_no_tracker_is_refused(trackers):
    with pytest.raises(RecipeError, match=r"^trackers(\.0)?: must be .* got "):
        resolve({"data": {"task": "addition"}, "steps": 1, "trackers": trackers})
