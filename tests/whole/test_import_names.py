"""A user's own data.py, verifiers/ and sandbox.py in the current folder are none of ours: r1lab runs there."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).with_name("r1lab")


@pytest.mark.parametrize(
    "command",
    [(sys.executable, "-m", "r1lab"), pytest.param((str(SCRIPT),), marks=pytest.mark.slow)],
    ids=["module", "script"],
)
def test_training_runs_beside_a_users_modules_of_common_names(hostile_folder, command):
    if not Path(command[0]).exists():
        pytest.skip("the console script is not installed")
    done = subprocess.run(
        [*command, "train", "recipe.yaml", "out=run"], cwd=hostile_folder, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr
    assert (hostile_folder / "run" / "model" / "model.safetensors").is_file()
