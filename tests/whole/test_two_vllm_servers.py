"""Two vLLM servers feed two trainers: every draw once, by both, with the policy's own log-probabilities."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from server_child import Child

from r1lab import embedded
from r1lab.run import journal
from r1lab_data import Problem

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

RECIPE = {
    "name": "two_on_two", "steps": 2, "prompt": {"format": "Q: {prompt}\nA:"}, "max_new_tokens": 16,
    "data": {"task": "addition", "size": 16, "settings": {"digits": 2}}, "prompts_per_step": 4, "group_size": 4,
    "learning_rate": 1e-3, "optimizer": {"warmup_updates": 0}, "threads": 1, "workers": {"count": 1},
    "reward": {"score": 1.0, "length": -1.0}, "max_staleness": 1,
    "eval": {"every": 1, "sets": {"test": {"task": "addition", "split": "eval", "size": 4}}},
}  # fmt: skip


def test_two_vllm_servers_feed_two_trainers(tmp_path):
    model, more = str(embedded.path()), ["--dtype", "float32", "--max-num-seqs", "8"]
    with Child(model, tmp_path / "one.log", more=more) as one, Child(model, tmp_path / "two.log", more=more) as two:
        one.wait(400), two.wait(400)
        engine, out = {"kind": "server", "urls": [one.url, two.url]}, tmp_path / "run"
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "engine": engine, "out": str(out)}))
        command = [sys.executable, "-m", "r1lab", "train", str(tmp_path / "recipe.yaml"), "--processes", "2"]
        done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "is given up" not in done.stderr
    drawn, versions = [], []
    for step in (1, 2):
        table = out / "rollouts" / f"rl-{step}.parquet"
        for settled in journal.read_block(table, lambda name: Problem(name, "", "", source="s")):
            drawn += [member.rollout.request.id for member in settled.drawn.members]
            versions += [v for member in settled.drawn.members for v in member.rollout.version.tolist()]
    assert len(drawn) == len(set(drawn)) == 2 * 4 * 4 and {each.draw for each in drawn} == set(range(8))
    assert set(versions) == {0}  # the second block was sampled while the first was learned
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2] and all(row["eval/test/score"] is not None for row in rows)
    assert rows[1]["mismatch/max"] < 1e-4 and rows[1]["update/grad_norm"] > 1e-3
    (note,) = [each for each in json.loads((out / "manifest.json").read_text())["notes"] if "servers" in each]
    assert one.url in note and two.url in note and "2 trainers' requests are computed together" in note
