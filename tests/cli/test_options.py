"""What the texts of options mean."""

import pytest

from r1lab.cli import options
from r1lab.errors import RecipeError


def test_columns_are_cut_at_commas_before_a_role_only():
    texts = ["completion={a}, {b},answer=gold", "id=x.y"]
    assert options.columns(texts) == {"completion": "{a}, {b}", "answer": "gold", "id": "x.y"}
    assert options.columns(["answer={tests: t, setup: s}"]) == {"answer": {"tests": "t", "setup": "s"}}
    assert options.columns(None) == {}


def test_values_are_yaml():
    found = options.values(["a=1e-6", "b=[x, null]", "c=", "d=x=y", "e=true"], "--set")
    assert found == {"a": 1e-6, "b": ["x", None], "c": None, "d": "x=y", "e": True}
    with pytest.raises(RecipeError, match="--set a: not YAML"):
        options.values(["a=[1"], "--set")


def test_a_dataset_is_a_path_or_a_task():
    assert options.source("task:addition").task == "addition"
    assert options.source("openai/gsm8k", config="main").path == "openai/gsm8k"


def test_workers_are_the_cores_where_not_said():
    assert options.pool(None, 5.0, 2048).count >= 1
    assert options.pool(3, 5.0, 2048).count == 3
