"""Find built-ins by name and a user's own functions and classes by dotted path, and bind their settings.

Not the tables of built-ins: each package has its own.
"""

import importlib
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from r1lab.errors import RecipeError
from r1lab_data.names import did_you_mean, import_hint, nearest
from r1lab_verifiers.plugin import import_deadline

LISTED = 20
"""Names that an error lists even where it knows which one was meant."""


def importable(*folders: Path) -> None:
    """Put folders on the import path, so that plug-ins beside a recipe are found."""
    # Last: a user's `data/` must not shadow an installed package.
    sys.path.extend(str(folder) for folder in folders if str(folder) not in sys.path)


def split(spec: Any, what: str) -> tuple[str, dict[str, Any]]:
    """`name` or `{use: name, **settings}` as (name, settings)."""
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping) and isinstance(spec.get("use"), str):
        return spec["use"], {key: value for key, value in spec.items() if key != "use"}
    raise RecipeError(f"{what}: {spec!r} must be a name, a dotted path module:name, or {{use: name, ...}}")


def find(table: Mapping[str, Any], name: str, what: str) -> Any:
    """The object behind a built-in's name or a dotted path. RecipeError names the nearest built-in."""
    if not isinstance(name, str):
        raise RecipeError(f"{what}: {name!r} must be a name or a dotted path module:name")
    if name in table:
        return table[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        close = nearest(name, table)
        hint = f"; did you mean {close!r}?" if close else ""
        known = f"none of {', '.join(table)}" if len(table) <= LISTED or not close else "no built-in"
        raise RecipeError(f"{what}: {name!r} is {known} and no dotted path module:name{hint}")
    try:
        with import_deadline(name):
            return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a user's module may raise anything while it is imported
        reason = (str(error).splitlines() or [""])[0]
        raise RecipeError(
            f"{what}: {name!r} does not import: {type(error).__name__}: {reason}{import_hint(name)}"
        ) from error


def settings_of(function: Callable) -> dict[str, Any]:
    """A function's settings: its keyword-only parameters with a default, and that default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # written in C, without a signature
        return {}
    return {
        each.name: each.default
        for each in parameters
        if each.kind is each.KEYWORD_ONLY and each.default is not each.empty
    }


def bind(function: Callable, settings: Mapping[str, Any], what: str) -> Callable:
    """The function with its settings fixed. RecipeError where it has no such setting or its default is another kind."""
    allowed = settings_of(function)
    for key, value in settings.items():
        if key not in allowed:
            close = did_you_mean(str(key), allowed)
            raise RecipeError(f"{what}: unknown setting {key!r}; allowed: {', '.join(allowed) or 'none'}{close}")
        choices = _choices(function, key)
        if choices and value not in choices:
            close = did_you_mean(str(value), map(str, choices))
            raise RecipeError(f"{what}.{key}: {value!r} must be one of {', '.join(map(str, choices))}{close}")
        if not _fits(value, allowed[key]):
            kind = type(allowed[key])
            expected = {float: "a finite number", int: "a whole number"}.get(kind, kind.__name__)
            raise RecipeError(f"{what}.{key}: {value!r} must be {expected}")
    return partial(function, **settings) if settings else function


def _choices(function: Callable, setting: str) -> tuple:
    """What a setting annotated as a Literal may be; nothing where it is not."""
    annotation = inspect.signature(function).parameters[setting].annotation
    if isinstance(annotation, str):  # `from __future__ import annotations`
        with suppress(Exception):  # what it names may be there for a type checker alone
            annotation = eval(annotation, getattr(inspect.unwrap(function), "__globals__", {}))
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _fits(value: Any, default: Any) -> bool:
    """Whether a setting is of its default's kind; a default of None takes anything, a number a finite one."""
    if isinstance(default, float):
        return type(value) in (int, float) and math.isfinite(value)
    return default is None or type(value) is type(default)
