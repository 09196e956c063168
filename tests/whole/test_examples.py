"""The scripts of experiments/examples run as they stand."""

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "experiments" / "examples"
QUICK = {"own_group_rule_and_advantage"}
"""The others are marked slow: seconds each, of which the suite has few."""
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py") if "sys.argv" in path.read_text())


def test_there_are_five():
    assert len(SCRIPTS) == 5


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
                                  for name in SCRIPTS])  # fmt: skip
def test_it_runs(forked_in, tmp_path, name):
    path = str(EXAMPLES / f"{name}.py")
    code = f"sys.path.insert(0, {str(EXAMPLES)!r})\nsys.argv = [{path!r}, 'made']\n"
    process = forked_in(tmp_path, code + f"runpy.run_path({path!r}, run_name='__main__')")
    process.join(150)
    assert process.exitcode == 0, (tmp_path / "stderr").read_text()
    assert list((tmp_path / "made").rglob("metrics.jsonl"))
    assert len((tmp_path / "stdout").read_text().splitlines()) >= 2
