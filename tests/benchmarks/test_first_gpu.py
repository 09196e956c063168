"""The first minutes on a GPU, tried on a CPU: parts write as they go, fail alone, and end in a table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import first_gpu
import pytest
from bars import row

ROOT = Path(__file__).parents[2]


def test_a_part_that_fails_keeps_its_figures_and_says_why(tmp_path, monkeypatch):
    file, seen = tmp_path / "flex.json", []

    def fails(bench):
        yield row("first, ms", 1.0, "<=", 2)
        seen.extend(json.loads(file.read_text()))
        raise RuntimeError("no\nkernel")

    monkeypatch.setitem(first_gpu.PARTS, "flex", fails)
    assert first_gpu.run("flex", first_gpu.Bench(True), file) == 1
    assert [each["name"] for each in seen] == ["first, ms", "flex came to its end"]
    kept, ended = json.loads(file.read_text())
    assert (kept["value"], ended["holds"], ended["error"]) == (1.0, False, "RuntimeError: no kernel")
    (tmp_path / "other.json").write_text("{}")
    assert first_gpu.table(tmp_path).endswith("1 limits held, 1 were missed or not run")


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_the_whole_script_runs_on_a_cpu_and_every_part_ends(tmp_path):
    environment = os.environ | {"PYTHON": sys.executable}
    command = ["bash", str(ROOT / "experiments" / "benchmarks" / "first_gpu.sh"), "--cpu", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    for part in first_gpu.PARTS:
        rows = json.loads((tmp_path / f"{part}.json").read_text())
        assert rows[-1]["value"] == 0.0, (part, rows[-1], (tmp_path / f"{part}.log").read_text()[-2000:])
    assert "== tests: exit code 0" in done.stdout and "limits held, " in done.stdout, done.stdout[-3000:]
