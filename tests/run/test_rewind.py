"""A run goes back to a checkpoint that is asked for; what lay behind it is kept, and going on gives the same bits."""

import json
from pathlib import Path

import pytest

import r1lab
from r1lab.errors import RecipeError
from r1lab.recipe import load
from r1lab.stages import dry_run

RECIPE = {
    "data": {"task": "addition", "size": 16}, "prompt": {"format": "Q: {prompt}\nA:"}, "max_new_tokens": 12,
    "prompts_per_step": 2, "group_size": 2, "learning_rate": 1e-4, "threads": 1, "workers": {"count": 1},
    "checkpoint_every": 1, "keep_last": 3, "steps": 3,
}  # fmt: skip


def figures(rows) -> list[str]:
    return [json.dumps({key: value for key, value in row.items() if not key.startswith("time/")}) for row in rows]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return r1lab.train(RECIPE, f"out={tmp_path_factory.mktemp('rewind') / 'run'}")


def test_going_back_keeps_what_lay_behind_and_ends_in_the_same_bits(run):
    weights = (run.model / "model.safetensors").read_bytes()
    again = r1lab.train(RECIPE, f"out={run.path}", from_checkpoint=1)
    assert figures(again.metrics) == figures(run.metrics)
    assert (again.model / "model.safetensors").read_bytes() == weights
    aside = run.path / "set_aside" / "rl-1.1"
    kept = {
        str(path.relative_to(aside)) for path in aside.rglob("*") if path.name in ("whole.json", "model.safetensors")
    }
    assert {"checkpoints/rl-2/whole.json", "checkpoints/rl-3/whole.json", "model/model.safetensors"} <= kept
    assert sorted(path.name for path in (aside / "rollouts").iterdir()) == ["rl-2.parquet", "rl-3.parquet"]
    assert len((aside / "metrics.jsonl").read_text().splitlines()) == 3
    r1lab.train(RECIPE, f"out={run.path}", from_checkpoint="rl-2")
    assert (run.path / "set_aside" / "rl-2.1" / "checkpoints" / "rl-3").is_dir()


def test_a_dry_run_says_where_it_would_go_back_to_and_changes_nothing(run):
    before = sorted(map(str, run.path.rglob("*")))
    plan = load.resolve(*load.read(RECIPE, [f"out={run.path}"]))
    text, refusal = dry_run.told(plan, back_to="2")
    assert refusal is None and f"out: {run.path}, a run that would go back to step 2 of stage rl" in text
    text, refusal = dry_run.told(plan, back_to="rl-9")
    assert str(refusal).startswith("--from-checkpoint: rl-9: no such checkpoint") and "would be refused" in text
    assert "would go back" not in dry_run.told(plan)[0]
    assert sorted(map(str, run.path.rglob("*"))) == before


@pytest.mark.parametrize(
    ("wanted", "says"), [(9, "9: no such checkpoint; there are: rl-1, rl-2, rl-3"), ("sft-1", "sft-1: no")]
)
def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(run, wanted, says):
    before = sorted(map(str, run.path.rglob("*")))
    with pytest.raises(RecipeError, match=f"^--from-checkpoint: {says}"):
        r1lab.train(RECIPE, f"out={run.path}", from_checkpoint=wanted)
    assert sorted(map(str, run.path.rglob("*"))) == before


def test_a_run_that_is_none_or_of_another_recipe_is_refused(run, tmp_path):
    with pytest.raises(RecipeError, match="is no run yet; leave it out at the first start"):
        r1lab.train(RECIPE, f"out={tmp_path / 'new'}", from_checkpoint=1)
    with pytest.raises(RecipeError, match="is the run of another recipe"):
        r1lab.train(RECIPE, f"out={run.path}", "group_size=4", from_checkpoint=1)
    assert not Path(tmp_path / "new").exists()


def test_each_row_goes_to_the_caller_once_it_is_on_disk_and_what_he_raises_leaves_a_run_that_goes_on(run, tmp_path):
    seen = []

    def stop_after_two(row):
        seen.append(row)
        row["reward/mean"] = "changed by the caller"
        if len(seen) == 2:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        r1lab.train(RECIPE, f"out={tmp_path / 'run'}", on_step=stop_after_two)
    rest = []
    whole = r1lab.train(RECIPE, f"out={tmp_path / 'run'}", on_step=rest.append)
    assert [row["step"] for row in seen] == [1, 2] and [row["step"] for row in rest] == [2, 3]
    assert figures(whole.metrics) == figures(run.metrics)


def test_epochs_are_steps_and_a_finished_run_goes_on_where_they_are_raised(run, tmp_path):
    by_epochs = ("steps=null", f"out={tmp_path / 'run'}")
    short = r1lab.train(RECIPE, *by_epochs, "epochs=0.25")  # a quarter of 16 problems, two a step
    assert [row["step"] for row in short.metrics] == [1, 2]
    whole = r1lab.train(RECIPE, *by_epochs, "epochs=0.375")
    assert figures(whole.metrics) == figures(run.metrics)
