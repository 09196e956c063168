"""A user's verifier in a file beside the recipe trains; what hangs, exits, eats memory or raises ends no run."""

import json
from pathlib import Path

import pytest

from r1lab import pipeline
from r1lab.errors import RunError
from r1lab.recipe import load
from r1lab.run.journal import read_block
from r1lab.run.progress import Progress

CHECKS = '''
import os, time
from pathlib import Path

COUNT = Path(__file__).with_name("count")

def hostile(completion, answer):
    """A tenth of the completions make it fail, in one of four ways; the witness, a solution as written, never does."""
    if not completion.startswith(" "):
        return True
    kind = sum(map(ord, completion)) % 40
    if kind == 0:
        time.sleep(60)
    if kind == 1:
        os._exit(3)
    if kind == 2:
        hoard = bytearray(8 << 30)
    if kind == 3:
        raise KeyError(completion)
    return answer in completion

def broken(completion, answer):
    """Fails on some completions and on most witnesses: the verifier itself is at fault."""
    if not completion.startswith(" ") and int(answer) % 4 or sum(map(ord, completion)) % 5 == 0:
        raise ValueError("my table is gone")
    return False
'''


def recipe(tmp_path: Path, verifier: str, **changes):
    (tmp_path / "checks.py").write_text(CHECKS)
    raw = {
        "name": "plugin", "out": str(tmp_path / "run"), "steps": 2, "threads": 1, "max_new_tokens": 24,
        "data": {"task": "addition", "size": 64, "settings": {"digits": 3}},
        "prompt": {"format": "Q: {prompt}\nA:"}, "prompts_per_step": 8, "group_size": 8,
        "workers": {"deadline": 0.3, "memory_mb": 1024}, "verifier": verifier, **changes,
    }  # fmt: skip
    return load.resolve(raw, tmp_path)


@pytest.fixture(autouse=True)
def forget_checks(monkeypatch):
    """Each test has its own checks.py."""
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("checks", None)  # another test's
    yield
    sys.modules.pop("checks", None)


def test_failures_that_completions_cause_are_scored_and_told_apart(tmp_path):
    run = pipeline.train(recipe(tmp_path, "checks:hostile"), Progress(quiet=True))
    rows = run.metrics
    assert len(rows) == 2
    for row in rows:
        shares = [row[f"verdict/{status}"] for status in ("correct", "wrong", "timeout", "crash", "error")]
        assert sum(shares) == pytest.approx(1)
        assert row["verdict/error"] == 0
    assert sum(row["verdict/timeout"] for row in rows) > 0
    assert sum(row["verdict/crash"] for row in rows) > 0
    problems = {f"addition/{index}": None for index in range(64)}
    block = read_block(run.path / "rollouts" / "rl-1.parquet", problems.get)
    blamed = [m for s in block for m in s.drawn.members if m.verdict.status in ("timeout", "crash")]
    assert blamed and all(member.reward == 0 for member in blamed)
    assert "decided by the clock" in json.loads((run.path / "manifest.json").read_text())["notes"][0]


def test_a_verifier_that_fails_on_the_witness_too_ends_the_run_with_its_reason(tmp_path):
    with pytest.raises(RunError, match=r"max_error_rate 0\.02.*my table is gone"):
        pipeline.train(recipe(tmp_path, "checks:broken", steps=4), Progress(quiet=True))
    assert (tmp_path / "run" / "rollouts" / "rl-1.parquet").exists(), "what it failed on can be looked at"
