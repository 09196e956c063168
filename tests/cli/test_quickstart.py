"""The quickstart as it ships, and again where it stands."""

import json

import pytest
from transformers import AutoModelForCausalLM

from r1lab.cli.quickstart import quickstart
from r1lab.evaluation.folder import read_rows
from r1lab.report import figures


def check(summary: dict, out, apart: float) -> None:
    """Schema, relative paths, equal budgets, and that every accuracy is its table's."""
    assert json.loads((out / "summary.json").read_text()) == summary
    tokens = [arm["tokens"] for arm in summary["arms"].values()]
    assert max(tokens) <= (1 + apart) * min(tokens)
    for part in (summary["base"], *summary["arms"].values()):
        rows = read_rows(out / part["eval"])
        assert len(rows) == summary["base"]["n"]
        assert part["accuracy"] == sum(row["score"] == 1 for row in rows) / len(rows)
        assert part["low"] < part["accuracy"] < part["high"]
        AutoModelForCausalLM.from_pretrained(out / part["model"])
    assert (out / "report" / "index.html").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_quickstart_teaches_both_arms_and_ends_in_a_table_a_report_and_a_summary(tmp_path, capsys, monkeypatch):
    out = tmp_path / "quick"
    summary = quickstart([f"out={out}"])
    check(summary, out, apart=0.02)
    assert summary["base"]["n"] == 512 and summary["seconds"] <= 300
    assert 0.10 <= summary["base"]["accuracy"] <= 0.30
    assert min(arm["accuracy"] for arm in summary["arms"].values()) >= summary["base"]["accuracy"] + 0.30
    printed = capsys.readouterr().out
    assert "R1-Zero" in printed and "One seed" in printed
    monkeypatch.setattr(figures, "CHARTS", figures.CHARTS[:2])  # all of them were drawn above
    assert quickstart([f"out={out}"]) == summary, "nothing is left to do"
