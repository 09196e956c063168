"""The wheels, built and installed: verifiers and sandbox alone, without torch; r1lab beside the package `verifiers`.

Needs the package index, for what the wheels depend on. Not the tests of what is in them: those run from the checkout.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("r1lab", "verifiers", "sandbox", "data", "experiments")
JUDGE = """
import importlib.util
from r1lab_verifiers import Item, resolve
from r1lab_verifiers.pool.pool import Pool

assert all(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "r1lab", "numpy"))
table = {"math": resolve("math"), "code": resolve({"use": "code", "isolation": "none"})}
program = "```python\\ndef twice(n):\\n    return 2 * n\\n```"
tests = {"tests": ["assert twice(4) == 8"]}
if __name__ == "__main__":
    with Pool(table, workers=1) as pool:
        right = pool.submit(Item(completion=r"so \\boxed{\\frac12}", answer="0.5"), "math")
        wrong = pool.submit(Item(completion=r"so \\boxed{2}", answer="0.5"), "math")
        runs = pool.submit(Item(completion=program, answer=tests), "code")
        fails = pool.submit(Item(completion=program.replace("2", "3"), answer=tests), "code")
        print(*(each.result(60).status for each in (right, wrong, runs, fails)))
"""


def run(*command, **options) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    """A folder with the three, built from a copy."""
    copy, made = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheels")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    places = (copy, copy / "verifiers", copy / "sandbox")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", made, *places)
    return made


def wheel(folder: Path, name: str) -> Path:
    (found,) = folder.glob(f"{name}-[0-9]*.whl")
    return found


def environment(folder: Path) -> Path:
    """The interpreter of a new virtual environment."""
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


def test_verifiers_and_sandbox_judge_alone_and_without_torch(wheels, tmp_path):
    python = environment(tmp_path / "venv")
    run(python, "-m", "pip", "install", "-q", "--find-links", wheels, "r1lab-verifiers")
    (tmp_path / "judge.py").write_text(JUDGE)
    assert run(python, "-P", "judge.py", cwd=tmp_path).split() == ["correct", "wrong", "correct", "wrong"]


def test_wheels_hold_every_file_of_their_packages(wheels):
    packages = {"r1lab": "r1lab", "verifiers": "r1lab_verifiers", "sandbox": "r1lab_sandbox", "data": "r1lab_data"}
    held = {
        name: {
            path.relative_to(place.parent).as_posix()
            for place in [ROOT / folder if folder == name else ROOT / folder / name]
            for path in place.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.name != "README.md"
        }
        for folder, name in packages.items()
    }
    whole = set(zipfile.ZipFile(wheel(wheels, "r1lab")).namelist())
    assert set().union(*held.values()) - whole == set()
    recipes = {f"r1lab/recipes/{path.name}" for path in (ROOT / "experiments" / "recipes").glob("*.yaml")}
    assert recipes and recipes <= whole
    assert held["r1lab_sandbox"] <= set(zipfile.ZipFile(wheel(wheels, "r1lab_sandbox")).namelist())
    alone = set(zipfile.ZipFile(wheel(wheels, "r1lab_verifiers")).namelist())
    assert held["r1lab_verifiers"] | held["r1lab_data"] <= alone


def test_r1lab_lives_beside_the_package_verifiers_and_a_users_own_modules(wheels, tmp_path, hostile_folder):
    python = environment(tmp_path / "venv")
    run(python, "-m", "pip", "install", "-q", "--no-deps", wheel(wheels, "r1lab"), "verifiers")
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    borrowed = tmp_path / "borrowed"  # what r1lab depends on: this interpreter's packages, but not its r1lab
    borrowed.mkdir()
    for place in Path(sysconfig.get_path("purelib")).iterdir():
        if "r1lab" not in place.name and place.suffix != ".pth":
            (borrowed / place.name).symlink_to(place)
    (packages / "borrowed.pth").write_text(f"{borrowed}\n")
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    where = (
        "import r1lab, r1lab_verifiers, importlib.util; print(r1lab.__file__, importlib.util.find_spec('verifiers'))"
    )
    found = run(python, "-P", "-c", where, cwd=hostile_folder, env=clean)
    assert found.count(str(packages)) >= 2
    assert "Usage" in run(python.with_name("r1lab"), "--help", cwd=hostile_folder, env=clean)
    run(python.with_name("r1lab"), "train", "recipe.yaml", "out=run", cwd=hostile_folder, env=clean)
    assert (hostile_folder / "run" / "model" / "model.safetensors").is_file()
