"""A source whose problems are the steps of its solutions: its verifier, and where it cannot be."""

import pytest

from r1lab.errors import RecipeError
from r1lab.recipe import load
from r1lab.stages import prepare
from r1lab.stages.dry_run import dry_run

SUMS = {"task": "addition", "size": 8, "settings": {"digits": 2}, "steps_at": ", "}
BASE = {"name": "steps", "steps": 1, "max_new_tokens": 16, "prompt": {"format": "Q: {prompt}\nA:"}, "threads": 1}


def problems_of(plan):
    (ready,) = prepare.prepare(plan)
    (problems,) = ready.sources.values()
    return problems


def plan(**changes):
    return load.resolve({**BASE, "data": SUMS, **changes})


def test_each_step_is_a_problem_whose_verifier_is_similar():
    text = dry_run(plan(objective={"preset": "srl"}))
    assert "verdict on the reference: correct, score 1 (similar)" in text
    problems = problems_of(plan())
    assert len(problems) == 16, "two columns of each of 8 sums, the answer with the last"
    assert {problem.verifier for problem in problems} == {"similar"}
    first, second = problems[:2]
    assert second.prompt == f"{first.prompt}\n{first.answer},"


def test_a_verifier_that_the_source_names_is_taken_and_sft_learns_the_steps():
    assert {problem.verifier for problem in problems_of(plan(data={**SUMS, "verifier": "exact"}))} == {"exact"}
    assert {problem.verifier for problem in problems_of(plan(verifier="numeric"))} == {"similar"}
    assert all(problem.solution == problem.answer for problem in problems_of(plan(kind="sft")))


@pytest.mark.parametrize("data, says", [
    ({**SUMS, "steps_at": ""}, "steps_at"),
    ({"path": "ROWS", "steps_at": "\n"}, "has no solution to take steps of; map columns.solution"),
])  # fmt: skip
def test_without_steps_there_are_no_problems(rows, data, says):
    data = data | ({"path": rows({"prompt": "1+1", "answer": "2"})} if "path" in data else {})
    with pytest.raises(RecipeError, match=says):
        prepare.prepare(plan(data=data))


def test_what_a_stage_makes_is_learned_whole():
    stages = [{"kind": "reject", "name": "r", "data": {"task": "addition"}},
              {"kind": "sft", "data": {"stage": "r", "steps_at": "\n"}}]  # fmt: skip
    with pytest.raises(RecipeError, match="what a stage makes is learned whole"):
        load.resolve({**BASE, "stages": stages})
