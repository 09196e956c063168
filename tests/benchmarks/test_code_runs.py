"""What the benchmark of the code verifier says besides its rates."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks"
pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


@pytest.fixture
def runs(monkeypatch):
    """The script as a module; its folder comes first on the path, as when it is run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("code_runs", "code_sets", "code_host"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import code_runs

    return code_runs


@pytest.fixture
def folder(runs):
    found = runs.shared()
    if found is None:
        pytest.skip("R1LAB_SHARED is not set: the labelled programs and references are not here")
    return found


def broken(rows):
    return {row["name"]: row for row in rows if not row["holds"] and not row["name"].endswith("_s")}


def test_labelled_programs_are_judged_as_labelled_and_leave_the_machine_as_it_was(runs, folder):
    assert broken(runs.labelled(folder)) == {}


def test_references_pass_and_pass_no_more_once_they_return_a_sentinel(runs, folder):
    assert broken(runs.reference_rows(folder, repeats=1)) == {}


def test_the_rows_of_rates_are_those_of_the_bars(runs):
    rows = runs.rates(20, 1)
    assert [row["name"] for row in rows] == ["runs_per_s", "vs_bare_python_same_slots", "p99_ms", "cold_start_s"]
    assert all(row["value"] > 0 for row in rows)
