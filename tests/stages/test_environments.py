"""What a recipe with an environment may not say is refused in one line, before anything is written."""

import json

import pytest

from r1lab.errors import RecipeError
from r1lab.recipe import load
from r1lab.stages.prepare import prepare

GUESS = {"use": "guess", "max_turns": 3, "max_observation_tokens": 40}
BASE = {
    "data": {"task": "addition", "size": 8, "settings": {"digits": 1}}, "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 20, "steps": 1, "prompts_per_step": 2, "group_size": 2,
}  # fmt: skip

TOOLS = """
from r1lab.environments.protocol import Turn

def add(a: int, b: int) -> int:
    '''Add.'''
    return a + b

def bare(a):
    '''No hint.'''

async def later(a: int) -> int:
    '''Add, at some time.'''

class Maze:
    '''A world; what its settings make of it.'''

    def __init__(self, problem, seed, answer=None, fails="", says=1.0):
        self.answer, self.fails, self.says = answer, fails, says

    def reset(self):
        if self.fails == "reset":
            raise ValueError("no walls")

    def step(self, text):
        if self.fails == "step":
            raise ValueError("no such door")
        return self.answer or Turn("a wall", reward=float("nan") if self.fails == "nan" else 0.0)

    def verdict(self):
        if self.fails == "verdict":
            raise ValueError("lost")
        return self.says

class Outside(Maze):
    replayable = False

class Later(Maze):
    async def step(self, text):
        return Turn("a wall")

class Stops(Maze):
    stop_after = "</go>"

def eos(a: int) -> int:
    '''A special name.'''
    return a
"""
MAZE = {"use": "mytools:Maze", "max_turns": 2, "max_observation_tokens": 40}
PYTHON = {**BASE["data"], "tools": ["python"]}


@pytest.fixture
def ready(tmp_path):
    (tmp_path / "mytools.py").write_text(TOOLS, encoding="utf-8")

    def make(**keys):
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps({key: value for key, value in {**BASE, **keys}.items() if value is not None}))
        return prepare(load.resolve(*load.read(path)))

    return make


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"environment": GUESS, "tools": ["python"]}, "environment and tools stand together"),
        ({"data": {**PYTHON, "environment": "guess"}}, "environment and tools stand together"),
        ({"environment": {**GUESS, "max_observation_tokens": 900}}, "and max_observation_tokens 900 exceed"),
        ({"environment": {**GUESS, "max_observation_tokens": 4}}, "holds no observation, whose frame alone takes"),
        ({"environment": {**GUESS, "max_turns": 0}}, "environment.max_turns"),
        ({"environment": {**GUESS, "highest": 3}}, "has no setting 'highest'"),
        ({"environment": {"max_turns": 3}}, "environment.use"),
        ({"environment": "mytools:add"}, "an environment is a class made as"),
        ({"environment": "mytools:gone"}, "does not import"),
        ({"environment": {**GUESS, "frame": "no place"}}, "must contain {observation} exactly once"),
        ({"environment": {**GUESS, "as": "gym"}}, "environment.as"),
        ({"environment": GUESS, "objective": {"preset": "uft"}}, "begins completions with a part of a demonstration"),
        ({"environment": GUESS, "objective": {"preset": "prefix_rft"}}, "begins completions with a part"),
        ({"environment": GUESS, "objective": {"preset": "bread"}}, "begins completions with a part"),
        ({"environment": GUESS, "objective": {"credit": "steps"}}, "take source: environment"),
        ({"tools": ["mytools:bare"]}, "no type hint for 'a'"),
        ({"tools": ["mytools:add", "mytools:add"]}, "two tools are named 'add'"),
        ({"tools": ["mytools:eos"], "max_new_tokens": 8, "environment": None}, "like a special token"),
        ({"tools": ["mytools:later"]}, "tools: 'mytools:later' is async or a generator"),
        ({"tools": ["mytools:Maze"]}, "tools: 'mytools:Maze' is type, not a function"),
        ({"environment": {**GUESS, "low": 9, "high": 3}}, "low 9 and high 3 must be whole numbers"),
        ({"environment": {**GUESS, "low": "a"}}, "low 'a' and high 31 must be whole numbers"),
        ({"environment": GUESS, "data": {"task": "countdown", "size": 4}}, "is no whole number of at most 9 digits"),
        ({"environment": {**MAZE, "use": "visible_tests"}}, "the answer is no {test_list"),
        ({"environment": {**MAZE, "use": "mytools:Later"}}, "has an async step"),
        ({"environment": {**MAZE, "use": "mytools:Stops"}}, "has stop_after '</go>'; give a tuple"),
        ({"environment": {**MAZE, "answer": "a wall"}}, "returned str from step"),
        ({"environment": {**MAZE, "fails": "nan"}}, "returned the reward nan"),
        ({"environment": {**MAZE, "fails": "reset"}}, "on problem 'addition/0': crash: ValueError: no walls"),
        ({"environment": {**MAZE, "fails": "verdict"}}, "on problem 'addition/0': crash: ValueError: lost"),
        ({"environment": {**MAZE, "says": "won"}}, "returned 'won'; allowed: Verdict, float, bool, None"),
        ({"environment": {**MAZE, "says": 2}}, "a score lies in [0, 1]"),
        ({"tools": []}, "tools: [] must be a list such as"),
        ({"tools": ["mytools:add"], "prompt": {"template": "chat"}}, "chat template has no form for tools"),
        ({"verifier": "environment"}, "verifier: environment asks the environment of 'addition', which has none"),
        ({"verifier": "environment", "tools": ["mytools:add"]}, "which has one without verdict"),
        ({"reward": {"score": 1.0, "environment": 1.0}}, "reward.environment: no source of data has an environment"),
        ({"kind": "sft", "group_size": None, "data": {**BASE["data"], "environment": GUESS}}, "which samples nothing"),
        (
            {"environment": GUESS, "eval": {"sets": {"addition": {**PYTHON, "split": "eval"}}}},
            "also the name of a data source",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_played_is_refused(ready, keys, why):
    with pytest.raises(RecipeError) as end:
        ready(**keys)
    assert why in str(end.value) and "\n" not in str(end.value)


def test_an_environment_of_a_stage_holds_for_every_source_and_set_that_names_none(ready):
    plain = {**BASE["data"], "seed": 1}
    (stage,) = ready(
        data={"a": {**plain, "environment": {**GUESS, "max_turns": 2}}, "b": {**plain, "seed": 2}},
        eval={"sets": {"held": {**plain, "split": "eval"}}}, environment=GUESS,
    )  # fmt: skip
    assert stage.renderer.observed == {"a": 40, "b": 40, "held": 40}


def test_tools_and_plain_problems_stand_side_by_side(ready):
    plain = {**BASE["data"], "seed": 1}
    tools = {"use": "tools", "tools": ["mytools:add"], "max_observation_tokens": 60}
    (stage,) = ready(data={"a": {**plain, "environment": tools}, "b": {**plain, "seed": 2}})
    assert stage.renderer.observed == {"a": 60}


def test_frames_let_tools_stand_under_any_template(ready):
    tools = {"use": "tools", "tools": ["mytools:add"], "max_observation_tokens": 60, "frame": "\n{observation}\n"}
    ready(prompt={"template": "chat"}, environment=tools)


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        ({}, ""),
        ({"says": True}, ""),
        ({"fails": "step"}, "a turn that holds the reference of 'addition/0' (crash: ValueError: no such door)"),
        ({"use": "mytools:Outside", "fails": "reset"}, ""),  # what reaches outside is not tried
    ],
)
def test_a_world_that_can_be_played_is_tried_and_what_a_turn_breaks_is_noted(ready, keys, note):
    (stage,) = ready(environment={**MAZE, **keys})
    assert [each for each in stage.notes if "mytools" in each] == [
        each for each in stage.notes if note and note in each
    ]
    assert any(note in each for each in stage.notes) or not note
