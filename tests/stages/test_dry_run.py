"""A dry run without the hub checks what it can, counts from known shapes, and says what it could not look at."""

import pytest

from r1lab.errors import RecipeError
from r1lab.policy import models
from r1lab.recipe import load
from r1lab.stages import dry_run as outline
from r1lab.stages import model_shapes
from r1lab_data.problem import DataError

PUBLISHED = {"0.5B": 0.49e9, "1.5B": 1.54e9, "3B": 3.09e9, "7B": 7.61e9, "32B": 32.5e9}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    def probe(path):
        raise DataError(f"{path}: no hub")

    monkeypatch.setattr(outline, "probe", probe)


def dry_run(recipe, *overrides) -> str:
    return outline.dry_run(load.resolve(*load.read(recipe, overrides)))


@pytest.mark.parametrize("name", model_shapes.SHAPES)
def test_a_known_shape_has_the_published_number_of_weights(name):
    size = PUBLISHED[name.rpartition("-")[2]]
    assert models.num_parameters(model_shapes.config_of(name)) == pytest.approx(size, rel=0.01)


GPU = {
    "simplerl_zoo": "Qwen/Qwen2.5-7B",
    "simplerl_zoo model=Qwen/Qwen2.5-0.5B": "Qwen/Qwen2.5-0.5B",
    "simplerl_zoo model=Qwen/Qwen2.5-1.5B": "Qwen/Qwen2.5-1.5B",
    "oat_zero": "Qwen/Qwen2.5-Math-7B",
    "oat_zero model=Qwen/Qwen2.5-Math-1.5B": "Qwen/Qwen2.5-Math-1.5B",
    "dapo_qwen2.5_32b": "Qwen/Qwen2.5-32B",
    "dapo_qwen2.5_32b model=Qwen/Qwen2.5-7B max_new_tokens=8192": "Qwen/Qwen2.5-7B",
    "tinyzero_countdown": "Qwen/Qwen2.5-3B",
    "distill_qwen2.5": "Qwen/Qwen2.5-0.5B",
    "rlhf_qwen2.5": "Qwen/Qwen2.5-0.5B",
    "rlaif_qwen2.5": "Qwen/Qwen2.5-1.5B",
    "constitutional_qwen2.5": "Qwen/Qwen2.5-7B",
    "r1_four_stage_qwen2.5": "Qwen/Qwen2.5-1.5B",
}


@pytest.mark.parametrize("command", GPU)
def test_the_recipes_for_gpus_are_checked_on_the_meta_device(command):
    text = dry_run(*command.split())
    weights = 4 * models.num_parameters(model_shapes.config_of(GPU[command])) / 2**30
    assert f"estimated GiB: weights {weights:.2f}," in text
    assert f"not checked, for the hub cannot be reached: the tokenizer or data of {GPU[command]}," in text


def test_what_is_wrong_without_tokenizer_and_data_is_refused_all_the_same():
    for override, says in (
        ("max_new_tokens=40000", "max_new_tokens: 40000 leaves no room for a prompt in the context of 32768"),
        ("model=some/other", "its shape is not known here; known: Qwen/Qwen2.5-0.5B"),
        ("data.path=missing.jsonl", "missing.jsonl: no such file or folder"),
        ("objective.preset=dappo", "objective.preset: 'dappo'"),
        ("verifier=nummeric", "verifier: "),
        ("eval.keep_best=eval/other/avg", "eval.keep_best: 'eval/other/avg' is not evaluated"),
    ):
        with pytest.raises(RecipeError, match=says.replace("(", r"\(")):
            dry_run("gsm8k_zero", override)


def test_what_lies_on_this_machine_needs_no_hub():
    text = dry_run("rejection_sft")
    assert "not checked" not in text
    assert "stage samples_1: 4,096 problems, steps 10" in text
    assert "stage sft_1: those of stage samples_1, steps until its data is there" in text
