import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import r1lab_data as data
from r1lab_data.overlap import normalise, overlap
from r1lab_data.problem import DataError
from r1lab_data.tasks import TASKS, VERIFIERS, generate, split_of


def drawn(task="addition", **named):
    return generate(task, **{"size": 5, "seed": 0, "split": "train", "source": "s", **named})


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=5)
@given(seeds=st.tuples(st.integers(0, 2**64), st.integers(0, 2**64)))
def test_train_and_eval_share_no_problem_for_any_seeds(task, seeds):
    small = {
        "addition": {"digits": 2},
        "linear": {"max_coefficient": 5},
        "countdown": {"numbers": 2},
        "multiplication": {"digits": 2},
        "fincorp": {},
        "general_points": {"cards": 3},
    }.get(task, {"digits": 2})
    train = drawn(task, seed=seeds[0], size=150, settings=small)
    evaluation = drawn(task, seed=seeds[1], size=40, split="eval", settings=small)
    assert overlap(train, evaluation).exact == 0


@pytest.mark.parametrize("task", TASKS)
def test_problems_are_different_and_named_by_their_source(task):
    made = drawn(task, size=200)
    assert len({normalise(problem.prompt) for problem in made}) == 200
    assert (made[7].id, made[7].source, made[7].verifier) == ("s/7", "s", VERIFIERS[task])


@pytest.mark.parametrize("task", TASKS)
def test_more_problems_begin_with_the_same_ones(task):
    assert drawn(task, size=40)[:10] == drawn(task, size=10) != drawn(task, size=10, seed=1)


def test_the_same_problems_come_in_every_process():
    code = (
        "from r1lab_data.tasks import generate\n"
        "print([p.prompt for p in generate('{}', size=3, seed=0, split='train', source='s')])"
    )
    for task in TASKS:
        done = subprocess.run(
            [sys.executable, "-c", code.format(task)],
            cwd=Path(data.__file__).parents[1],
            env={"PYTHONHASHSEED": "7"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == str([problem.prompt for problem in drawn(task, size=3)])


def test_a_sum_is_in_the_split_of_the_same_sum_the_other_way_round():
    pairs = [(a, b) for a in range(10, 40) for b in range(10, 40)]
    assert all(split_of("addition", f"{a}+{b}") == split_of("addition", f"{b}+{a}") for a, b in pairs)


def test_one_prompt_in_eight_is_for_evaluation():
    share = sum(split_of("linear", f"Solve {n}*x+3=9 for x.") == "eval" for n in range(8000)) / 8000
    assert share == pytest.approx(1 / 8, abs=0.02)  # standard error 0.0037


def test_a_space_can_be_drawn_to_its_last_problem():
    every = {f"{a}+{b}" for a in range(1, 10) for b in range(1, 10)}
    train = {prompt for prompt in every if split_of("addition", prompt) == "train"}
    made = drawn(size=len(train), settings={"digits": 1})
    assert {problem.prompt for problem in made} == train
    with pytest.raises(DataError, match=f"hardly more than {len(train)} with settings .'digits': 1.; lower size"):
        drawn(size=len(train) + 1, settings={"digits": 1})


def test_a_verifier_of_the_recipe_wins():
    assert drawn(verifier="mine:check")[0].verifier == "mine:check"


@pytest.mark.parametrize(
    ("named", "says"),
    [
        (
            {"task": "addtion"},
            "unknown task 'addtion'; allowed: addition, countdown, linear, multiplication, addition_comparisons",
        ),
        ({"task": "addtion"}, "did you mean 'addition'?"),
        ({"split": "test"}, "procedural tasks have the splits train and eval"),
        ({"size": 0}, "size 0; give the number of problems"),
        ({"settings": {"digit": 3}}, "unknown setting 'digit'; allowed: digits, min_carries"),
        ({"settings": {"digits": 13}}, "digits is 13; give a whole number from 1 to 12"),
        ({"settings": {"digits": "3"}}, "digits is '3'"),
        ({"settings": {"digits": True}}, "digits is True"),
        ({"settings": {"digits": 2, "min_carries": 3}}, "min_carries is 3; give a whole number from 0 to 2"),
        ({"task": "linear", "settings": {"both_sides": 1}}, "both_sides is 1; give true or false"),
        ({"task": "countdown", "settings": {"numbers": 1}}, "numbers is 1; give a whole number from 2 to 6"),
    ],
)
def test_a_source_that_cannot_be_drawn_says_what_is_allowed(named, says):
    with pytest.raises(DataError) as error:
        drawn(**named)
    assert says in str(error.value)
