"""A reference of the recipe's choice: checked before the run, kept in a checkpoint by its hash, read by KL."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import r1lab
from r1lab import embedded
from r1lab.errors import RecipeError, RunError

RL = {
    "name": "taught", "prompts_per_step": 4, "group_size": 2, "max_new_tokens": 10, "threads": 1, "steps": 2,
    "data": {"task": "addition", "size": 16, "settings": {"digits": 1}}, "prompt": {"format": "Q: {prompt}\nA:"},
    "optimizer": {"warmup_updates": 0}, "workers": {"count": 1}, "learning_rate": 1e-3, "checkpoint_every": 1,
}  # fmt: skip
DISTILL = {"objective": {"preset": "on_policy_distillation"}, "reward": {"score": 0.0}}


def train(folder, **knobs):
    return r1lab.train({**RL, **DISTILL, "out": str(folder), **knobs})


def deeper(folder):
    """A teacher that writes otherwise than the embedded model does."""
    shutil.copytree(embedded.path("embedded-deep"), folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] *= 0.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_the_deep_model_computes_what_the_embedded_one_does_and_has_twice_its_layers():
    from transformers import AutoModelForCausalLM

    base, deep = (AutoModelForCausalLM.from_pretrained(embedded.path(name)) for name in embedded.MODELS)
    ids = torch.arange(3, 60)[None]
    assert torch.equal(base(ids).logits, deep(ids).logits)
    assert deep.config.num_hidden_layers == 2 * base.config.num_hidden_layers
    assert embedded.path("embedded-deep") == embedded.path("embedded-deep")


def test_a_named_reference_teaches_stays_out_of_the_checkpoint_and_may_not_change(tmp_path):
    teacher = deeper(tmp_path / "teacher")
    run = train(tmp_path / "run", reference=str(teacher))
    assert all(row["update/grad_norm"] > 1e-3 and row["policy/kl_ref"] > 0.01 for row in run.metrics)
    assert "reference" in json.loads((run.path / "manifest.json").read_text())["notes"][0]
    state = next((run.path / "checkpoints").glob("rl-2/*.pt"))
    assert isinstance(torch.load(state, weights_only=False)["policy"]["reference"], str)
    parts = train(tmp_path / "parts", reference=str(teacher), steps=1)
    parts = train(tmp_path / "parts", reference=str(teacher))
    assert [row["loss/value"] for row in parts.metrics] == [row["loss/value"] for row in run.metrics]
    shutil.rmtree(teacher)
    shutil.copytree(embedded.path("embedded-deep"), teacher)
    with pytest.raises(RunError, match="the reference model is another one than the run began with"):
        train(tmp_path / "run", reference=str(teacher), steps=3)


def test_a_stage_may_be_the_teacher(tmp_path):
    stages = [
        {"kind": "sft", "name": "teacher", "model": "embedded-deep", "steps": 1, "learning_rate": 1e-2},
        {"kind": "rl", "name": "student", "model": "embedded", "reference": {"stage": "teacher"}, **DISTILL},
    ]
    knobs = {key: value for key, value in RL.items() if key not in ("steps", "learning_rate")}
    run = r1lab.train({**knobs, "out": str(tmp_path / "run"), "stages": stages}, "stages.student.steps=1")
    assert run.metrics[-1]["policy/kl_ref"] > 0.01
    assert (run.path / "stages" / "teacher" / "model" / "config.json").is_file()


@pytest.mark.parametrize("knobs, says", [
    ({"objective": {}, "reward": {"score": 1.0}, "reference": "embedded"}, "'embedded' would be read by nothing"),
    ({"reference": "embedded", "objective": {"preset": "on_policy_distillation", "kl": {"ref_refresh_steps": 5}}},
     "reference: 'embedded' would be replaced by the policy every 5 steps"),
    ({"reference": "embeded"}, "reference: 'embeded' is neither .*did you mean 'embedded'"),
    ({"reference": {"stage": "sft"}}, r"'sft' is no earlier stage of 'rl' that makes a policy \(there is none\)"),
    ({"reference": {"stag": "sft"}}, "reference"), ({"reference": 3}, "reference"),
    ({}, "reward: it pays nothing, and the KL in it is to the model that the stage begins with"),
])  # fmt: skip
def test_a_reference_that_makes_no_sense_is_one_line(tmp_path, knobs, says):
    with pytest.raises(RecipeError, match=says) as error:
        train(tmp_path / "run", **knobs)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_a_teacher_with_another_tokenizer_is_refused(tmp_path):
    folder = shutil.copytree(embedded.path(), tmp_path / "other")
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    file.write_text(json.dumps(tokenizer))
    with pytest.raises(
        RecipeError, match=r"reference: '.*other' has another vocabulary than the policy \('[ab]' is \d+ "
    ):
        train(tmp_path / "run", reference=str(folder))


def test_a_reward_model_is_no_reference(tmp_path):
    folder = shutil.copytree(embedded.path(), tmp_path / "scores")
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["LlamaForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(RecipeError, match=r"reference: '.*scores' is a reward model"):
        train(tmp_path / "run", reference=str(folder))


def test_stages_that_make_no_policy_are_no_reference(tmp_path):
    stages = [{"kind": "reject", "name": "kept", "steps": 1}, {"kind": "rl", "reference": {"stage": "kept"}, **DISTILL}]
    knobs = {key: value for key, value in RL.items() if key != "learning_rate"}
    with pytest.raises(RecipeError, match=r"reference\.stage: 'kept' is no earlier stage of 'rl' that makes a policy"):
        r1lab.train({**knobs, "out": str(tmp_path / "run"), "stages": stages})


def test_kl_to_another_model_is_measured_against_that_model(tmp_path):
    knobs = {
        "steps": 1,
        "objective": {"preset": "reinforce", "kl": {"coef": 0.1, "estimator": "k2"}},
        "reward": {"score": 1.0},
    }
    near = train(tmp_path / "near", reference="embedded-deep", **knobs).metrics[-1]["policy/kl_ref"]
    far = train(tmp_path / "far", reference=str(deeper(tmp_path / "t")), **knobs).metrics[-1]["policy/kl_ref"]
    assert abs(near) < 1e-5 < 0.01 < far and np.isfinite(far)


def test_who_learns_from_a_teacher_is_not_said_to_have_learned_nothing(tmp_path, capsys):
    train(tmp_path / "run", reference=str(deeper(tmp_path / "t")), steps=1)
    assert "learned nothing" not in capsys.readouterr().err
