"""`r1lab eval RUN` evaluates a run as its own recipe does; options override, and an overlap is said."""

import json
import shutil
import sys
from pathlib import Path

import pytest

import r1lab
from r1lab.errors import RecipeError
from r1lab.evaluation import of_run
from r1lab.evaluation.arguments import Asked, evaluation_spec

CHECKS = "def last(completion, answer): return completion.strip().endswith(answer)\n"
RECIPE = {
    "name": "mine", "steps": 1, "threads": 1, "max_new_tokens": 6, "prompts_per_step": 2, "group_size": 2,
    "prompt": {"format": "Frage: {prompt}\nAntwort:"}, "print_samples": 0, "sampling": {"stop": ["\n"]},
    "workers": {"count": 1, "deadline": 3.0},
    "data": {"path": "data/train.jsonl", "columns": {"prompt": "q", "answer": "a"}, "verifier": "own_checks:last"},
    "eval": {"n": 2, "temperature": 0.5, "at_start": False, "allow_masked_overlap": ["held_out"], "sets": {
        "held_out": {"path": "data/test.jsonl", "columns": {"prompt": "q", "answer": "a"},
                     "verifier": "own_checks:last"}}},
}  # fmt: skip


def rows(path: Path, numbers: range, prompt: str = "q", answer: str = "a", text: str = "what is {n} and {n}?") -> None:
    path.parent.mkdir(exist_ok=True)
    lines = [json.dumps({prompt: text.format(n=n), answer: str(2 * n)}) for n in numbers]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run, trained from a recipe in a folder of its own."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "own_checks.py").write_text(CHECKS)
    rows(folder / "data" / "train.jsonl", range(8))
    rows(folder / "data" / "test.jsonl", range(20, 24))
    (folder / "recipe.yaml").write_text(json.dumps(RECIPE))
    path = list(sys.path)
    yield r1lab.train(folder / "recipe.yaml", f"out={folder / 'run'}").path
    sys.path[:] = path
    sys.modules.pop("own_checks", None)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def asked(**given):
    spec, _ = evaluation_spec(Asked(**given))
    return spec


def test_without_more_arguments_it_is_the_runs_own_evaluation(run):
    spec = asked(model=str(run))
    assert (spec.eval_set.name, spec.n, len(spec.eval_set.problems)) == ("held_out", 2, 4)
    assert (spec.sampling.temperature, spec.sampling.max_new_tokens, spec.sampling.stop) == (0.5, 6, ("\n",))
    assert spec.prompt["format"] == "Frage: {prompt}\nAntwort:" and list(spec.table) == ["own_checks:last"]
    assert spec.workers.deadline == 3.0 and spec.workers.count == 1
    (line,) = spec.note["notes"]
    assert line == (
        f"{run}: as the run says (recipe mine, stage rl), where no option does: set held_out, n 2, prompt plain, "
        "verifier own_checks:last, columns prompt=q, answer=a"
    )


def test_the_command_says_so_in_one_line_and_evaluates(run, command):
    code, out, err = command("eval", run)
    assert code == 0 and b"held_out: 4 problems x 2 completions" in out
    assert [line for line in err.splitlines() if "as the run says" in line] == err.splitlines()[:1]


def test_an_evaluation_of_a_run_lies_in_its_folder(run, tmp_path, command):
    mine = changed(run, tmp_path / "mine", lambda manifest: None)
    shutil.rmtree(mine / "evals", ignore_errors=True)  # of another test
    code, out, _ = command("eval", "mine", "--limit", "1")
    (made,) = (mine / "evals").iterdir()
    assert code == 0 and made.name.startswith("held_out-") and f"mine/evals/{made.name}: " in out.decode()
    assert not Path("evals").exists()
    assert command("eval", "mine", "--limit", "1", "--out", "there")[0] == 0
    assert Path("there/results.json").is_file() and len(list((mine / "evals").iterdir())) == 1


def test_which_folder_is_a_runs(run, tmp_path, monkeypatch):
    assert of_run.folder_of(str(run)) == run
    for model in (
        str(run / "model"),
        str(run / "stages" / "rl" / "model"),
        str(tmp_path),
        "embedded",
        "org/name",
        None,
    ):
        assert of_run.folder_of(model) == Path()
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "evaluation", "identity": {}}))
    assert of_run.folder_of(str(tmp_path)) == Path()
    monkeypatch.chdir(run)
    assert of_run.folder_of(".") == Path()


def test_options_override(run):
    spec = asked(model=str(run), n=1, temperature=0.0, prompt="plain", format="{prompt}", verifier="exact", stop=())
    assert (spec.n, spec.sampling.temperature, spec.sampling.stop) == (1, 0.0, ())
    assert spec.prompt["format"] == "{prompt}" and list(spec.table) == ["exact"]
    assert asked(model=str(run), overrides=["max_new_tokens=3"]).sampling.max_new_tokens == 3
    limited = asked(model=str(run), source={"limit": 2})
    assert len(limited.eval_set.problems) == 2


def test_another_file_is_read_as_the_runs_own_or_by_the_usual_names(run, tmp_path):
    rows(tmp_path / "like.jsonl", range(40, 43), text="how much is {n} doubled?")
    spec = asked(model=str(run), on="like.jsonl")
    assert [problem.answer for problem in spec.eval_set.problems] == ["80", "82", "84"]
    assert list(spec.table) == ["own_checks:last"] and len(spec.note["notes"]) == 1
    rows(tmp_path / "usual.jsonl", range(40, 43), "prompt", "answer", text="double {n}!")
    spec = asked(model=str(run), on="usual.jsonl")
    assert len(spec.eval_set.problems) == 3 and "columns" not in spec.note["notes"][0]
    rows(tmp_path / "other.jsonl", range(40, 43), "x", "y", text="twice {n}")
    with pytest.raises(RecipeError, match="no column 'q'"):
        asked(model=str(run), on="other.jsonl")
    spec = asked(model=str(run), on="other.jsonl", source={"columns": {"prompt": "x", "answer": "y"}}, verifier="exact")
    assert len(spec.eval_set.problems) == 3 and list(spec.table) == ["exact"]


def test_a_file_named_now_lies_here_and_a_task_has_its_own_verifier(run, tmp_path):
    rows(tmp_path / "data" / "test.jsonl", range(50, 51), text="here {n}")
    assert [each.answer for each in asked(model=str(run), on="data/test.jsonl").eval_set.problems] == ["100"]
    spec = asked(model=str(run), on="addition", source={"size": 4})
    assert list(spec.table) == ["numeric"] and len(spec.eval_set.problems) == 4


def test_an_overlap_with_the_training_data_is_said_and_not_refused(run, tmp_path):
    rows(tmp_path / "same.jsonl", range(4))
    _, line = asked(model=str(run), on="same.jsonl").note["notes"]
    assert "beside the run's training data: eval.sets.same: 4 of 4 problems stand in the training data too" in line
    rows(tmp_path / "masked.jsonl", range(60, 64))
    _, line = asked(model=str(run), on="masked.jsonl").note["notes"]
    assert "allow it with eval.allow_masked_overlap: [masked]" in line
    with pytest.raises(RecipeError, match=r"eval\.allow_masked_overlap: \[masked\]"):
        columns = {"columns": {"prompt": "q", "answer": "a"}}
        recipe = run.parent / "recipe.yaml"
        asked(model=str(run), on="masked.jsonl", recipe=recipe, source=columns, verifier="exact")


def test_a_recipe_named_beside_it_is_the_one_that_counts(run):
    spec = asked(model=str(run), on="addition", recipe={"data": {"task": "addition"}, "steps": 1, "max_new_tokens": 9})
    assert spec.sampling.max_new_tokens == 9 and spec.prompt["format"] != "Frage: {prompt}\nAntwort:"
    assert spec.note["notes"] == []


def test_a_model_of_a_run_or_any_folder_is_a_model(run, tmp_path):
    for folder in (run / "model", run / "stages" / "rl" / "model", tmp_path, "embedded", "nowhere", None):
        assert of_run.plan_of(str(folder) if folder else None) is None
    with pytest.raises(RecipeError, match="--on: missing"):
        asked(model=str(run / "model"))


def changed(run: Path, path: Path, change) -> Path:
    """A copy of the run with another manifest."""
    shutil.copytree(run, path, symlinks=True)
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def test_several_sets_are_evaluated_one_after_the_other_and_none_is_asked_for(run, command, tmp_path):
    def second(manifest):
        evaluation = manifest["recipe"]["stages"][0]["eval"]
        evaluation["sets"]["second"] = {**evaluation["sets"]["held_out"], "limit": 1}

    both = changed(run, tmp_path / "both", second)
    code, out, err = command("eval", both, "--out", "there")
    assert (code, out) == (2, b"") and "the run has held_out, second: name one with --on" in err
    with pytest.raises(RecipeError, match="several sets, held_out, second; name one"):
        asked(model=str(both))
    code, out, _ = command("eval", both)
    assert code == 0 and b"held_out: 4 problems" in out and b"second: 1 problems" in out
    none = changed(run, tmp_path / "none", lambda made: made["recipe"]["stages"][0]["eval"]["sets"].clear())
    with pytest.raises(RecipeError, match=r"no held-out sets \(eval\.sets\); name one, or a task"):
        asked(model=str(none))


def test_a_recipe_that_is_not_read_here_is_said_and_does_without_where_a_set_is_named(run, tmp_path):
    old = changed(run, tmp_path / "old", lambda made: made["recipe"]["stages"][0].update(beam=3))
    with pytest.raises(RecipeError, match=r"the recipe of this run, of r1lab .*, is not read here: .*beam"):
        asked(model=str(old))
    spec = asked(model=str(old), on="addition", source={"size": 4})
    assert "without the run's settings" in spec.note["notes"][0] and spec.n == 1


def test_nobodys_code_runs_because_a_run_says_so(run, tmp_path, monkeypatch):
    from r1lab.evaluation import arguments

    trusted = []
    monkeypatch.setattr(arguments, "trust_remote_code", lambda: trusted.append(1))
    loose = changed(run, tmp_path / "loose", lambda made: made["recipe"]["stages"][0].update(trust_remote_code=True))
    asked(model=str(loose))
    assert not trusted
    asked(model=str(loose), trust_remote_code=True)
    assert trusted
