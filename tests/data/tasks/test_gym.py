import importlib.util
import random
import sys

import pytest

from r1lab_data.problem import DataError
from r1lab_data.tasks import generate
from r1lab_data.tasks.gym import gym_task

gym = pytest.mark.skipif(not importlib.util.find_spec("reasoning_gym"), reason="reasoning-gym is not installed")


def drawn(task, **named):
    return generate(f"gym:{task}", **{"size": 3, "seed": 0, "split": "train", "source": "s", **named})


@gym
@pytest.mark.parametrize("task", ["chain_sum", "acre", "gsm_symbolic", "maze"])
def test_entries_are_data_that_their_own_scorer_accepts(task):
    import reasoning_gym

    score = reasoning_gym.create_dataset(task, seed=0, size=1).score_answer
    for problem in drawn(task):
        assert problem.verifier == "reasoning_gym"
        assert problem.answer["task"] == task
        assert score(problem.solution, entry=problem.answer["entry"]) == 1


@gym
def test_train_and_eval_differ_and_settings_reach_the_task():
    settings = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    train, evaluation = (drawn("chain_sum", split=split, size=20, settings=settings) for split in ("train", "eval"))
    assert not {p.prompt for p in train} & {p.prompt for p in evaluation}
    assert all(len(p.answer["entry"]["metadata"]["difficulty"]["num_terms"]) == 2 for p in train)


@gym
@pytest.mark.parametrize(
    ("task", "settings", "says"),
    [
        ("chainsum", {}, "no such task; nearest: chain_sum"),
        ("word_ladder", {}, "change with Python's hash seed"),
        ("rearc", {}, "tuples become lists"),
        ("chain_sum", {"terms": 2}, "settings {'terms': 2} are refused"),
        ("chain_sum", {"size": 2}, "size cannot be set here"),
    ],
)
def test_a_task_that_cannot_be_drawn_says_why(task, settings, says):
    with pytest.raises(DataError) as error:
        drawn(task, settings=settings)
    assert says in str(error.value)


def test_a_missing_package_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(DataError, match=r"pip install 'reasoning-gym>="):
        gym_task("chain_sum")(random.Random(0))
