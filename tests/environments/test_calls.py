"""Calls are read strictly: what is one is run, what is none is told why, and nothing takes long."""

import time

import pytest

from r1lab.environments.calls import MAX_CALLS, calls_of
from r1lab.environments.python import SIGNATURE
from r1lab.environments.schema import signature_of


def add(a: int, b: int = 2, label: str = "") -> int:
    """Add numbers."""
    return a + b


ADD = {"add": signature_of(add, "tools")}
BOTH = {**ADD, "python": SIGNATURE}


def told(text, tools=ADD):
    return [(call.name, call.arguments) if not call.error else call.error for call in calls_of(text, tools)]


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('<tool>{"name": "add", "arguments": {"a": 1, "b": -3}}</tool>', [("add", {"a": 1, "b": -3})]),
        ('<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>', [("add", {"a": 1})]),
        ("so <tool>add(1, b=5)</tool> then", [("add", {"a": 1, "b": 5})]),
        ("<tool>add(a=1)</tool><tool> add (2) </tool>", [("add", {"a": 1}), ("add", {"a": 2})]),
        ("no call, only add(1)", []),
        ("```json\n{}\n```", []),
        ("```python\nprint(1)\n```", []),
    ],
)
def test_what_is_a_call(text, calls):
    assert told(text) == calls


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<tool>print(1)</tool>", "print(1)"),
        ("look:\n```python\nx = 1\nprint(x)\n```\nand", "x = 1\nprint(x)\n"),
        ("```py\nprint(1)\n```", "print(1)\n"),
        ("<tool>{1: 2}</tool>", "{1: 2}"),
    ],
)
def test_programs_stand_in_tags_and_fences(text, code):
    assert told(text, BOTH) == [("python", {"code": code})]


def test_a_named_tool_goes_before_python():
    assert told("<tool>add(1, 2)</tool><tool>print(add)</tool>", BOTH) == [
        ("add", {"a": 1, "b": 2}), ("python", {"code": "print(add)"})
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('{"name": "add"}', "argument 'a' is missing"),
        ('{"name": "add", "arguments": {"a": "1"}}', "'a' is '1'; it must be integer"),
        ('{"name": "add", "arguments": {"a": true}}', "must be integer"),
        ('{"name": "add", "arguments": {"a": 1, "c": 2}}', "unknown argument 'c'"),
        ('{"name": "add", "arguments": [1]}', "arguments must be an object"),
        ('{"name": "add", "arguments": {"a": 1}, "id": 3}', "unknown key 'id'"),
        ('{"name": "sub", "arguments": {}}', "no tool 'sub'; there are add"),
        ('{"name": "add", "name": "add"}', "a key stands twice"),
        ('{"name": "add", "arguments": {"a": NaN}}', "NaN is no number"),
        ('{"name": 3}', "no name"),
        ("{'name': 'add'}", "not JSON"),
        ("[" * 100_000, "a call of 100000 characters"),
        ('{"a":' * 3000, "not JSON"),
        ("add(x)", "arguments must be literals"),
        ("add(1, a=2)", "a is given twice"),
        ("add(1, 2, 3, 4)", "add takes a, b, label"),
        ("add(*[1])", "arguments must be literals"),
        ("add(__import__('os').system('x'))", "arguments must be literals"),
        ("add(1) + add(2)", "not one call"),
        ("add(" + "(" * 5000 + "1", "arguments must be literals"),
        ("add(1, 2, 0x" + "f" * 15_000 + ")", "'label' is 'a number of thousands of digits'; it must be string"),
        ("add([0x" + "f" * 15_000 + "])", "'a' is 'a number of thousands of digits'"),
        ('{"name": "add", "arguments": {"a": ' + "9" * 15_000 + "}}", "not JSON"),
        ('{"name": "add", "arguments": {"a": 1e999}}', "'a' is 'inf'; it must be integer"),
        ('{"name": "add", "arguments": {"a": 1, "\\u0061": 2}}', "a key stands twice"),
        ('{"name": "\\ud800"}', "no tool '\\ud800'"),
        ("add(a=1, \uff41=2)", "a is given twice"),  # a full-width `a`, which Python reads as `a`
        ("\u0430dd(1)", "no tool"),  # a Cyrillic first letter
        ("ad(1)", "no tool 'ad'"),
        ("add" + "(1)" * 5000, "arguments must be literals"),
        ("mul(1, 2)", "no tool 'mul'"),
        ("", "no tool ''"),
    ],
)
def test_what_is_no_call_is_told_why(body, why):
    (error,) = told(f"<tool>{body}</tool>")
    assert isinstance(error, str) and why in error and len(error) < 300


def test_what_is_opened_and_not_closed_is_told():
    assert told("<tool>add(1)") == ["<tool> without </tool>"]
    assert told("<tool>add(1)</tool> <tool_call>{") == [("add", {"a": 1}), "<tool_call> without </tool_call>"]
    assert told("```python\nprint(1)", BOTH) == ["a fence that is not closed"]


def test_too_many_calls_are_told():
    assert len(told("<tool>add(1)</tool>" * 100)) == MAX_CALLS + 1


@pytest.mark.parametrize("text", ["<tool>" * 50_000, "```python\n" * 50_000, "<tool></tool>" * 50_000, "`" * 300_000])
def test_hostile_texts_take_no_time(text):
    start = time.perf_counter()
    calls_of(text, BOTH)
    assert time.perf_counter() - start < 1
