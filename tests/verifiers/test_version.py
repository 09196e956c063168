"""What changes a verifier's version, and what does not. Packages are copies in a folder that is searched alone."""

import shutil
from pathlib import Path

import pytest

import r1lab_data
import r1lab_sandbox
import r1lab_verifiers
from r1lab_verifiers import BUILT_IN, version

PACKAGES = [Path(package.__file__).parent for package in (r1lab_verifiers, r1lab_sandbox, r1lab_data)]
PLUG_IN = """
import json
from fractions import Fraction
from grading import scale

def judge(completion, answer):
    from grading.rare import cases
    import nobody_has_this
    return cases(completion) == scale(answer)

def other(completion, answer):
    return 1.0
"""
BESIDE = {
    "grading/__init__.py": "from .scale import scale",
    "grading/scale.py": "def scale(answer): return answer",
    "grading/rare.py": "from . import deep\ncases = str",
    "grading/deep.py": "",
    "unrelated.py": "",
    "README.md": "",
}


@pytest.fixture
def folder(tmp_path):
    for place in PACKAGES:
        shutil.copytree(place, tmp_path / "code" / place.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in {"judges.py": PLUG_IN, **BESIDE}.items():
        path = tmp_path / "code" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path / "code"


def version_in(folder: Path, path: str) -> version.Version:
    """As another process would find it."""
    for cached in (version.version_of, version._imports, version._text):
        cached.cache_clear()
    return version.version_of(path, search=(str(folder),))


CHANGES = {
    "the file itself": ("math", "r1lab_verifiers/math/verifier.py"),
    "what it imports over others": ("math", "r1lab_verifiers/math/read/atoms.py"),
    "an __init__ on the way": ("math", "r1lab_verifiers/math/read/__init__.py"),
    "the form of all verifiers": ("exact", "r1lab_verifiers/plugin.py"),
    "who is to blame": ("exact", "r1lab_verifiers/pool/blame.py"),
    "what runs in the jail": ("code", "r1lab_sandbox/inside/testing.py"),
    "what starts a run, named in a string": ("code", "r1lab_sandbox/backends/bubblewrap.py"),
    "the jail": ("code", "r1lab_sandbox/isolation/jail.py"),
    "the template, named in a string": ("code", "r1lab_sandbox/forkserver/template.py"),
    "how data's programs are read": ("code", "r1lab_data/programs.py"),
    "a plug-in": ("judges:judge", "judges.py"),
    "a module beside a plug-in": ("judges:judge", "grading/scale.py"),
    "an import in a function": ("judges:judge", "grading/rare.py"),
    "a relative import": ("judges:judge", "grading/deep.py"),
}
KEEPS = {
    "another verifier": ("math", "r1lab_verifiers/choice.py"),
    "what only code runs": ("math", "r1lab_sandbox/inside/testing.py"),
    "the queue of the pool": ("exact", "r1lab_verifiers/pool/pool.py"),
    "a file beside a plug-in that it does not import": ("judges:judge", "unrelated.py"),
    "a text": ("judges:judge", "README.md"),
}


def change(folder: Path, name: str) -> None:
    with open(folder / name, "a") as file:
        file.write("\nX = 1\n")


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_file_that_decides_is_another_version(folder, name):
    verifier, changed = CHANGES[name]
    path = BUILT_IN.get(verifier, verifier)
    before = version_in(folder, path)
    change(folder, changed)
    assert version_in(folder, path).source != before.source


@pytest.mark.parametrize("name", KEEPS)
def test_a_changed_file_that_does_not_decide_is_none(folder, name):
    verifier, changed = KEEPS[name]
    path = BUILT_IN.get(verifier, verifier)
    before = version_in(folder, path)
    change(folder, changed)
    assert version_in(folder, path) == before


def test_the_place_of_a_checkout_is_no_part_of_it(folder, tmp_path):
    before = [version_in(folder, path) for path in (*BUILT_IN.values(), "judges:judge")]
    folder.rename(tmp_path / "elsewhere")
    assert [version_in(tmp_path / "elsewhere", path) for path in (*BUILT_IN.values(), "judges:judge")] == before


def test_versions_of_the_libraries_are_named_and_count(folder, monkeypatch):
    before = version_in(folder, BUILT_IN["math"])
    assert list(before.packages) == ["mpmath", "sympy"] and "absent" not in before.packages.values()
    assert version_in(folder, "judges:judge").packages == {"nobody_has_this": "absent"}
    assert version.version_of(BUILT_IN["code"], ("numpy",)).packages.keys() == {"numpy"}
    assert {"latex2sympy2_extended", "sympy"} < version_in(folder, BUILT_IN["math_verify"]).packages.keys()
    monkeypatch.setattr(version, "_installed", lambda name: "0")
    after = version_in(folder, BUILT_IN["math"])
    assert after.packages == {"mpmath": "0", "sympy": "0"} and after.source != before.source


def test_two_functions_of_one_file_are_two_verifiers(folder):
    assert version_in(folder, "judges:judge").source != version_in(folder, "judges:other").source


def test_a_plug_in_that_builds_on_a_built_in_has_its_files(folder):
    (folder / "judges.py").write_text('import r1lab_verifiers\nmath = r1lab_verifiers.resolve("math").build()\n')
    before = version_in(folder, "judges:math")
    change(folder, "r1lab_verifiers/math/read/atoms.py")
    assert version_in(folder, "judges:math") != before


def test_what_lies_in_site_packages_counts_by_version_only(folder, tmp_path):
    installed = tmp_path / "site-packages"
    folder.rename(installed)
    assert version_in(installed, "judges:judge").packages == {"grading": "absent", "nobody_has_this": "absent"}
    before = version_in(installed, BUILT_IN["math"])
    change(installed, "r1lab_verifiers/math/read/atoms.py")
    assert version_in(installed, BUILT_IN["math"]) != before


def test_a_file_is_read_once_for_all_verifiers_that_use_it(folder):
    version_in(folder, BUILT_IN["math"])
    read = version._imports.cache_info().misses
    assert read == len(version.files_of(BUILT_IN["math"], (str(folder),)))
    version.version_of(BUILT_IN["exact"], search=(str(folder),))
    assert version._imports.cache_info().misses == read + 1  # exact.py; the rest of it is math's too
