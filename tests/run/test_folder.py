import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import yaml

from r1lab.errors import RecipeError, RunError
from r1lab.recipe import load
from r1lab.run import folder as run
from r1lab.run import manifest as made_of

DATA = {"addition": "d1"}
RECIPE = {
    "name": "tiny", "seed": 3, "data": {"task": "addition"},
    "stages": [{"kind": "sft", "steps": 2}, {"kind": "rl", "steps": 4, "learning_rate": 1e-6}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def plan(*overrides: str, out: Path | None = None) -> load.Plan:
    raw, base = load.read(RECIPE, [*overrides, *([f"out={out}"] if out else [])])
    return load.resolve(raw, base)


def opened(*overrides: str, out: Path | None = None, data=DATA, versions=None, extra=None, needed_bytes=0):
    made = plan(*overrides, out=out)
    return run.open_run(
        made, data, verifier_versions=versions or {"math": 1}, extra=extra or {}, needed_bytes=needed_bytes
    )


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def test_the_hash_is_made_of_seed_result_knobs_and_data_alone():
    def hashed(*overrides, data=DATA):
        return made_of.run_hash(made_of.identity(plan(*overrides), data))

    free = ("stages.rl.steps=9", "stages.rl.workers.count=7", "stages.rl.eval.every=2", "stages.rl.threads=1",
            "stages.rl.micro_batch_tokens=64", "out=x", "name=other")  # fmt: skip
    assert {hashed(each) for each in free} == {hashed()}
    result = ("seed=4", "stages.rl.learning_rate=1e-5", "stages.rl.objective.clip_low=0.1",
              "stages.rl.workers.deadline=9")  # fmt: skip
    assert len({hashed(), hashed(data={"addition": "d2"}), *(hashed(each) for each in result)}) == 6


def test_the_order_of_stages_and_sources_is_part_of_the_hash():
    one, other = {"task": "addition"}, {"task": "countdown"}
    hashes = set()
    for data in ({"a": one, "b": other}, {"b": other, "a": one}):
        made = load.resolve({"data": data, "steps": 1})
        hashes.add(made_of.run_hash(made_of.identity(made, {"a": "1", "b": "2"})))
    assert len(hashes) == 2


def test_a_new_run_has_a_folder_of_its_hash_with_recipe_and_manifest(tmp_path):
    with opened(extra={"engine": "local", "schedule_steps": {"rl": 4}}) as folder:
        assert folder.path == Path("runs") / f"tiny-{made_of.run_hash(folder.manifest['identity'])}"
        assert not folder.finished and folder.warnings == []
        assert folder.pinned == {"engine": "local", "schedule_steps": {"rl": 4}}
    held = manifest(folder.path)
    assert f"{held['name']}-{held['hash']}" == folder.path.name and held["identity"]["seed"] == 3
    assert held["packages"]["torch"] and held["machine"]["cores"] >= 1 and held["machine"]["cpu"]
    assert held["threads"]["rl"] == len(os.sched_getaffinity(0)) and held["finished"] is False
    assert held["verifiers"] == {"math": 1} and held["data"] == DATA and held["notes"] == held["resumed_at"] == []
    again = load.resolve(yaml.safe_load((folder.path / "recipe.yaml").read_text()))
    assert made_of.identity(again, DATA) == held["identity"]


def test_the_paths_of_a_run_follow_its_layout(tmp_path):
    with opened(out=tmp_path / "r") as folder:
        made = [folder.metrics, folder.checkpoints, folder.model, folder.rollouts("rl", 3),
                folder.evaluation("rl", 3, "test"), folder.stage_folder("sft")]  # fmt: skip
    assert [str(path.relative_to(tmp_path / "r")) for path in made] == [
        "metrics.jsonl", "checkpoints", "model", "rollouts/rl-3.parquet", "eval/rl-3-test", "stages/sft",
    ]  # fmt: skip


def test_another_recipe_is_refused_by_its_knobs_and_nothing_is_written(tmp_path):
    with opened(out=tmp_path / "r"):
        pass
    before = {path: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    with pytest.raises(RecipeError) as error, opened("stages.rl.learning_rate=1e-5", out=tmp_path / "r"):
        pass
    assert "(stages.rl.learning_rate: 1e-05 here, 1e-06 in the folder)" in str(error.value)
    many = ("seed=4", "stages.rl.learning_rate=1e-5", "stages.rl.group_size=2", "stages.rl.reuse=2")
    with pytest.raises(RecipeError, match=r"\(seed: 4 here, 3 in the folder; .*; 1 more\)"):
        opened(*many, out=tmp_path / "r").__enter__()
    with pytest.raises(RecipeError, match=r'this recipe on other data, which .* \(data\.addition: "d2" here, "d1" in'):
        opened(out=tmp_path / "r", data={"addition": "d2"}).__enter__()
    assert {path: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before


def test_what_is_no_runs_folder_is_refused_and_an_empty_one_is_taken(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(RecipeError, match="is not a run's folder"), opened(out=tmp_path / "full"):
        pass
    with pytest.raises(RecipeError, match="is a file; name a folder"), opened(out=tmp_path / "full" / "thesis.tex"):
        pass
    with pytest.raises(RecipeError, match="cannot be written"), opened(out=Path("/proc/r1lab")):
        pass
    assert os.listdir(tmp_path / "full") == ["thesis.tex"]
    (tmp_path / "empty").mkdir()
    with opened(out=tmp_path / "empty"):
        pass


def test_too_little_disk_is_refused_before_a_folder_exists(tmp_path):
    with pytest.raises(RecipeError, match="not enough disk"), opened(out=tmp_path / "r", needed_bytes=10**18):
        pass
    assert not (tmp_path / "r").exists()


def test_a_damaged_manifest_is_one_line(tmp_path):
    (tmp_path / "r").mkdir()
    for text in ("{", "[]", "{}"):
        (tmp_path / "r" / "manifest.json").write_text(text)
        with pytest.raises(RunError, match=r"^[^\n]*manifest\.json cannot be read[^\n]*$"):
            opened(out=tmp_path / "r").__enter__()


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    with opened(out=tmp_path / "r"):
        with pytest.raises(RunError, match=f"in use by process {os.getpid()} on "), opened(out=tmp_path / "r"):
            pass
        before = manifest(tmp_path / "r")
    assert manifest(tmp_path / "r") == before
    with opened(out=tmp_path / "r"):
        pass


def test_a_killed_process_leaves_no_lock_and_its_leftovers_are_swept(tmp_path):
    def die():
        with opened(out=tmp_path / "r") as folder:
            (folder.path / "checkpoints" / ".rl-1.7.partial").mkdir(parents=True)
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=die)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with opened(out=tmp_path / "r") as folder:
        assert list(folder.checkpoints.iterdir()) == []


def test_what_an_evaluation_in_the_folder_is_writing_stays(tmp_path):
    writing = tmp_path / "r" / "evals" / "held_out-1" / ".results.json.7.partial"
    with opened(out=tmp_path / "r"):
        writing.parent.mkdir(parents=True)
        writing.touch()
    with opened(out=tmp_path / "r"):
        assert writing.exists()


def test_a_resume_keeps_what_was_pinned_and_recorded(tmp_path):
    with opened(out=tmp_path / "r", extra={"engine": "local"}) as first:
        first.note("a verdict was decided by the clock")
        first.note("a verdict was decided by the clock")
        first.resumed("rl", 2)
    with opened("stages.rl.steps=9", out=tmp_path / "r", extra={"engine": "vllm", "new": 1}) as second:
        assert second.pinned == {"engine": "local", "new": 1} and second.warnings == []
    held = manifest(tmp_path / "r")
    assert held["notes"] == ["a verdict was decided by the clock"]
    assert held["resumed_at"] == [{"stage": "rl", "step": 2}] and held["started"] == first.manifest["started"]
    assert [stage["steps"] for stage in held["recipe"]["stages"]] == [2, 9]


def test_what_may_change_rounding_warns_and_marks_the_manifest(tmp_path, monkeypatch):
    with opened(out=tmp_path / "r"):
        pass
    machine = made_of._machine()
    monkeypatch.setattr(made_of, "_machine", lambda: machine | {"cpu": "Other", "memory": 1})
    monkeypatch.setattr(made_of, "_packages", lambda: {"torch": "99"})
    cores = len(os.sched_getaffinity(0))
    changed = ("stages.rl.micro_batch_tokens=64", f"stages.rl.threads={cores + 1}", "stages.sft.threads=" + str(cores))
    with opened(*changed, out=tmp_path / "r", versions={"math": 2}) as folder:
        lines = {line.split(":")[0] for line in folder.warnings}
    assert {"stages.rl.micro_batch_tokens", "machine.cpu", "threads.rl", "packages.torch", "verifiers.math"} <= lines
    assert not lines & {"machine.memory", "threads.sft", "stages.sft.threads"}
    assert "stages.rl.micro_batch_tokens: 64 now, 8192 before; figures may part by rounding" in folder.warnings
    assert manifest(tmp_path / "r")["notes"] == folder.warnings
    with opened(*changed, out=tmp_path / "r", versions={"math": 2}) as folder:
        assert folder.warnings == []


def test_a_finished_run_says_so_and_is_left_as_it_is(tmp_path):
    with opened(out=tmp_path / "r") as folder:
        folder.finish()
    before = (tmp_path / "r" / "manifest.json").read_bytes()
    with opened("stages.rl.workers.count=9", out=tmp_path / "r") as folder:
        assert folder.finished
    assert (tmp_path / "r" / "manifest.json").read_bytes() == before


def test_a_finished_run_with_more_steps_goes_on(tmp_path):
    with opened(out=tmp_path / "r") as folder:
        folder.finish()
    with opened("stages.rl.steps=9", out=tmp_path / "r") as folder:
        assert not folder.finished
    assert manifest(tmp_path / "r")["finished"] is False


def test_the_commit_is_none_outside_a_checkout(tmp_path):
    assert made_of._commit(tmp_path) is None
    (tmp_path / ".git").touch()
    assert made_of._commit(tmp_path) is None
