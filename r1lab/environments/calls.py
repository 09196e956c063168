"""The calls of tools in a model's turn, read strictly. Runs nothing; text is hostile.

<tool>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool>      JSON, also in <tool_call> (Hermes, Qwen)
<tool>add(1, b=2)</tool>                                        or a call whose arguments are literals
<tool>print(1 + 2)</tool>                                       or, with the tool `python`, a program
```python ... ```                                               which may stand in a fence
"""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from r1lab.environments.schema import Signature

MAX_CALLS = 16
"""In one turn; the others are answered with an error."""
MAX_CALL_CHARACTERS = 20_000
PYTHON = "python"
OPENING = re.compile(r"<(?P<tag>tool|tool_call)>|^```(?:python|py)[ \t]*\n", re.MULTILINE)
"""`<tool>`, "```python\n"; not "```json\n"."""
FENCE_END = re.compile(r"^```[ \t]*$", re.MULTILINE)
"""The line "```"; not "```python"."""
NAMED = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*\(")
"""`add(1, 2)`, ` search ("x")`; not `1 + 2`."""
STOPS = ("</tool>", "</tool_call>")
"""What ends a turn behind a call."""


@dataclass(frozen=True)
class ToolCall:
    """One call of a turn, or why it is none."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    """Of `python`: {"code": ...}."""
    error: str = ""


def calls_of(text: str, tools: Mapping[str, Signature]) -> list[ToolCall]:
    """The calls of a turn in their order; one that was opened and not closed is an error, and the last."""
    calls: list[ToolCall] = []
    place = 0
    while match := OPENING.search(text, place):
        tag, start = match["tag"], match.end()
        if tag is None and PYTHON not in tools:  # a fence that nobody runs is text
            place = start
            continue
        end, place = _closed(text, start, tag)
        if end < 0:
            calls.append(ToolCall("", error=f"<{tag}> without </{tag}>" if tag else "a fence that is not closed"))
            break
        if len(calls) == MAX_CALLS:
            calls.append(ToolCall("", error=f"more than {MAX_CALLS} calls in one turn"))
            break
        calls.append(_read(text[start:end], tag, tools))
    return calls


def _closed(text: str, start: int, tag: str | None) -> tuple[int, int]:
    """Where what was opened ends, and where the text goes on; -1 where it does not end."""
    if tag:
        end = text.find(f"</{tag}>", start)
        return end, end + len(f"</{tag}>")
    match = FENCE_END.search(text, start)
    return (match.start(), match.end()) if match else (-1, 0)


def _read(body: str, tag: str | None, tools: Mapping[str, Signature]) -> ToolCall:
    if len(body) > MAX_CALL_CHARACTERS:
        return ToolCall("", error=f"a call of {len(body)} characters; at most {MAX_CALL_CHARACTERS}")
    if tag is None:
        return ToolCall(PYTHON, {"code": body})
    if body.lstrip().startswith("{") and (tag == "tool_call" or PYTHON not in tools or '"name"' in body):
        return _of_json(body, tools)
    if tag == "tool_call":
        return ToolCall("", error='not JSON; write {"name": ..., "arguments": {...}}')
    named = NAMED.match(body)
    if named and named["name"] in tools and named["name"] != PYTHON:
        return _of_expression(body, named["name"], tools)
    if PYTHON in tools:
        return ToolCall(PYTHON, {"code": body})
    return ToolCall(
        named["name"] if named else "", error=_unknown(named["name"] if named else body.strip()[:40], tools)
    )


def _of_json(body: str, tools: Mapping[str, Signature]) -> ToolCall:
    try:
        said = json.loads(body, parse_constant=_refuse, object_pairs_hook=_without_twice)
    except (ValueError, RecursionError) as error:
        return ToolCall("", error=f"not JSON: {str(error)[:120] or type(error).__name__}")
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        return ToolCall("", error='no name; write {"name": ..., "arguments": {...}}')
    if odd := sorted(set(said) - {"name", "arguments"}):
        return ToolCall(said["name"], error=f"unknown key {odd[0]!r}; write name and arguments")
    return _checked(said["name"], said.get("arguments", {}), tools)


def _of_expression(body: str, name: str, tools: Mapping[str, Signature]) -> ToolCall:
    try:
        tree = ast.parse(body.strip(), mode="eval").body
        if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
            raise ValueError("not one call")
        if any(keyword.arg is None for keyword in tree.keywords) or len(tree.args) > len(tools[name].parameters):
            raise ValueError(f"{name} takes {', '.join(tools[name].parameters) or 'nothing'}")
        arguments = dict(zip(tools[name].parameters, map(ast.literal_eval, tree.args)))
        for keyword in tree.keywords:
            if keyword.arg in arguments:
                raise ValueError(f"{keyword.arg} is given twice")
            arguments[str(keyword.arg)] = ast.literal_eval(keyword.value)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        return ToolCall(name, error=f"{name}: {str(error)[:120] or type(error).__name__}; arguments must be literals")
    return _checked(name, arguments, tools)


def _checked(name: str, arguments: Any, tools: Mapping[str, Signature]) -> ToolCall:
    if name not in tools:
        return ToolCall(name, error=_unknown(name, tools))
    if not isinstance(arguments, dict):
        return ToolCall(name, error=f"{name}: arguments must be an object, not {type(arguments).__name__}")
    if fault := tools[name].fault(arguments):
        return ToolCall(name, error=f"{name}: {fault}")
    return ToolCall(name, arguments)


def _unknown(name: str, tools: Mapping[str, Signature]) -> str:
    return f"no tool {name[:60]!r}; there are {', '.join(tools)}"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _without_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands twice")
    return made
