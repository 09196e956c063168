"""Each mistake of a user gets one clear line and exit code 2, and nothing is written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import r1lab
from r1lab import embedded
from r1lab.cli import main as cli
from r1lab.recipe.load import shipped_names
from r1lab.run import files

RECIPE = {
    "name": "small",
    "steps": 1,
    "data": {"task": "addition", "size": 64, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 24,
    "prompts_per_step": 2,
    "group_size": 2,
    "workers": {"count": 1},
}


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """r1lab train on RECIPE with changes: returns (exit code, the one line on stderr), and that nothing was written."""
    monkeypatch.chdir(tmp_path)

    def run(*overrides: str, **changes) -> tuple[int, str]:
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "out": "run", **changes}))
        monkeypatch.setattr(sys, "argv", ["r1lab", "train", "recipe.yaml", *overrides])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, capsys.readouterr().err

    return run


def rows(path: Path, *lines: dict) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


MISTAKES = {
    "unknown key": ({"lerning_rate": 1.0}, "lerning_rate: unknown key; did you mean 'learning_rate'?"),
    "unknown nested key": ({"optimizer": {"warmup": 1}}, "optimizer.warmup: unknown key; did you mean"),
    "wrong type": ({"steps": "many"}, "steps: must be a whole number greater than 0 or null, got 'many'"),
    "true is no number": ({"steps": True}, "steps: must be a whole number greater than 0 or null, got True"),
    "zero size": ({"group_size": 0}, "group_size: must be a whole number greater than 0, got 0"),
    "negative size": ({"prompts_per_step": -4}, "prompts_per_step: must be a whole number greater than 0, got -4"),
    "unknown kind": ({"kind": "dpo"}, "kind: 'dpo' must be one of sft, rl"),
    "no steps": ({"steps": None}, "steps: missing in stage 'rl'"),
    "unknown preset": ({"objective": {"preset": "gppo"}}, "did you mean 'grpo'?"),
    "a preset of the other kind": ({"objective": {"preset": "sft"}}, "use kind: sft"),
    "a group of one": ({"group_size": 1}, "use group_size >= 2 or advantage: raw"),
    "biased sampling": ({"sampling": {"top_p": 0.9}}, "sampling.allow_biased_sampling: true"),
    "dataset path": ({"data": {"path": "nowhere/at/all.jsonl"}}, "nowhere/at/all.jsonl"),
    "unknown task": ({"data": {"task": "addditon"}}, "did you mean 'addition'?"),
    "task setting": ({"data": {"task": "addition", "settings": {"digit": 2}}}, "digit"),
    "model folder": ({"model": "."}, "it has no config.json"),
    "model name": ({"model": "no-such-model"}, "'no-such-model' is neither"),
    "prompt beyond the context": ({"max_new_tokens": 4096}, "exceed the context of"),
    "verifier that does not import": ({"verifier": "nomodule:check"}, "nomodule"),
    "verifier of neither form": ({"verifier": "math:pi"}, "math:pi"),
    "verifier's name": ({"verifier": "numerik"}, "numeric"),
    "reward without score": ({"reward": {"length": 0.1}}, "add score: 1.0"),
    "a schedule without an end": (
        {"steps": None, "stop": {"max_tokens": 9000}, "optimizer": {"schedule": "cosine"}},
        "schedule_steps: needed",
    ),
    "a budget below one problem": ({"steps": None, "stop": {"max_tokens": 10}}, "does not pay for one problem"),
    "an engine that is none": ({"engine": {"kind": "vlm"}}, "engine.kind: 'vlm' is none of"),
    "a buffer beyond the length": (
        {"reward": {"score": 1, "soft_overlong": {"buffer": 99}}},
        "exceeds max_new_tokens 24",
    ),
    "metric that is not evaluated": ({"eval": {"keep_best": "eval/test/avg"}}, "eval.keep_best"),
    "format without prompt": ({"prompt": {"format": "hello"}}, "must contain {prompt} exactly once"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_recipe_is_one_line_and_exit_2(command, tmp_path, mistake):
    changes, expected = MISTAKES[mistake]
    code, error = command(**changes)
    assert (code, error.count("\n")) == (2, 1), error
    assert error.startswith("r1lab: ") and expected in error
    assert not (tmp_path / "run").exists()


FILES = {
    "a column that is not there": ([{"question": "1+1", "answer": "2"}], {"prompt": "problem"}, "question"),
    "an empty dataset": ([], {}, "data"),
    "a problem without an answer": ([{"prompt": "1+1", "answer": None}], {}, "answer"),
    "a blank answer": ([{"prompt": "1+1", "answer": "  "}], {}, "answer"),
}


@pytest.mark.parametrize("mistake", FILES)
def test_a_mistake_in_the_data_is_one_line_and_exit_2(command, tmp_path, mistake):
    lines, columns, expected = FILES[mistake]
    path = rows(tmp_path / "train.jsonl", *lines)
    code, error = command(data={"path": path, "columns": columns}, verifier="numeric")
    assert (code, error.count("\n")) == (2, 1), error
    assert expected in error
    assert not (tmp_path / "run").exists()


def test_a_split_that_is_not_there_is_refused(command, tmp_path):
    rows(tmp_path / "train.jsonl", {"prompt": "1+1", "answer": "2"})
    code, error = command(data={"path": str(tmp_path), "split": "test"}, verifier="numeric")
    assert code == 2 and "test" in error


def test_evaluation_problems_in_the_training_data_are_refused(command, tmp_path):
    path = rows(tmp_path / "train.jsonl", {"prompt": "What is 1+1?", "answer": "2"}, {"prompt": "3+4", "answer": "7"})
    other = rows(tmp_path / "test.jsonl", {"prompt": "what is  1+1", "answer": "2"})
    code, error = command(data={"path": path}, verifier="numeric", eval={"sets": {"test": {"path": other}}})
    assert code == 2 and "1 of 1 problems stand in the training data" in error


def test_evaluation_problems_in_another_stages_training_data_are_refused(command, tmp_path):
    one = rows(tmp_path / "one.jsonl", {"prompt": "What is 1+1?", "answer": "2", "solution": "2"})
    two = rows(tmp_path / "two.jsonl", {"prompt": "3-4", "answer": "-1"})
    sft = {"kind": "sft", "steps": 1, "data": {"path": one, "columns": {"solution": "solution"}}}
    rl = {"kind": "rl", "steps": 1, "data": {"path": two}, "eval": {"sets": {"test": {"path": one}}}}
    code, error = command(stages=[sft, rl], verifier="numeric")
    assert code == 2 and "1 of 1 problems stand in the training data" in error


def test_a_model_folder_without_weights_or_with_broken_ones_is_refused(command, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(embedded.path(), folder)
    (folder / "model.safetensors").write_bytes(b"cut")
    code, error = command(model=str(folder))
    assert code == 2 and "no readable weights" in error and not (tmp_path / "run").exists()
    (folder / "model.safetensors").unlink()
    code, error = command(model=str(folder))
    assert code == 2 and "has no weights" in error and not (tmp_path / "run").exists()


def test_masked_overlap_is_refused_until_it_is_allowed_by_name(command, tmp_path):
    path = rows(tmp_path / "train.jsonl", {"prompt": "What is 1+1?", "answer": "2"}, {"prompt": "3-4", "answer": "-1"})
    other = rows(tmp_path / "test.jsonl", {"prompt": "What is 5+6?", "answer": "11"})
    changes = {"data": {"path": path}, "verifier": "numeric", "max_new_tokens": 8}
    code, error = command(**changes, eval={"sets": {"test": {"path": other}}})
    assert code == 2 and "eval.allow_masked_overlap: [test]" in error
    allowed = {"sets": {"test": {"path": other}}, "allow_masked_overlap": ["test"]}
    assert command(**changes, eval=allowed)[0] == 0


def test_a_folder_of_another_recipe_is_refused_by_the_knob_that_differs(command, tmp_path):
    assert command()[0] == 0
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    code, error = command("learning_rate=0.5")
    assert code == 2 and "learning_rate" in error and "0.5" in error
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_a_finished_run_started_again_says_so_and_exits_0(command):
    assert command()[0] == 0
    code, error = command()
    assert code == 0 and "is finished" in error


def test_too_small_a_disk_is_refused_before_anything_is_written(command, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_free", lambda folder: 1000)
    code, error = command()
    assert code == 2 and "disk" in error
    assert not (tmp_path / "run").exists()


def test_a_dry_run_prints_the_recipe_and_its_cost_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    monkeypatch.setattr(sys, "argv", ["r1lab", "train", "recipe.yaml", "--dry-run", "group_size=4"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capsys.readouterr().out
    assert end.value.code == 0
    assert (
        "2 problems x 4 = 8 completions" in printed and "sampled 192" in printed and "memory" in printed
    )  # 2 x 4 x 24 tokens
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_the_command_runs_from_another_folder_with_folders_named_like_ours(tmp_path):
    for name in ("data", "verifiers", "sandbox"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('shadowed')")
    executable = Path(sys.executable).with_name("r1lab")
    done = subprocess.run([executable, "train", "nothing.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("r1lab: recipe 'nothing.yaml' is no file and none that ships (")


def test_the_version_and_the_recipes_that_ship_are_told(capsys, monkeypatch):
    for arguments, says in ((["--version"], f"r1lab {r1lab.__version__}\n"), (["recipes"], "quickstart_zero  ")):
        monkeypatch.setattr(sys, "argv", ["r1lab", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr().out
        assert not end.value.code and says in printed
    assert [line.split()[0] for line in printed.splitlines()] == shipped_names()
    assert all(len(line.split()) > 5 and line.endswith(".") for line in printed.splitlines())


def test_a_current_folder_that_is_gone_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(sys, "argv", ["r1lab", "verify", "rows.jsonl", "--verifier", "exact"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert (end.value.code, capsys.readouterr().err) == (
        2, "r1lab: the current folder is gone: it was removed or moved; go to another one\n",
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [["report", "rnu"], ["push", "rnu", "org/name"]])
def test_a_folder_that_is_not_there_is_told_of_with_the_nearest(tmp_path, monkeypatch, capsys, arguments):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["r1lab", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2 and capsys.readouterr().err.endswith("; did you mean 'run'?\n")


def test_a_dry_run_of_another_recipes_folder_prints_all_and_ends_as_a_start_would(
    command, tmp_path, monkeypatch, capsys
):
    assert command()[0] == 0
    monkeypatch.setattr(sys, "argv", ["r1lab", "train", "recipe.yaml", "--dry-run", "learning_rate=0.5"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capsys.readouterr()
    assert end.value.code == 2 and "verdict on the reference: correct" in printed.out
    assert printed.err.startswith("r1lab: run is the run of another recipe") and printed.err.count("\n") == 1
    assert f"out: run, would be refused: {printed.err.removeprefix('r1lab: ').strip()}" in printed.out
