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
    """With modules looked for in this folder alone."""
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


def test_a_file_is_parsed_once_for_all_verifiers_that_use_it(folder):
    version._imports.cache_clear()
    version_in(folder, BUILT_IN["math"])
    parsed = version._imports.cache_info().misses
    version.version_of(BUILT_IN["math"], search=(str(folder),))
    assert version._imports.cache_info().misses == parsed
    version.version_of(BUILT_IN["exact"], search=(str(folder),))
    assert version._imports.cache_info().misses == parsed + 1  # exact.py; the rest of it is math's too


ODD = {
    "a relative import without a package": "try:\n from . import helper\nexcept ImportError:\n import helper\n",
    "a module imported by a call": "import importlib\nhelper = importlib.import_module('helper')\n",
    "a source that is not parsed": "import helper\nx = " + "+".join(["1"] * 100_000) + "\n",
}


@pytest.mark.parametrize("odd", ODD)
def test_what_an_odd_source_imports_counts(tmp_path, odd):
    (tmp_path / "mine.py").write_text(ODD[odd] + "def check(completion, answer): return helper.right(completion)\n")
    (tmp_path / "helper.py").write_text("def right(text): return True\n")
    before = version_in(tmp_path, "mine:check")
    (tmp_path / "helper.py").write_text("def right(text): return False\n")
    assert version_in(tmp_path, "mine:check") != before


def test_a_helper_in_another_folder_of_the_users_counts_and_line_endings_do_not(tmp_path):
    for name in ("recipe", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "recipe" / "mine.py").write_text("import helper\ndef check(completion, answer): return helper.A\n")
    search = (str(tmp_path / "recipe"), str(tmp_path / "here"))
    sources = []
    for content in (b"A = 1\n", b"A = 1\r\n", b"A = 2\n"):
        (tmp_path / "here" / "helper.py").write_bytes(content)
        sources.append(version.version_of("mine:check", search=search).source)
    assert sources[0] == sources[1] != sources[2]


def test_a_verifier_in_an_archive_has_a_version(tmp_path):
    import zipfile

    for number in (1, 2):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            archive.writestr("mine.py", f"def check(completion, answer): return {number} == 1\n")
    one, two = (version.version_of("mine:check", search=(str(tmp_path / f"{number}.zip"),)) for number in (1, 2))
    assert one != two
