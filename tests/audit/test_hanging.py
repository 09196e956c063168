"""Audits of a verifier that hangs or crashes say that they go on, break off soon, and name what failed."""

import json
import threading
from pathlib import Path

import pytest

from r1lab.audit.attack import attack
from r1lab.errors import RunError
from r1lab.recipe import WorkersConfig
from r1lab.recipe.data import SourceConfig
from r1lab.run.progress import Meter

CHECKS = """
import os, time
def spins(completion, answer):
    while True: pass
def raises(completion, answer): raise ValueError("my table is gone")
def dies(completion, answer): os._exit(3)
def nan(completion, answer): return float("nan")
def wrong(completion, answer): return False
def late(completion, answer):
    if completion == answer and int(answer) < 9: time.sleep(1e9)
    return completion.split()[-1] == answer
def digits(completion, answer):
    return completion.isdecimal() and int(completion) == int(answer if answer != "7" else "seven")
def attacked(completion, answer):
    if "wait" in completion.lower() or not completion: time.sleep(1e9)
    return completion == answer
"""
QUICK = ("--workers", "2", "--deadline", "0.1")
QUICKER = ("--deadline", "0.04")
"""For what never comes to a verdict."""


@pytest.fixture
def audit(command, rows, tmp_path, monkeypatch):
    """r1lab audit of hanging.py: (exit code, stdout, lines of stderr); 12 problems in rows.jsonl, answers 0 to 11."""
    (tmp_path / "hanging.py").write_text(CHECKS)
    monkeypatch.syspath_prepend(tmp_path)
    rows(*({"prompt": f"say {n}", "answer": str(n)} for n in range(12)), name="rows.jsonl")
    rows(*({"completion": str(n), "answer": str(n), "expected": True} for n in range(12)), name="cases.jsonl")

    def run(verifier: str, *what: str) -> tuple[int, str, list[str]]:
        code, out, err = command("audit", "--verifier", f"hanging:{verifier}", *QUICK, *what)
        return code, out.decode(), err.splitlines()

    return run


GOLDS, CASES = ("--dataset", "rows.jsonl"), ("cases.jsonl",)


@pytest.mark.parametrize(("verifier", "told"), [
    ("spins", "10 timed out (no verdict within 0.04 s"), ("raises", "10 crashed (ValueError: my table is gone"),
    ("dies", "10 crashed ("),
])  # fmt: skip
@pytest.mark.parametrize("what", [GOLDS, CASES])
def test_after_ten_rows_without_a_verdict_it_is_broken_off_in_one_line(audit, verifier, told, what, tmp_path):
    seconds = QUICKER if verifier == "spins" else QUICK[2:]
    code, out, said = audit(verifier, *what, "--json", "figures.json", *seconds)
    assert (code, out) == (1, "") and not (tmp_path / "figures.json").exists()
    assert said[-1].startswith(f"r1lab: audit: hanging:{verifier} came to no verdict on any of the first 10 checks: ")
    assert told in said[-1] and f"nothing was written; mend it, or raise --deadline ({seconds[1]} s)" in said[-1]


def test_one_verdict_among_the_first_ten_and_it_goes_on(audit):
    code, out, said = audit("late", *GOLDS, "--json", "figures.json")
    figures = json.loads(Path("figures.json").read_text())
    assert code == 1 and said == [] and figures["checks"]["reference"] == {
        **figures["checks"]["reference"], "count": 3, "n": 12,
    }  # fmt: skip
    assert figures["without_verdict"] == 9 and "hung or crashed: the verifier came to no verdict" in out


@pytest.mark.parametrize("verifier", ["nan", "wrong"])
def test_what_is_judged_or_answered_at_once_is_listed_to_its_end(audit, verifier):
    code, out, said = audit(verifier, *GOLDS)
    assert code == 1 and said == [] and "Failed checks" in out and "12 problems" in out


def test_progress_is_told_also_while_no_row_gets_done(audit, rows, monkeypatch):
    monkeypatch.setattr(Meter, "EVERY_SECONDS", 0.5)
    _, out, said = audit("spins", rows({"completion": "1", "answer": "1", "expected": True}), "--deadline", "0.6")
    assert said[0] == "audit: 0 rows, 1 s" and "checks that hung or crashed: 1\n" in out


def test_an_attack_says_that_no_gold_could_be_judged(audit):
    for what, golds in (((), "10 golds"), (GOLDS, "the first 10 checks")):
        code, out, said = audit("spins", "--attack", *what, *QUICKER)
        assert (code, out) == (1, "")
        assert f"hanging:spins came to no verdict on any of {golds}: 10 timed out" in said[-1]


def test_what_is_broken_off_tells_no_more_of_its_rows(audit):
    with pytest.raises(RunError) as broken:  # which holds what was under way
        attack(SourceConfig(path="rows.jsonl"), "hanging:raises", workers=WorkersConfig(count=1))
    assert broken.value and "meter" not in {thread.name for thread in threading.enumerate()}


def test_an_attack_on_which_the_verifier_hangs_is_counted_and_named(audit):
    code, out, _ = audit("attacked", "--attack", *GOLDS, "--limit", "2", "--json", "figures.json")
    figures = json.loads(Path("figures.json").read_text())
    hung = figures["without_verdict"]
    assert code == 1 and figures["scored"] == [] and {row["status"] for row in hung} == {"timeout"}
    assert "empty" in {row["family"] for row in hung} and figures["attacks"]["empty"]["count"] == 6
    assert f"0 scored, {len(hung)} checks came to no verdict" in out
    assert f"Checks that hung, crashed or gave no score: {len(hung)}" in out


def test_an_attack_whose_golds_are_not_accepted_or_give_no_score_says_which(audit):
    code, _, said = audit("wrong", "--attack", *GOLDS)
    assert code == 2 and said[-1].endswith("accepts none of 12 golds; give a --dataset that it can judge")
    code, _, said = audit("nan", "--attack", *GOLDS)
    assert code == 1 and "came to no verdict on any of 12 golds: 12 gave no score (hanging:nan returned" in said[-1]
    code, _, said = audit("raises", "--attack")
    assert code == 2 and "accepts none of 10 golds; give a --dataset that it can judge (10 crashed" in said[-1]


@pytest.mark.parametrize(("verifier", "what", "code"), [
    ("choice", (), 0), ("exact", (), 0), ("hanging:digits", (), 0), ("hanging:digits", GOLDS, 1),
])  # fmt: skip
def test_golds_of_ours_that_a_verifier_cannot_read_are_left_out_and_no_fault(audit, command, verifier, what, code):
    done = command("audit", "--verifier", verifier, *QUICK, "--attack", *what)
    assert done[0] == code and (b"golds it does not accept were left out" in done[1]) == (verifier != "exact")
