"""From a typed Python function to what a model is told of it, and whether arguments fit. Calls nothing."""

import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from r1lab.errors import RecipeError

PLAIN: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
"""JSON schema's names of Python's types."""
NAME = re.compile(r"[A-Za-z_]\w{0,63}")
"""`search`, `add_2`; not `2add`."""
ARGUMENT = re.compile(r"^[ \t]*(?P<name>\w+)[ \t]*(?:\([^)\n]*\))?:[ \t]*(?P<said>\S.*)$", re.MULTILINE)
"""`    a: the first number`, `  query (str): what to look for`; not `Args:`."""


@dataclass(frozen=True)
class Signature:
    """A tool as a model sees it."""

    name: str
    description: str
    parameters: dict[str, dict[str, Any]]
    """JSON schema of each parameter by its name, in order."""
    required: tuple[str, ...]

    @property
    def schema(self) -> dict[str, Any]:
        """The form that chat templates take (`tools=`)."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": {"type": "object", "properties": self.parameters, "required": list(self.required)},
            },
        }

    def fault(self, arguments: Mapping[str, Any]) -> str:
        """Why these arguments do not fit; empty where they do."""
        takes = f"it takes {', '.join(self.parameters) or 'nothing'}"
        if unknown := next((name for name in arguments if name not in self.parameters), None):
            return f"unknown argument {str(unknown)[:60]!r}; {takes}"
        if missing := next((name for name in self.required if name not in arguments), None):
            return f"argument {missing!r} is missing; {takes}"
        for name, value in arguments.items():
            if not fits(value, self.parameters[name]):
                return f"argument {name!r} is {_short(value)!r}; it must be {told(self.parameters[name])}"
        return ""


def signature_of(function: Callable, what: str, name: str = "") -> Signature:
    """A function's signature. RecipeError where a parameter has no type hint, or none that JSON can say."""
    name = name or getattr(function, "__name__", "")
    if not NAME.fullmatch(name):
        raise RecipeError(f"{what}: a tool named {name!r}; give it letters, digits and '_', at most 64")
    try:
        parameters = inspect.signature(function).parameters.values()
        hints = typing.get_type_hints(function)
    except (TypeError, ValueError, NameError) as error:
        raise RecipeError(f"{what}: tool {name!r} has no signature that can be read ({error})") from None
    documented = inspect.getdoc(function) or ""
    if not documented:
        raise RecipeError(f"{what}: tool {name!r} has no docstring, by which a model knows what it does; write one")
    said = {match["name"]: match["said"].strip() for match in ARGUMENT.finditer(documented)}
    schemas: dict[str, dict[str, Any]] = {}
    for each in parameters:
        if each.kind not in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
            raise RecipeError(f"{what}: tool {name!r} takes {each}; name every parameter")
        if each.name not in hints:
            raise RecipeError(f"{what}: tool {name!r} has no type hint for {each.name!r}; write {each.name}: int, ...")
        schema = _schema(hints[each.name])
        if schema is None:
            raise RecipeError(
                f"{what}: tool {name!r}: {each.name}: {hints[each.name]} is no type of JSON; use str, int, float, "
                "bool, list[...], dict[str, ...], Literal or a union of these"
            )
        schemas[each.name] = schema | ({"description": said[each.name]} if each.name in said else {})
    required = tuple(each.name for each in parameters if each.default is each.empty)
    first = re.split(r"\n\s*(?:Args|Arguments|Parameters|Returns|:param)\b", documented)[0]
    return Signature(name, " ".join(first.split()), schemas, required)


def refuse_names(names: Iterable[str], special: Iterable[str], what: str) -> None:
    """RecipeError for two tools of one name, or one named like a special token of the tokenizer."""
    seen: set[str] = set()
    marks = {token.strip("<>|[]/ ") for token in special} | set(special)
    for name in names:
        if name in seen:
            raise RecipeError(f"{what}: two tools are named {name!r}; rename one")
        if name in marks:
            raise RecipeError(f"{what}: a tool is named {name!r} like a special token of the tokenizer; rename it")
        seen.add(name)


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a plain value is what a schema of ours says; inf, as which 1e999 is read, is no number."""
    if "anyOf" in schema:
        return any(fits(value, each) for each in schema["anyOf"])
    if "enum" in schema:
        return any(type(value) is type(each) and value == each for each in schema["enum"])
    match schema.get("type"):
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            is_finite = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
            return is_finite and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "array":
            return isinstance(value, list | tuple) and all(fits(each, schema.get("items", {})) for each in value)
        case "object":
            inner = schema.get("additionalProperties", {})
            return isinstance(value, dict) and all(isinstance(k, str) and fits(v, inner) for k, v in value.items())
    return True


def _short(value: Any) -> str:
    """A value's beginning. A whole number may have more digits than Python writes."""
    try:
        return str(value)[:40]
    except ValueError:
        return "a number of thousands of digits"


def told(schema: Mapping[str, Any]) -> str:
    """A schema in words."""
    if "anyOf" in schema:
        return " or ".join(told(each) for each in schema["anyOf"])
    return f"one of {', '.join(map(repr, schema['enum']))}" if "enum" in schema else str(schema.get("type", "a value"))


def _schema(hint: Any) -> dict[str, Any] | None:
    """None where JSON has no such type."""
    if hint is Any:
        return {}
    if hint in PLAIN:
        return {"type": PLAIN[hint]}
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        parts = [_schema(each) for each in inner]
        return None if any(part is None for part in parts) else {"anyOf": parts}
    if hint in (list, dict):
        return {"type": "array" if hint is list else "object"}
    if origin is list:
        of = _schema(inner[0])
        return None if of is None else {"type": "array", "items": of}
    if origin is dict and inner[0] is str:
        of = _schema(inner[1])
        return None if of is None else {"type": "object", "additionalProperties": of}
    return None
