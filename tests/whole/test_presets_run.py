"""Every preset that can run trains two steps of the embedded model, from a recipe, and learns from something."""

import math
import sys

import pytest

import r1lab
from r1lab.objective.presets import PRESETS

FIRST = {
    "default", "sft", "raft", "remax", "reinforce_pp", "ppo", "grpo", "dapo", "nft", "kl_cov", "gfpo", "pods", "luffy",
    "srft", "hpt", "uft", "prefix_rft", "bread", "dpo", "rpo", "skywork_or1", "speed_rloo", "rlep", "relift", "gvm",
}  # fmt: skip
"""One for every way of making groups and for each thing that a run has to keep for an objective."""
RUNNABLE = [
    pytest.param(name, marks=() if name in FIRST else pytest.mark.slow)
    for name in PRESETS
]  # fmt: skip
PARITY = """
def parity(completion, answer):
    digits = [character for character in completion if character.isdigit()]
    return bool(digits) and int(digits[-1]) % 2 == int(answer) % 2
"""


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Two steps of a recipe whose rewards are a coin's, so that groups differ; metrics of both."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "coin_checks.py").write_text(PARITY)
    sys.path.append(str(folder))
    base = {
        "steps": 2, "prompts_per_step": 3, "max_new_tokens": 10, "learning_rate": 1e-3, "threads": 1,
        "data": {"task": "addition", "size": 16, "settings": {"digits": 1}}, "prompt": {"format": "Q: {prompt}\nA:"},
        "optimizer": {"warmup_updates": 0}, "verifier": "coin_checks:parity", "workers": {"count": 1},
    }  # fmt: skip

    def train(name, **knobs):
        out = folder / f"{name}-{len(list(folder.iterdir()))}"
        return r1lab.train({"name": name, "out": str(out), **base, **knobs}).metrics

    yield train
    sys.path.remove(str(folder))


def kind_of(preset):
    return "sft" if PRESETS[preset].fields.get("group", {}).get("select") == "demonstrations" else "rl"


@pytest.mark.parametrize("preset", RUNNABLE)
def test_two_steps(train, preset):
    kind = kind_of(preset)
    rows = train(preset, kind=kind, objective={"preset": preset}, **({} if kind == "sft" else {"group_size": 4}))
    assert [row["step"] for row in rows] == [1, 2]
    assert all(math.isfinite(row["loss/value"]) and math.isfinite(row["update/grad_norm"]) for row in rows)
    assert max(row["update/grad_norm"] for row in rows) > 1e-6


@pytest.mark.parametrize("preset", [
    "grpo", "ppo", "nft",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("gspo", "clip_cov", "kl_cov", "rpo")),
])  # fmt: skip
def test_several_updates_on_a_block(train, preset):
    rows = train(preset, objective={"preset": preset}, group_size=4, updates_per_step=2, reuse=2)
    assert all(math.isfinite(row["loss/value"]) for row in rows)


def test_the_fast_tests_hold_every_way_of_making_groups():
    groups = {name: preset.fields.get("group", {}) for name, preset in PRESETS.items()}
    assert {groups[name].get("select") for name in FIRST} == {group.get("select") for group in groups.values()}


def test_masks_corrections_and_a_steered_entropy_together(train):
    objective = {
        "preset": "grpo", "mask": ["off_policy", {"use": "top_entropy", "share": 0.5}],
        "correction": {"use": "icepop", "level": "seq_mean"}, "entropy": {"coef": 0.01, "target": 5.0},
        "kl": {"estimator": "k3_is", "ref_refresh_steps": 1}, "advantage": {"use": "mean", "scale": "batch_std"},
    }  # fmt: skip
    rows = train("everything", objective=objective, group_size=4, updates_per_step=2)
    assert all(math.isfinite(row["loss/value"]) and row["update/grad_norm"] > 0 for row in rows)
