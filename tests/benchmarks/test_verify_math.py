"""The benchmark of `math` counts what it says, beside math-verify on the same rows."""

import json
import sys
from pathlib import Path

import pytest

from r1lab_verifiers import Verdict

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks"
ROWS = [
    {"id": "a", "gold": "5", "prediction": "5", "expected": True, "form": "bare"},
    {"id": "b", "gold": "5", "prediction": r"so \boxed{6}", "expected": False, "form": "text"},
    {"id": "c", "gold": "5", "prediction": "6", "expected": True, "form": "bare", "disputed": True},
    {"id": "d", "gold": r"\frac{1}{2}", "prediction": "0.5", "expected": True, "form": "bare"},
]


@pytest.fixture
def bench(monkeypatch):
    """The script as a module; its folder comes first on the path, as when it is run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("verify_math", "verify_math_hostile", "step_report"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import verify_math

    return verify_math


@pytest.fixture
def cases(bench, tmp_path):
    path = tmp_path / "cases" / "math.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return bench.read_cases(path)


def test_disputed_rows_do_not_count_and_only_bare_ones_are_boxed(cases):
    assert [case.id for case in cases] == ["a", "b", "d"]
    assert [case.completion(True) for case in cases] == [r"\boxed{5}", r"so \boxed{6}", r"\boxed{0.5}"]
    assert cases[0].completion(False) == "5"


def test_what_is_accepted_and_what_is_refused_wrongly_are_told_apart(bench, cases):
    verdicts = [Verdict(0.0, "wrong"), Verdict(1.0, "correct"), Verdict(1.0, "correct")]
    assert bench.accuracy(cases, verdicts) == (pytest.approx(1 / 3), ["b"], ["a"])


def test_both_sides_judge_the_same_rows(bench, cases):
    pytest.importorskip("math_verify")
    seconds, verdicts = bench.ours(cases, 1)
    assert seconds > 0 and [verdict.score for verdict in verdicts] == [1, 0, 1]
    seconds, verdicts = bench.theirs(cases, 1)
    assert seconds > 0 and verdicts == [True, False, True]


def test_a_quarter_of_the_rationals_is_wrong_and_no_two_are_alike(bench):
    items = bench.rationals(0)
    assert len({item.completion for item in items}) == len(items) == bench.NUM_RATIONALS


@pytest.mark.parametrize("shared", [None, "/nowhere"])
def test_without_labelled_cases_it_says_so_in_one_line(bench, monkeypatch, capsys, shared):
    monkeypatch.setattr(bench, "find_spec", lambda name: True)
    monkeypatch.setattr(sys, "argv", ["verify_math"])
    monkeypatch.setenv("R1LAB_SHARED", shared) if shared else monkeypatch.delenv("R1LAB_SHARED", raising=False)
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2
    assert "R1LAB_SHARED" in capsys.readouterr().err.splitlines()[-1]
