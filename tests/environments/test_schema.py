"""A typed function is a tool; one that a model could not be told of is refused."""

import math
from typing import Literal

import pytest

from r1lab.environments.schema import fits, refuse_names, signature_of
from r1lab.environments.tools import of_recipe
from r1lab.errors import RecipeError


def search(query: str, limit: int = 5, kinds: list[str] | None = None, how: Literal["fast", "deep"] = "fast") -> str:
    """Search the library.

    Args:
        query: what to look for
        limit (int): how many at most

    Returns: lines
    """
    return query


def test_a_function_is_described_by_hints_and_docstring():
    made = signature_of(search, "tools")
    assert made.schema["function"] == {
        "name": "search",
        "description": "Search the library.",
        "parameters": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "what to look for"},
                "limit": {"type": "integer", "description": "how many at most"},
                "kinds": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
                "how": {"enum": ["fast", "deep"]},
            },
            "required": ["query"],
        },
    }


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"query": "x", "kinds": ["a"], "how": "deep"}, ""),
        ({"query": "x", "kinds": None}, ""),
        ({"query": "x", "kinds": [1]}, "it must be array or null"),
        ({"query": "x", "how": "slow"}, "one of 'fast', 'deep'"),
        ({"query": "x", "limit": 1.0}, "it must be integer"),
    ],
)
def test_arguments_are_held_against_it(arguments, fault):
    said = signature_of(search, "tools").fault(arguments)
    assert fault in said and bool(said) == bool(fault)


@pytest.mark.parametrize(
    ("value", "is_number"),
    [(1, True), (-0.5, True), (10**400, True), (math.inf, False), (-math.inf, False), (math.nan, False), (True, False)],
)
def test_a_number_is_finite(value, is_number):
    assert fits(value, {"type": "number"}) == is_number


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("untyped", "no type hint for 'x'"),
        ("silent", "no docstring"),
        ("odd", "no type of JSON"),
        ("nothing_there", "does not import"),
    ],
)
def test_what_is_no_tool_is_refused(worlds, name, why):
    with pytest.raises(RecipeError, match=why):
        of_recipe([f"worlds_of_tests:{name}"])


def test_names_must_differ_from_each_other_and_from_special_tokens(worlds):
    with pytest.raises(RecipeError, match="two tools are named 'fails'"):
        of_recipe(["worlds_of_tests:fails", "worlds_of_tests:fails"])
    with pytest.raises(RecipeError, match="like a special token"):
        refuse_names(["tool_call"], ["<tool_call>", "<|im_end|>"], "tools")
    refuse_names(["search"], ["<tool_call>", "<|im_end|>"], "tools")


@pytest.mark.parametrize("tools", [[], "python", {"use": "python"}, ["sub"], [3]])
def test_a_list_of_tools_names_tools(tools):
    with pytest.raises(RecipeError):
        of_recipe(tools)
