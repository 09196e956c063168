"""A user's own data.py, verifiers/ and sandbox.py in the current folder are none of ours: r1lab runs there."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).with_name("r1lab")
ANEW = """
for name in [name for name in sys.modules if name.partition(".")[0] in {ours!r}]:
    del sys.modules[name]
sys.path.insert(0, os.getcwd())
sys.argv = ["r1lab", "train", "recipe.yaml", "out=run"]
runpy.run_module("r1lab", run_name="__main__", alter_sys=True)
"""
OURS = {"r1lab", "r1lab_data", "r1lab_sandbox", "r1lab_verifiers"}


def test_ours_imported_anew_train_beside_a_users_modules_of_common_names(hostile_folder, forked_in):
    process = forked_in(hostile_folder, ANEW.format(ours=OURS))
    process.join(150)
    assert process.exitcode == 0, (hostile_folder / "stderr").read_text()
    assert (hostile_folder / "run" / "model" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("command", [(sys.executable, "-m", "r1lab"), (str(SCRIPT),)], ids=["module", "script"])
def test_training_runs_beside_a_users_modules_of_common_names(hostile_folder, command):
    if not Path(command[0]).exists():
        pytest.skip("the console script is not installed")
    done = subprocess.run(
        [*command, "train", "recipe.yaml", "out=run"], cwd=hostile_folder, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr
    assert (hostile_folder / "run" / "model" / "model.safetensors").is_file()
