"""Runs that really failed, and runs that did not: `failing_runs.py` says how their metrics were made."""

import json
from pathlib import Path

import pytest

from r1lab.health.monitor import diagnose

RECORDED = Path(__file__).parent / "recorded"
EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments" / "results"
FAILING = {
    "no_signal": "no_signal", "all_solved": "no_signal", "truncation": "truncation", "engine_gap": "engine_gap",
    "second_verifier": "second_verifier", "held_out": "held_out", "entropy": "entropy", "length": "length",
    "timeouts": "errors", "errors": "errors", "abstained": "errors",
}  # fmt: skip
FINE = sorted(path.stem for path in RECORDED.glob("quickstart_*.jsonl"))


def alarms(path):
    return [alarm for stage in diagnose([json.loads(line) for line in path.open()]) for alarm in stage.alarms]


@pytest.mark.parametrize("name", FAILING)
def test_the_right_alarm_fires_first_on_a_run_made_to_fail(name):
    found = alarms(RECORDED / f"{name}.jsonl")
    assert found and found[0].rule == FAILING[name]


@pytest.mark.parametrize("name", ["no_signal", "all_solved"])
def test_a_run_without_signal_says_so_within_twenty_steps(name):
    assert alarms(RECORDED / f"{name}.jsonl")[0].step <= 20


@pytest.mark.parametrize("name", FINE)
def test_no_rule_fires_on_the_quickstart(name):
    assert len(FINE) == 6 and alarms(RECORDED / f"{name}.jsonl") == []


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*/metrics*.jsonl")), ids=lambda path: path.stem)
def test_no_rule_fires_on_a_published_run(path):
    assert alarms(path) == []
