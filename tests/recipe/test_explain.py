import re

import pytest

from r1lab.conversion import foreign
from r1lab.errors import RecipeError
from r1lab.recipe.base import Kind
from r1lab.recipe.explain import explain


def test_a_knob_says_what_it_does_its_default_its_kind_and_what_others_call_it():
    text = explain("group_size")
    assert text.startswith("group_size  (stages of kind rl, reject)\n  Completions per problem.\n")
    assert "a whole number greater than 0; default 8" in text and "num_generations" in text and "rollout.n" in text
    assert f"result: {Kind.RESULT.value}" in text


@pytest.mark.parametrize("key, path", [
    ("weight_decay", "optimizer.weight_decay"), ("optimizer.beta1", "optimizer.beta1"), ("kind", "engine.kind"),
    ("distinct", "eval.sets.<name>.distinct"), ("eval.sets.distinct", "eval.sets.<name>.distinct"),
    ("num_generations", "group_size"), ("beta", "objective.kl"), ("rollout.n", "group_size"),
    ("vllm_mode", "engine.kind"), ("warmup_ratio", "optimizer.warmup_updates"), ("from", "from"),
])  # fmt: skip
def test_a_last_name_and_a_name_of_others_lead_to_the_knob(key, path):
    assert re.search(rf"^{re.escape(path)}(\.\w+)?  \(stages of kind ", explain(key), re.M)


def test_a_knob_of_several_kinds_of_stage_is_told_once_and_each_of_several_of_one_name():
    assert explain("learning_rate").count("(stages of kind sft, rl, reward_model, preference)") == 1
    assert explain("epochs").count("(stages of kind") == 2, "sft and rl say different things of it"


def test_a_name_that_means_one_thing_here_and_another_elsewhere_tells_of_both():
    text = explain("epsilon")
    assert text.startswith("epsilon: objective.clip_low (") and "\noptimizer.epsilon  (" in text


def test_what_has_no_key_here_says_why_and_a_misspelt_one_gets_the_nearest():
    assert explain("logging_steps") == "logging_steps: no key (metrics.jsonl has every step)"
    with pytest.raises(RecipeError, match=r"^--explain: 'lerning_rate' is no key; did you mean 'learning_rate'\?$"):
        explain("lerning_rate")
    with pytest.raises(RecipeError, match=r"^--explain: '' is no key"):
        explain("")


@pytest.mark.parametrize(
    ("key", "lines"),
    [
        ("sft", ["kind: sft"]),
        ("reject", ["kind: reject"]),
        ("reward_model", ["reward_model: verifier (", "kind: reward_model", "reward.<name>.use: reward_model"]),
        ("judge", ["kind: judge", "reward.<name>.use: judge", "judge  (stages of kind judge)"]),
        ("combine", ["reward.<name>.combine  (stages of kind rl)"]),
        ("soft", ["judge.soft  (stages of kind judge)", "reward.<name>.soft  (stages of kind rl)"]),
    ],
)
def test_a_kind_of_stage_and_the_keys_of_a_learned_part_are_explained(key, lines):
    text = explain(key)
    found = [next((at for at, line in enumerate(text.split("\n")) if line.startswith(each)), -1) for each in lines]
    assert found == sorted(found) and found[0] == 0 and -1 not in found


def test_every_name_of_others_is_explained_in_lines_of_text():
    for key in foreign.KEYS | foreign.PATHS:
        text = explain(key)
        assert text.startswith(key) and "None" not in text.replace("default None", ""), text
