"""The scripts of experiments/examples run as they stand."""

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "experiments" / "examples"
QUICK = {"own_group_rule_and_advantage"}
"""The others are marked slow: seconds each, of which the suite has few."""
IN_TRL = "verifiers_in_trl"
"""Trains with TRL, which is not among the packages of the default environment."""
SCRIPTS = sorted({path.stem for path in EXAMPLES.glob("*.py") if "sys.argv" in path.read_text()} - {IN_TRL})


def test_there_are_seven():
    assert len([*SCRIPTS, IN_TRL]) == 7


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
                                  for name in SCRIPTS])  # fmt: skip
def test_it_runs(forked_in, tmp_path, name):
    printed = run(forked_in, tmp_path, name)
    assert list((tmp_path / "made").rglob("metrics.jsonl"))
    assert len(printed.splitlines()) >= 2


@pytest.mark.vllm
def test_trls_trainer_is_paid_by_the_verifiers(forked_in, tmp_path):
    pytest.importorskip("trl")
    printed = run(forked_in, tmp_path, IN_TRL)
    assert "rewards/numeric/mean" in printed and "rewards/format/mean" in printed


def run(forked_in, tmp_path, name) -> str:
    path = str(EXAMPLES / f"{name}.py")
    code = f"sys.path.insert(0, {str(EXAMPLES)!r})\nsys.argv = [{path!r}, 'made']\n"
    process = forked_in(tmp_path, code + f"runpy.run_path({path!r}, run_name='__main__')")
    process.join(150)
    assert process.exitcode == 0, (tmp_path / "stderr").read_text()
    return (tmp_path / "stdout").read_text()
