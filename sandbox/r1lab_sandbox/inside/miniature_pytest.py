"""What tests of generated datasets use of pytest: raises, approx, parametrize, fixture, skip. Not pytest itself."""

import contextlib
import inspect
import itertools
import math
import re
import types
from typing import Any


class Unsupported(Exception):
    """Tests that need what is not here."""


@contextlib.contextmanager
def raises(kind, match=None):
    caught = types.SimpleNamespace(value=None, type=None)
    try:
        yield caught
    except kind as error:
        caught.value, caught.type = error, type(error)
        if match is not None and not re.search(match, str(error)):
            raise AssertionError(f"{error} does not match {match!r}") from error
    else:
        raise AssertionError(f"{kind} was not raised")


class Approx:
    """Equal to within a tolerance; lists, tuples and dicts part by part."""

    def __init__(self, expected, rel=None, abs=None, nan_ok=False):
        self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok

    def __eq__(self, other):
        return self._close(other, self.expected)

    def _close(self, value, expected):
        if isinstance(expected, dict):
            return (isinstance(value, dict) and value.keys() == expected.keys()
                    and all(self._close(value[key], expected[key]) for key in expected))  # fmt: skip
        if isinstance(expected, list | tuple):
            return (isinstance(value, list | tuple) and len(value) == len(expected)
                    and all(map(self._close, value, expected)))  # fmt: skip
        if not isinstance(value, int | float) or not isinstance(expected, int | float):
            return value == expected
        if expected != expected:
            return self.nan_ok and value != value
        return math.isclose(value, expected, rel_tol=self.rel or (0 if self.abs else 1e-6), abs_tol=self.abs or 1e-12)

    __hash__ = None  # type: ignore[assignment]


class Parameters:
    """pytest.param: one set, without its name and marks."""

    def __init__(self, *values, **_):
        self.values = values


def parametrize(names, values, **_):
    """Keeps the sets on the function, `parameter_sets`; several decorators multiply."""
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    values = [
        (each.values if len(names) > 1 else each.values[0]) if isinstance(each, Parameters) else each for each in values
    ]
    sets = [dict(zip(names, [each] if len(names) == 1 else each, strict=True)) for each in values]

    def decorate(test):
        old = getattr(test, "parameter_sets", [{}])
        test.parameter_sets = [{**a, **b} for a, b in itertools.product(old, sets)]
        return test

    return decorate


def fixture(*given, **_):
    """Marks the function; `arguments` calls it by its name."""

    def decorate(make):
        make.is_fixture = True
        return make

    return decorate(given[0]) if given and callable(given[0]) else decorate


def arguments(test, given: dict, space: dict) -> dict:
    """What a test or a fixture is called with: what is given, and fixtures of the tests' own by name."""
    found = dict(given)
    for name, parameter in inspect.signature(test).parameters.items():
        if name in found or parameter.default is not parameter.empty or "*" in str(parameter):
            continue
        make = space.get(name)
        if make is None or not getattr(make, "is_fixture", False):
            raise Unsupported(f"the fixture {name!r}, which the tests do not define")
        made = make(**arguments(make, {}, space))
        found[name] = next(made) if inspect.isgenerator(made) else made
    return found


def module() -> types.ModuleType:
    made: Any = types.ModuleType("pytest")

    class Mark:
        parametrize = staticmethod(parametrize)

        def __getattr__(self, name):
            return lambda *args, **kwargs: args[0] if len(args) == 1 and callable(args[0]) else (lambda test: test)

    def skip(*_, **__):
        raise AssertionError("skipped")

    made.raises, made.approx, made.mark, made.skip, made.fail = raises, Approx, Mark(), skip, skip
    made.fixture, made.param = fixture, Parameters
    return made
