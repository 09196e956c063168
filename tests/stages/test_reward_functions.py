"""A recipe names another trainer's reward function: it is tried before anything is written, with the rows' columns."""

import json
import sys

import pytest

from r1lab.errors import RecipeError
from r1lab.recipe import load
from r1lab.rollout import verification
from r1lab.stages.check import check

FUNCTIONS = """
def holds(completions, solution, **kwargs): return [float(gold in text) for text, gold in zip(completions, solution)]
def tagged(completions, **kwargs): return [float("</think>" in text) for text in completions]
def easy(completions, level): return [float(each < 3) for each in level]
def best(completions, **kwargs): return [float(text == max(completions)) for text in completions]
def right(completions, answer): return [float(gold in text) for text, gold in zip(completions, answer)]
def score(data_source, solution_str, ground_truth, extra_info=None): return float(ground_truth + data_source in "7sums")
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    (tmp_path / "rewards_of_mine.py").write_text(FUNCTIONS)
    rows = [{"prompt": "3+4?", "solution": "7", "level": 2}, {"prompt": "1+1?", "solution": "2", "level": 3}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield lambda **keys: load.resolve({"data": {"path": "rows.jsonl"}, "steps": 1, **keys}, tmp_path)
    sys.modules.pop("rewards_of_mine", None)


def of(name, convention="trl", **more):
    return {"use": f"rewards_of_mine:{name}", "as": convention, **more}


def test_the_rows_columns_reach_it_and_no_column_need_be_the_answer(recipe):
    stage = check(recipe(verifier=of("holds")))[0]
    (problem, other) = stage.sources["data"]
    assert problem.meta == {"prompt": "3+4?", "solution": "7", "level": 2}
    with verification.opened_pool(stage.table, stage.stage.workers) as pool:
        verdicts = [
            pool.submit(verification.item_of(each, "so 7"), each.verifier).result() for each in (problem, other)
        ]
    assert [verdict.score for verdict in verdicts] == [1.0, 0.0]


def test_its_version_is_that_of_its_module_and_settings_say_how_it_is_called(recipe, tmp_path):
    (resolved,) = check(recipe(verifier=of("holds")))[0].table.values()
    before = verification.version_of(resolved)
    assert before["settings"] == {"as": "trl"} and len(before["source"]) == 12
    (tmp_path / "rewards_of_mine.py").write_text(FUNCTIONS + "# another\n")
    assert verification.version_of(resolved)["source"] != before["source"]


def test_a_part_of_the_reward_and_a_second_verifier_may_be_such_functions(recipe):
    rows = {"path": "rows.jsonl", "columns": {"answer": "solution"}}
    reward = {"score": 1.0, "tags": of("tagged", weight=0.1), "easy": of("easy", weight=0.1)}
    stage = check(recipe(data=rows, verifier="numeric", reward=reward, second_verifier=of("holds", share=0.5)))[0]
    assert len(stage.table) == 4 and stage.problems["data/0"].meta["solution"] == "7"


@pytest.mark.parametrize(
    "keys, told",
    [
        ({"verifier": of("best")}, r"rewards_of_mine:best \(as: trl\) cannot judge 'data/0': .* compares the"),
        ({"verifier": of("holds"), "reward": {"score": 1, "best": of("best", weight=1)}}, "rewards_of_mine:best"),
        ({"verifier": of("holds"), "second_verifier": of("best")}, "rewards_of_mine:best"),
        ({"verifier": of("easy"), "data": {"task": "addition", "size": 8}}, "takes 'level', which the problem has not"),
        ({"verifier": of("holds", "verl")}, r"\(as: verl\) cannot judge .* it takes 'completions'"),
        ({"verifier": of("easy", "verl")}, "verifier: 'rewards_of_mine:easy' has no parameter 'solution_str'"),
        (
            {"verifier": of("right")},
            "takes 'answer', which the problem has not; there are: prompts, .* solution, level",
        ),
        ({"verifier": of("score", "verl")}, "can only concatenate|unsupported operand"),
        ({"verifier": of("holds"), "workers": {"deadline": 1e-6}}, "cannot judge"),
    ],
)
def test_what_cannot_be_asked_of_one_completion_is_refused_before_the_run(recipe, keys, told):
    with pytest.raises(RecipeError, match=told) as caught:
        check(recipe(**keys))
    assert "\n" not in str(caught.value)


def test_a_generated_problem_gives_its_answer_under_that_name(recipe):
    assert check(recipe(verifier=of("right"), data={"task": "addition", "size": 8}))[0].table


def test_other_verifiers_read_the_rows_as_ever(recipe):
    rows = {"path": "rows.jsonl", "columns": {"answer": "solution"}}
    assert check(recipe(data=rows, verifier="numeric"))[0].problems["data/0"].meta == {"level": 2}
