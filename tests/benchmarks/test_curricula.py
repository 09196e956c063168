"""Curricula on a bank of problems with known chances, as the benchmark measures them."""

import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks"


@pytest.fixture
def curricula(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "curricula", raising=False)
    import curricula

    return curricula


def test_every_curriculum_draws_at_least_the_share_of_signal_that_it_should(curricula, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["curricula.py", "--json", str(tmp_path / "rows.json"), "--seeds", "1"])
    assert curricula.main() == 0
    rows = {row["name"].partition(":")[0]: row["value"] for row in json.loads((tmp_path / "rows.json").read_text())}
    assert set(rows) == set(curricula.EXPECTED) == set(curricula.curriculum.CURRICULA)
    assert (
        rows["uniform"] < rows["no_positive_resampling"] < min(rows[name] for name in ("greso", "mopps", "sec", "dump"))
    )
    assert "mopps" in capsys.readouterr().out


def test_the_figures_repeat(curricula):
    assert list(curricula.shares("mopps", 1, 5)) == list(curricula.shares("mopps", 1, 5))
