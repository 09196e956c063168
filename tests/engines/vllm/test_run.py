"""A run that samples with vLLM: killed and resumed it is the unbroken one, bit for bit; in bfloat16 it says how far the
two sides part. Every run is a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from r1lab.engines.vllm import diagnose

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(diagnose.missing() is not None, reason=f"no vLLM: {diagnose.missing()}"),
]
HELD_OUT = {"task": "addition", "size": 8, "split": "eval"}
RECIPE = {
    "name": "colocated",
    "data": {"task": "addition", "size": 64, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 24,
    "learning_rate": 1e-3,
    "objective": {"preset": "nsr"},
    "optimizer": {"warmup_updates": 0},
    "threads": 1,
    "workers": {"count": 1},
    "checkpoint_every": 1,
    "prompts_per_step": 4,
    "group_size": 4,
    "engine": {"kind": "vllm", "max_num_seqs": 8},
    "stages": [
        {"kind": "rl", "name": "exact", "steps": 2, "eval": {"every": 1, "sets": {"test": HELD_OUT}}},
        {"kind": "rl", "name": "narrow", "steps": 1, "engine": {"kind": "vllm", "dtype": "bfloat16"}},
    ],
}
RUN = """
import json, os, signal, sys
from r1lab import loop, pipeline
from r1lab.recipe import load
from r1lab.run import progress

recipe, death = json.loads(sys.argv[1]), int(sys.argv[2])
learn, calls = loop.learn, []

def dying(*arguments):
    calls.append(None)
    if len(calls) == death:
        os.kill(os.getpid(), signal.SIGKILL)
    return learn(*arguments)

loop.learn = dying
pipeline.train(load.resolve(recipe), progress.Progress(quiet=True))
"""


def start(out: Path, death: int = 0, **changed) -> subprocess.Popen:
    """The recipe in `out`, some of it changed; it dies before its update number `death`."""
    recipe = json.dumps({**RECIPE, **changed, "out": str(out)})
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, recipe, str(death)], env=environment, stderr=subprocess.PIPE, text=True
    )


def rows(out: Path) -> list[dict]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if not key.startswith("time/")} for line in lines]


def rows_of_both(unbroken: Path, killed: Path, **changed) -> list[dict]:
    """Rows of a run that is not disturbed, after a look that one killed before its second update and resumed equals
    it."""
    both = start(unbroken, **changed), start(killed, death=2, **changed)
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, -9], said
    again = start(killed, **changed)
    assert (again.communicate()[1], again.returncode)[1] == 0
    found = rows(unbroken)
    assert found == rows(killed)
    weights = [(out / "model" / "model.safetensors").read_bytes() for out in (unbroken, killed)]
    assert weights[0] == weights[1]
    return found


@pytest.mark.timeout(400)
def test_killed_and_resumed_equals_unbroken_and_bfloat16_is_measured(tmp_path):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    found = rows_of_both(unbroken, killed)
    steps = {(row["stage"], row["step"]): row for row in found}
    assert steps["exact", 2]["mismatch/max"] < 1e-4 < 1e-3 < steps["narrow", 1]["mismatch/mean"] < 0.1
    assert steps["narrow", 1]["mismatch/ratio/0.95_1.05"] > 0.5
    pinned = json.loads((unbroken / "manifest.json").read_text())["pinned"]
    assert pinned["exact"]["engine"] == "vllm" and pinned["exact"]["engine_reason"] == "the recipe names it"


@pytest.mark.timeout(400)
def test_so_it_is_with_an_adapter_which_travels_alone(tmp_path):
    pytest.importorskip("peft")
    stage = {**RECIPE["stages"][0], "lora": {"rank": 4}}
    found = rows_of_both(tmp_path / "unbroken", tmp_path / "killed", stages=[stage])
    assert [row["step"] for row in found] == [0, 1, 2] and found[-1]["mismatch/max"] < 1e-4
    assert any("test" in key for key in found[0])  # what is held out was sampled too
    assert (tmp_path / "unbroken" / "model" / "adapter" / "adapter_model.safetensors").is_file()
