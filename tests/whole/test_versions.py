"""One changed line in a file that a verifier only imports makes it another verifier, to runs, evaluations, comparisons.

The changed packages are copies, first on the path of a process that imports ours anew.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

import r1lab
import r1lab_data
import r1lab_sandbox
import r1lab_verifiers

RECIPE = {
    "name": "as-it-is",
    "data": {"task": "addition", "size": 8, "settings": {"digits": 1}},
    "verifier": "math",
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 4,
    "threads": 1,
    "workers": {"count": 1},
    "prompts_per_step": 2,
    "group_size": 2,
    "steps": 1,
    "eval": {"sets": {"test": {"task": "addition", "split": "eval", "size": 2, "settings": {"digits": 1}}}},
}
EVALUATION = {
    "model": "embedded", "on": "addition", "verifier": "math", "source": {"limit": 2}, "max_new_tokens": 4,
    "format": "Q: {prompt}\nA:", "threads": 1,
}  # fmt: skip
OTHER = RECIPE | {"name": "other", "learning_rate": 2e-5}
AGAIN = """
for name in [name for name in sys.modules if name.partition(".")[0] in {ours!r}]:
    del sys.modules[name]
sys.path[:0] = {paths!r}
import r1lab
from r1lab import timing
from r1lab_verifiers.math.read import atoms
timing.CPU_SIZE = 64
resumed, other, evaluation = {jobs!r}
r1lab.train(resumed)
r1lab.train(other)
print(atoms.__file__)
print(r1lab.evaluate(**evaluation).path)
"""


def changed_copies(folder: Path) -> Path:
    """Our three packages with one line changed, so that no verdict changes, in the reader of answers."""
    for package in (r1lab_verifiers, r1lab_sandbox, r1lab_data):
        place = Path(package.__file__).parent
        shutil.copytree(place, folder / place.name, ignore=shutil.ignore_patterns("__pycache__"))
    reader = folder / "r1lab_verifiers" / "math" / "read" / "atoms.py"
    text = reader.read_text(encoding="utf-8")
    line = "    whole, point, places = mantissa.partition"
    assert text.count(line) == 1
    reader.write_text(text.replace(line, f"    mantissa = str(mantissa)\n{line}"), encoding="utf-8")
    return folder


@pytest.fixture
def folders(tmp_path, monkeypatch, forked_in):
    """The evaluation made here, and the one that the changed packages make; runs are in first, resumed and other."""
    monkeypatch.chdir(tmp_path)
    r1lab.train(RECIPE | {"out": "first"})
    shutil.copytree("first", "resumed")
    evaluation = r1lab.evaluate(**EVALUATION)
    jobs = [RECIPE | {"out": "resumed", "steps": 2}, OTHER | {"out": "other"}, EVALUATION]
    paths = [str(changed_copies(tmp_path / "copies")), str(Path(r1lab.__file__).parents[1])]
    ours = {"r1lab", "r1lab_data", "r1lab_sandbox", "r1lab_verifiers"}
    code = AGAIN.format(ours=ours, paths=paths, jobs=jobs)
    process = forked_in(tmp_path, code, PYTHONPATH=os.pathsep.join(paths), PYTHONSAFEPATH="1")
    process.join(150)
    assert process.exitcode == 0, (tmp_path / "stderr").read_text()
    reader, changed = (tmp_path / "stdout").read_text().split()[-2:]
    assert Path(reader).is_relative_to(tmp_path / "copies")
    return evaluation.path, Path(changed)


def test_another_reader_of_answers_is_another_verifier_everywhere(folders, command):
    evaluation, changed = folders
    assert changed != evaluation and sorted(Path("evals").iterdir()) == sorted([evaluation, changed])
    notes = json.loads(Path("resumed/manifest.json").read_text(encoding="utf-8"))["notes"]
    assert len(notes) == 1 and notes[0].startswith("verifiers.math.source: ")
    code, _, err = command("compare", "first", "other")
    assert code == 0, err
    summary = json.loads(Path("comparisons/first-other/comparison.json").read_text(encoding="utf-8"))
    (contrast,) = summary["contrasts"]
    assert "verifier_version" in json.dumps(contrast) and summary["ranking"] == []
