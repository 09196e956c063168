import os
import subprocess
import sys
from pathlib import Path

import pytest

from r1lab import names
from r1lab.errors import RecipeError

ROOT = Path(__file__).resolve().parent.parent
CHECK = "from r1lab import names; print('\\n'.join(names.check()))"


def check(cwd: Path, *path: Path, code: str = CHECK, **environment: str) -> str:
    """What the guard says in a fresh interpreter with `path` in front of ours on PYTHONPATH."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    variables |= {"PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))} | environment
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def package(folder: Path, name: str) -> Path:
    """A package that must not be imported."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("raise SystemExit('imported')")
    return folder / name


def test_our_own_names_are_fine():
    assert names.check() == []
    names.require()


def test_a_shadowing_folder_is_named_and_not_imported(tmp_path):
    fake = package(tmp_path, "data")
    said = check(tmp_path.parent, tmp_path)
    assert said == f"import name 'data' is {fake}, not r1lab's {ROOT / 'data'}; " \
        "move it away, or set PYTHONSAFEPATH=1 and check PYTHONPATH"  # fmt: skip


def test_a_shadowing_file_is_named(tmp_path):
    (tmp_path / "sandbox.py").write_text("raise SystemExit('imported')")
    assert f"import name 'sandbox' is {tmp_path / 'sandbox.py'}" in check(tmp_path.parent, tmp_path)


def test_the_working_directory_shadows_unless_pythonsafepath_is_set(tmp_path):
    package(tmp_path, "data")
    package(tmp_path, "verifiers")
    assert [line.split()[2] for line in check(tmp_path).splitlines()] == ["'verifiers'", "'data'"]
    assert check(tmp_path, PYTHONSAFEPATH="1") == ""


def test_the_distribution_that_owns_the_name_is_named_with_the_command(tmp_path):
    package(tmp_path, "verifiers")
    distribution(tmp_path, "verifiers-rl", "verifiers/__init__.py")
    said = check(tmp_path.parent, tmp_path)
    assert "of the distribution 'verifiers-rl'" in said and "run `pip uninstall verifiers-rl`" in said


def test_a_distribution_that_wrote_into_our_installed_folder_is_found(tmp_path):
    for name in names.OURS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    for name in ("names.py", "errors.py"):
        (tmp_path / "r1lab" / name).write_bytes((ROOT / "r1lab" / name).read_bytes())
    distribution(tmp_path, "r1lab", *(f"{name}/__init__.py" for name in names.OURS))
    assert check(tmp_path.parent, tmp_path) == ""
    distribution(tmp_path, "other", "data/__init__.py")
    assert "the distribution 'other' writes into r1lab's" in check(tmp_path.parent, tmp_path)


def distribution(folder: Path, name: str, *files: str) -> None:
    """The metadata of an installed wheel."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def test_require_raises_the_first_problem(monkeypatch):
    monkeypatch.setattr(names, "OURS", ("no_such_name_of_ours", "another"))
    with pytest.raises(RecipeError, match=r"'no_such_name_of_ours' is not found, .* reinstall r1lab"):
        names.require()
