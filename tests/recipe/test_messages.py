"""Whatever is wrong with a recipe is said in one line, in the recipe's own words, all of it at once."""

import re

import pytest

from r1lab.errors import RecipeError
from r1lab.recipe.load import KIND_OF_STAGE, parse_yaml, resolve
from r1lab.recipe.messages import keys

ONE = {"data": {"task": "addition"}, "steps": 3}
VALIDATORS_OWN = re.compile(
    r"[Ii]nput should|instance of|valid (?:dict|tuple|str|int)|type=|\.(?:str|int|dict)\b|\[key\]"
)
"""Words of the library that validates: "input should be a valid string", "verifier.str"; not "data.split"."""


def said(recipe) -> str:
    with pytest.raises(RecipeError) as error:
        resolve(parse_yaml(recipe, "recipe") if isinstance(recipe, str) else recipe)
    assert "\n" not in str(error.value)
    return str(error.value)


def listed(recipe) -> list[str]:
    """The lines of a recipe with several keys of another library."""
    with pytest.raises(RecipeError) as error:
        resolve(recipe)
    return str(error.value).split("\n  ")


@pytest.mark.parametrize(("recipe", "line"), [
    ("{steps: 3, num_generations: 8, data: {task: addition}}", "num_generations: unknown key; it is `group_size` here"),
    ("{steps: 3, weight_decay: 0.1, data: {task: addition}}",
     "weight_decay: unknown key; it is `optimizer.weight_decay` here"),
    ("{steps: 3, sampling: {temperature: 0.7}, data: {task: addition}}",
     "sampling.temperature: unknown key; it is `temperature` here"),
    ("{steps: 3, group_size: 8, kind: sft, data: {task: addition}}",
     "group_size: unknown key; it is of stages of kind rl or reject or judge"),
    ("{steps: 3, lora_dropout: 0.1, data: {task: addition}}",
     "lora_dropout: unknown key; it has no key here (the adapter has no dropout, nor has the model)"),
    ("{steps: 3, verifier: 3, data: {task: addition}}",
     "verifier: must be a name, a dotted path module:name, or {use: name, ...} or null, got 3"),
    ("{steps: '3', data: {task: addition}}",
     "steps: must be a whole number greater than 0 or null, got '3'; leave the quotes out"),
    ("{steps: 3, data: {task: addition, columns: 3}}", "data.columns: must be a mapping of names to values, got 3"),
    ("{steps: 3, data: [{task: addition}, {task: addition, size: 0}]}",
     "data.1.size: must be a whole number greater than 0, got 0"),
    ("{steps: 3, data: {mine: {task: addition, size: 0}}}",
     "data.mine.size: must be a whole number greater than 0, got 0"),
    ("{steps: 3, stop: [x], data: {task: addition}}",
     "stop: must be a mapping of keys (max_tokens, max_flops, max_hours, patience, metric, no_signal), got ['x']; "
     "strings that end a completion stand under sampling.stop"),
    ("{steps: 3, prompt: chat, data: {task: addition}}",
     "prompt: must be a mapping of keys (template, format, examples, system_prompt, prefill_think, "
     "template_variables), got 'chat'; such as prompt: {template: chat}"),
    ("{steps: 3, objective: {kl: 0.04}, data: {task: addition}}",
     "objective.kl: must be a mapping of keys (estimator, coef, where, to_go, ref_refresh_steps) or null, got 0.04; "
     "such as objective.kl: {coef: 0.04}"),
    ("{steps: 3, lora: true, data: {task: addition}}",
     "lora: must be a mapping of keys (rank, alpha, targets) or null, got True; such as lora: {rank: 16}"),
    ("{steps: 3, sampling: {stop: x}, data: {task: addition}}",
     "sampling.stop: must be a list, each a text, got 'x'; such as sampling.stop: [x]"),
    ("{steps: 3, sampling: {stop: 3}, data: {task: addition}}",
     "sampling.stop: must be a list, each a text, got 3"),
    ("{steps: 3, precision: float16, data: {task: addition}}",
     "precision: must be one of auto, float32, bf16_autocast, pure_bf16, got 'float16'; did you mean 'float32'?"),
    ("{steps: 3, model: {path: Qwen/Qwen2.5-0.5B}, data: {task: addition}}",
     "model: must be a text, got {'path': 'Qwen/Qwen2.5-0.5B'}; such as model: Qwen/Qwen2.5-0.5B"),
    ("{steps: 3, model: 3, data: {task: addition}}", "model: must be a text, got 3; put the text in quotes"),
    ("{steps: 3, truncated: maks, data: {task: addition}}",
     "truncated: must be one of score, zero, mask, got 'maks'; did you mean 'mask'?"),
    ("{steps: 3, truncated: drop, data: {task: addition}}",
     "truncated: must be one of score, zero, mask, got 'drop'"),
    ("{steps: 3}", "data: missing; every stage needs it, such as data: {path: problems.jsonl}"),
])  # fmt: skip
def test_one_mistake(recipe, line):
    assert said(recipe) == line


def test_every_unknown_key_and_every_wrong_value_at_once():
    keys = {"num_generations": 8, "beta": 0.04, "learning_rat": 1, "optimizer": {"lr": 1}, "threads": -1}
    *lines, defaults = listed(ONE | keys)
    assert lines == [
        "4 unknown keys:",
        "`num_generations` is `group_size: 8` here",
        "`beta` is `objective: {group: {select: all}, advantage: {use: zscore, epsilon: 0.0001}, clip_low: 0.2, "
        "clip_high: 0.2, aggregate: token_mean, kl: {estimator: k3_is, coef: 0.04}, correction: none}` here (groups of "
        "equal rewards stay in the mean; TRL 1.16 multiplies the KL by the ratio; for older ones take k3)",
        "`learning_rat`: did you mean 'learning_rate'?",
        "`optimizer.lr` is `learning_rate` here",
        "threads: must be a whole number >= 0, got -1",
    ]
    assert defaults.startswith("TRL's defaults that differ here: ")


def test_typing_mistakes_stand_in_one_line():
    line = said(ONE | {"num_generations": 8, "learning_rat": 1, "threads": -1})
    assert line == (
        "2 unknown keys: `num_generations` is `group_size` here; `learning_rat`: did you mean 'learning_rate'?; "
        "threads: must be a whole number >= 0, got -1"
    )


def test_a_missing_length_hides_no_unknown_key():
    assert said("{num_train_epochs: 1, data: {task: addition}}") == (
        "num_train_epochs: unknown key; it is `epochs` here; steps: missing in stage 'rl'; say how many, or set "
        "stop.max_tokens or epochs"
    )


def test_the_sections_of_another_library_are_told_of_key_by_key():
    actor = {"optim": {"lr": 1e-6}, "kl_loss_coef": 1}
    lines = listed(ONE | {"actor_rollout_ref": {"rollout": {"n": 8}, "actor": actor}})
    assert lines[:2] == ["3 unknown keys:", "`actor_rollout_ref.rollout.n` is `group_size: 8` here"]


def test_a_section_that_is_one_setting_is_told_of_as_one():
    line = said(ONE | {"custom_reward_function": {"path": "reward.py", "name": "score"}})
    assert line == "custom_reward_function: unknown key; it is `verifier: package.module:name` here"


def test_every_stage_is_told_of_at_once():
    line = said({**ONE, "stages": [{"kind": "sft", "tempo": 1}, {"kind": "rl", "learning_rat": 1}]})
    assert line.startswith("2 unknown keys: `tempo`") and "`learning_rat`: did you mean 'learning_rate'?" in line


@pytest.mark.parametrize("engine", ["local", "auto"])
def test_an_engine_may_be_given_by_its_kind_alone(engine):
    assert resolve({**ONE, "engine": engine}).stages[0].engine.kind == engine


@pytest.mark.parametrize("key", [*keys(KIND_OF_STAGE["rl"]), "data.columns", "data.where", "engine.urls", "eval.sets",
                                 "optimizer.beta1", "objective.kl", "objective.mask", "prompt.examples"])  # fmt: skip
@pytest.mark.parametrize(
    "value", [None, True, -1, 1.5, "x", "8", [1], {}, {"a": 1}, float("nan"), {"use": 3}, [{}], {1: 2}]
)
def test_no_value_anywhere_brings_the_validators_own_words(key, value):
    raw = {**ONE, "data": dict(ONE["data"])}
    outer, _, inner = key.rpartition(".")
    (raw.setdefault(outer, {}) if outer else raw)[inner] = value
    try:
        resolve(raw)
    except RecipeError as error:
        assert "\n" not in str(error) and not VALIDATORS_OWN.search(str(error).partition(", got")[0])
        assert len(str(error)) < 600
