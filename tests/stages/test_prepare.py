"""What a recipe's data becomes before a run: steps from epochs, and long prompts left out where that is asked for."""

import json

import pytest

from r1lab.errors import RecipeError
from r1lab.evaluation.arguments import Asked, evaluation_spec
from r1lab.recipe import load
from r1lab.stages.prepare import prepare

ONE = {"prompt": {"format": "Q: {prompt}\nA:"}, "max_new_tokens": 32, "prompts_per_step": 4, "verifier": "exact"}


@pytest.fixture
def rows(tmp_path):
    """Nine problems, two of which are longer than the model's context of 512."""
    lengths = [3, 3, 3, 900, 3, 3, 3, 3, 900]
    made = [{"prompt": f"{number}: " + "1 + " * length + "1", "answer": "2"} for number, length in enumerate(lengths)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({**row, "solution": "2"}) + "\n" for row in made))
    return str(path)


def ready(*overrides, **keys):
    return prepare(load.resolve(*load.read({**ONE, **keys}, overrides)))[-1]


@pytest.mark.parametrize(("kind", "columns"), [("rl", {}), ("sft", {"solution": "solution"})])
def test_long_prompts_are_refused_or_dropped_counted_and_said(rows, kind, columns):
    data = {"path": rows, "columns": columns}
    length = {"steps": 2} if kind == "rl" else {}
    with pytest.raises(RecipeError, match="on_long_prompt: drop"):
        ready(kind=kind, data=data, **length)
    made = ready(kind=kind, data={**data, "on_long_prompt": "drop"}, **length)
    assert [problem.id for problem in made.sources["data"]] == [f"data/{at}" for at in (0, 1, 2, 4, 5, 6, 7)]
    (note,) = made.notes
    assert note == "data: 2 of 9 prompts are too long for the model's context and were dropped (data/3, data/8)"
    assert made.steps == 2  # of SFT one pass over the seven that are left, 7 / 4 rounded up


def test_dropping_all_is_refused_and_evaluation_sets_may_drop_too(rows):
    with pytest.raises(RecipeError, match=r"9 of 9 prompts are too long .* nothing is left to drop them from"):
        ready(data={"path": rows, "on_long_prompt": "drop"}, steps=1, max_new_tokens=512)
    sets = {"long": {"path": rows, "on_long_prompt": "drop"}}
    made = ready(data={"task": "addition", "size": 8}, steps=1, eval={"sets": sets})
    assert len(made.sets[0].problems) == 7 and "eval.sets.long: 2 of 9 prompts" in made.notes[0]


def test_an_evaluation_on_command_drops_them_as_its_recipe_says(rows):
    sets = {"long": {"path": rows, "on_long_prompt": "drop"}}
    recipe = {**ONE, "data": {"task": "addition", "size": 8}, "steps": 1, "eval": {"sets": sets}}
    spec, _ = evaluation_spec(Asked(model="embedded", on="long", recipe=recipe))
    assert len(spec.eval_set.problems) == 7
    assert spec.note["notes"][0].startswith("--on long: 2 of 9 prompts are too long for the model's context and were")


def test_rows_that_make_no_problem_are_refused_or_dropped_counted_and_said(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": "How many?", "answer": answer} for answer in ("2", None, "2", "")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RecipeError, match=r"^data: .*rows.jsonl, line 2: no answer .*; or leave .* on_bad_row: drop"):
        ready(data={"path": str(path)}, steps=1)
    made = ready(data={"path": str(path), "on_bad_row": "drop", "limit": 2}, steps=1)
    assert [problem.id for problem in made.sources["data"]] == ["data/0", "data/2"]
    assert made.notes[0].startswith("data: 2 of 4 rows make no problem and were dropped (")
    sets = {"held": {"path": str(path), "on_bad_row": "drop"}}
    made = ready(data={"task": "addition", "size": 8}, steps=1, eval={"sets": sets})
    assert made.notes[0].startswith("eval.sets.held: 2 of 4 rows make no problem")
    recipe = {**ONE, "data": {"task": "addition", "size": 8}, "steps": 1, "eval": {"sets": sets}}
    spec, _ = evaluation_spec(Asked(model="embedded", on="held", recipe=recipe))
    assert spec.note["notes"][0].startswith("--on held: 2 of 4 rows make no problem")


@pytest.mark.parametrize(("epochs", "steps"), [(1, 2), (0.5, 1), (2, 4), (1.1, 3), (0.01, 1)])
def test_epochs_of_rl_are_passes_over_the_problems(epochs, steps):
    made = ready(data={"task": "addition", "size": 8}, epochs=epochs)
    assert made.steps == steps


def test_epochs_and_steps_exclude_each_other_and_a_schedule_knows_its_end():
    data = {"task": "addition", "size": 8}
    with pytest.raises(RecipeError, match="steps 3 and epochs 2 both say how long"):
        ready(data=data, epochs=2, steps=3)
    assert ready(data=data, epochs=2, optimizer={"schedule": "cosine"}).steps == 4
