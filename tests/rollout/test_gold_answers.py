"""A reference answer that cannot be judged stops the recipe before anything is written, or is left out and counted."""

import json

import pytest

from r1lab import pipeline
from r1lab.errors import RecipeError
from r1lab.recipe import load
from r1lab.run.progress import Progress
from r1lab.stages.prepare import prepare

BAD = [3, 8, 9]


@pytest.fixture
def recipe(tmp_path):
    """Ten problems, three of whose answers are no numbers."""
    rows = [{"prompt": f"{n} + {n}", "answer": "two" if n in BAD else str(2 * n)} for n in range(10)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "name": "golds",
        "steps": 1,
        "data": {"mine": {"path": str(tmp_path / "rows.jsonl"), "verifier": "numeric"}},
        "max_new_tokens": 8,
        "prompts_per_step": 2,
        "group_size": 2,
        "threads": 1,
        "workers": {"count": 1},
        "out": str(tmp_path / "run"),
    }


def test_bad_golds_are_counted_and_named_before_anything_is_written(recipe, tmp_path):
    with pytest.raises(RecipeError) as end:
        pipeline.train(load.resolve(recipe), Progress(quiet=True))
    said = str(end.value)
    assert "data mine: 3 of 10 reference answers cannot be judged" in said and "on_bad_gold: drop" in said
    assert all(f"mine/{n}: " in said for n in BAD) and "\n" not in said
    assert not (tmp_path / "run").exists()


def test_dropped_ones_are_left_out_and_the_manifest_says_so(recipe):
    run = pipeline.train(load.resolve({**recipe, "on_bad_gold": "drop"}), Progress(quiet=True))
    (note,) = json.loads((run.path / "manifest.json").read_text())["notes"]
    assert "3 of 10 reference answers cannot be judged and were dropped (mine/3: " in note
    (ready,) = prepare(load.resolve({**recipe, "on_bad_gold": "drop"}))
    assert sorted(ready.problems) == sorted(f"mine/{n}" for n in range(10) if n not in BAD)


def test_an_evaluation_set_is_checked_too(recipe, tmp_path):
    (tmp_path / "test.jsonl").write_text(json.dumps({"prompt": "a", "answer": "b"}) + "\n")
    recipe["eval"] = {"sets": {"test": {"path": str(tmp_path / "test.jsonl"), "verifier": "numeric"}}}
    with pytest.raises(RecipeError, match=r"data test: 1 of 1 .*nothing is left"):
        prepare(load.resolve({**recipe, "on_bad_gold": "drop"}))


def test_a_verifier_that_cannot_say_is_not_asked(recipe):
    recipe["data"]["mine"]["verifier"] = "exact"
    (ready,) = prepare(load.resolve(recipe))
    assert len(ready.problems) == 10


@pytest.mark.sandbox
def test_a_program_s_tests_that_its_own_solution_fails_are_named(recipe, tmp_path):
    rows = [
        {"task_id": n, "text": "Add.", "code": f"def add(a, b): return a + b + {int(n == 2)}",
         "test_list": ["assert add(1, 2) == 3" if n else "assert add(1, 2 == 3"]}
        for n in range(3)
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe["data"] = {"mine": {"path": str(tmp_path / "rows.jsonl"), "verifier": "code", "answer_format": "mbpp"}}
    with pytest.raises(RecipeError) as end:
        prepare(load.resolve(recipe))
    said = str(end.value)
    assert "2 of 3 reference answers" in said and "mine/0: " in said and "does not parse" in said
    assert "mine/2: its own solution scores 0.0 (wrong" in said
    (ready,) = prepare(load.resolve({**recipe, "on_bad_gold": "drop", "prompts_per_step": 1}))
    assert list(ready.problems) == ["mine/1"]
