"""Credit by steps in whole runs: it learns from them, resumes bit for bit, and steps are never dropped silently."""

import json

import pyarrow.parquet as pq
import pytest

import r1lab
from r1lab.errors import RecipeError, RunError

BASE = {
    "name": "steps", "steps": 2, "prompts_per_step": 4, "group_size": 4, "max_new_tokens": 40, "threads": 1,
    "data": {"task": "addition", "size": 32, "settings": {"digits": 2}}, "prompt": {"format": "Q: {prompt}\nA:"},
    "learning_rate": 1e-3, "optimizer": {"warmup_updates": 0}, "workers": {"count": 1}, "checkpoint_every": 1,
}  # fmt: skip


def train(folder, **knobs):
    recipe = {**BASE, "verifier": "addition_columns", "objective": {"credit": "steps"}, "out": str(folder), **knobs}
    return r1lab.train(recipe)


def test_tokens_of_one_completion_have_advantages_by_their_steps_and_a_longer_run_is_the_unbroken_one(tmp_path):
    run = train(tmp_path / "whole")
    assert all(row["update/grad_norm"] > 0 for row in run.metrics)
    rollouts = pq.read_table(run.path / "rollouts" / "rl-1.parquet").to_pylist()
    samples = {
        (row["draw"], row["index"]): row for row in pq.read_table(run.path / "samples" / "rl-1.parquet").to_pylist()
    }
    seen = 0
    for row in rollouts:
        steps, advantage = json.loads(row["credited_steps"]), samples[row["draw"], row["index"]]["advantage"]
        assert len(steps) == len(json.loads(row["steps"])) and (not steps or steps[-1][0] == len(advantage))
        totals = [sum(s for _, s in json.loads(r["credited_steps"])) for r in rollouts if r["draw"] == row["draw"]]
        for t, found in enumerate(advantage):
            to_come = sum(score for end, score in steps if end > t)
            assert found == pytest.approx(to_come - sum(totals) / 4, abs=1e-6)
        seen += len(set(advantage)) > 1
    assert seen > 1
    train(tmp_path / "parts", steps=1)
    parts = train(tmp_path / "parts", steps=2)
    strip = lambda row: {key: value for key, value in row.items() if not key.startswith("time/")}  # noqa: E731
    assert list(map(strip, parts.metrics)) == list(map(strip, run.metrics))


def test_steps_that_nothing_reads_end_the_run_before_anything_is_learned(tmp_path):
    with pytest.raises(RunError, match=r"has steps, which no credit reads; set objective.credit: \{use: steps"):
        train(tmp_path / "run", objective={})
    assert train(tmp_path / "off", objective={}, verifier={"use": "addition_columns", "steps": False}, steps=1)


def test_a_source_that_is_no_part_of_the_reward_is_refused_and_a_part_may_be_one(tmp_path):
    credit = {"credit": {"use": "steps", "source": "addition_columns"}}
    with pytest.raises(
        RecipeError, match=r"objective\.credit\.source: 'addition_columns' is no part of the reward: score"
    ):
        train(tmp_path / "run", objective=credit, verifier="numeric")
    reward = {"score": 1.0, "addition_columns": 0.5}
    run = train(tmp_path / "part", objective=credit, verifier="numeric", reward=reward, steps=1)
    assert run.metrics[-1]["reward/part/addition_columns"] is not None


def test_a_verifier_without_steps_is_told_of(tmp_path, capsys):
    train(tmp_path / "run", verifier="numeric", steps=1)
    assert "none of a step's 16 verdicts of 'verdict' tells steps apart" in capsys.readouterr().err
