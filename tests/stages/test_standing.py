"""A dry run says of its folder what a start would do: begin, go on from a stage and step, nothing, or refuse."""

import fcntl
import json
import shutil

import pytest

from r1lab import pipeline
from r1lab.errors import RecipeError, RunError
from r1lab.recipe import load
from r1lab.run.progress import Progress
from r1lab.stages import dry_run

BASE = {
    "name": "stands", "data": {"task": "addition", "size": 16, "settings": {"digits": 2}}, "max_new_tokens": 8,
    "prompt": {"format": "Q: {prompt}\nA:"}, "prompts_per_step": 2, "threads": 1, "workers": {"count": 1},
    "stages": [{"kind": "sft", "steps": 1}, {"kind": "rl", "steps": 2, "group_size": 2, "checkpoint_every": 1}],
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    pipeline.train(load.resolve({**BASE, "out": str(out)}), Progress(quiet=True))
    return out


@pytest.fixture
def out(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def plan(out, *overrides: str):
    return load.resolve(*load.read({**BASE, "out": str(out)}, overrides))


def line(out, *overrides: str) -> str:
    text = dry_run.dry_run(plan(out, *overrides))
    (found,) = (each for each in text.splitlines() if each.startswith("out: "))
    return found.removeprefix(f"out: {out}, ")


def unfinished(out):
    """As a kill leaves it while its last stage ran."""
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**manifest, "finished": False}))
    shutil.rmtree(out / "stages" / "rl")
    shutil.rmtree(out / "model")
    return out


def test_a_free_folder_is_a_new_run(tmp_path):
    assert line(tmp_path / "new") == "a new run" and not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    assert line(tmp_path / "empty") == "a new run"


def test_without_out_the_folder_is_named_by_the_hash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = dry_run.dry_run(load.resolve(BASE))
    assert "\nout: runs/stands-" in text and ", a new run\n" in text and not list(tmp_path.iterdir())


def test_a_finished_run_is_finished_until_it_gets_more_steps(out):
    before = sorted((file, file.stat().st_mtime_ns) for file in out.rglob("*"))
    assert line(out) == "a run that is finished; raise steps to go on, or set another out="
    assert line(out, "stages.rl.steps=3") == "a run that would be resumed in stage rl, after step 2"
    assert line(out, "stages.rl.eval.n=2").startswith("a run that is finished")  # what changes no byte
    assert sorted((file, file.stat().st_mtime_ns) for file in out.rglob("*")) == before


def test_a_killed_run_goes_on_from_its_newest_checkpoint_or_the_start_of_a_stage(out):
    unfinished(out)
    assert line(out) == "a run that would be resumed in stage rl, after step 2"
    shutil.rmtree(out / "checkpoints")
    assert line(out) == "a run that would be resumed in stage rl, from its start"
    shutil.rmtree(out / "stages")
    assert line(out) == "a run that would be resumed in stage sft, from its start"


def test_a_resumed_run_says_where_it_goes_on(out):
    told = []
    progress = Progress(quiet=True)
    progress.say = told.append
    pipeline.train(plan(unfinished(out)), progress)
    assert told[0] == f"resuming {out} in stage rl, after step 2" and not any("writing to" in each for each in told)
    told.clear()
    pipeline.train(plan(out), progress)
    assert told[0].endswith("is finished; raise steps to go on, or set another out=")


def refused(out, *overrides: str) -> tuple[str, Exception]:
    """The text, and the error that a start ends in."""
    text, refusal = dry_run.told(plan(out, *overrides))
    assert refusal is not None and f"out: {out}, would be refused: {refusal}" in text
    with pytest.raises(type(refusal)) as started:
        pipeline.train(plan(out, *overrides), Progress(quiet=True))
    assert str(started.value) == str(refusal)
    return text, refusal


@pytest.mark.parametrize(("override", "says"), [
    ("stages.rl.learning_rate=0.5", "is the run of another recipe (stages.rl.learning_rate: 0.5 here"),
    ("seed=1", "is the run of another recipe (seed: 1 here, 0 in the folder)"),
    ("data.seed=1", "is the run of this recipe on other data"),
    ("stages.sft.steps=2", "stage sft is done and the next ones started from it"),
])  # fmt: skip
def test_another_recipe_is_refused_as_by_a_start(out, override, says):
    text, refusal = refused(out, override)
    assert type(refusal) is RecipeError and refusal.exit_code == 2 and says in str(refusal)
    assert text.startswith("stage sft (sft), a step: ")  # the rest is told all the same


def test_a_folder_of_something_else_a_file_and_a_broken_manifest_are_refused(tmp_path, out):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    assert "is not a run's folder (no manifest.json) and not empty" in str(refused(tmp_path / "other")[1])
    (tmp_path / "file").write_text("")
    assert "is a file; name a folder" in str(refused(tmp_path / "file")[1])
    (out / "manifest.json").write_text("{")
    assert isinstance(refused(out)[1], RunError)


def test_a_folder_that_another_process_holds_is_refused_with_its_exit_code(out):
    with open(out / ".lock", "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text, refusal = dry_run.told(plan(out, "stages.rl.steps=3"))
    assert type(refusal) is RunError and refusal.exit_code == 1 and "is in use by process" in text
    assert line(out, "stages.rl.steps=3").startswith("a run that would be resumed")


def test_too_small_a_disk_is_a_note_since_a_dry_run_plans_for_another_machine(tmp_path, monkeypatch):
    from r1lab.run import files

    monkeypatch.setattr(files, "_free", lambda folder: 1000)
    text = dry_run.dry_run(plan(tmp_path / "new"))
    assert "note: not enough disk at" in text and ", a new run" in text
