"""What tests of generated datasets use of pytest: raises, approx, parametrize, fixture, skip. Not pytest itself."""

import inspect
import io
import itertools
import math
import re
import sys
import types
from collections import namedtuple
from typing import Any


class Unsupported(Exception):
    """Tests that need what is not here."""


class ExceptionInfo:
    """What `raises` caught."""

    value: Any = None

    @property
    def type(self):
        return type(self.value)

    @property
    def typename(self):
        return type(self.value).__name__

    def match(self, pattern):
        if not re.search(pattern, str(self.value)):
            raise AssertionError(f"{self.value} does not match {pattern!r}")
        return True


class Raises:
    """The context of `raises`."""

    def __init__(self, kind, match=None):
        self.kind, self.pattern, self.caught = kind, match, ExceptionInfo()

    def __enter__(self):
        return self.caught

    def __exit__(self, _, error, __):
        if error is None:
            raise AssertionError(f"{self.kind} was not raised")
        if not isinstance(error, self.kind):
            return False
        self.caught.value = error
        return self.pattern is None or self.caught.match(self.pattern)


def raises(expected_exception, *given, match=None, **kwargs):
    """As a context, or with the function to be called."""
    kinds = expected_exception if isinstance(expected_exception, tuple) else (expected_exception,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise AssertionError(f"{expected_exception!r} is no class of exceptions")
    context = Raises(expected_exception, match)
    if not given:
        return context
    with context as caught:
        given[0](*given[1:], **kwargs)
    return caught


class Captured:
    """capsys: what was printed since it was asked last, by the tests and by the program that they call."""

    Output = namedtuple("Output", "out err")

    def __init__(self):
        self.streams = sys.stdout, sys.stderr
        self.start()

    def start(self):
        sys.stdout, sys.stderr = self.out, self.err = io.StringIO(), io.StringIO()

    def readouterr(self):
        output = self.Output(self.out.getvalue(), self.err.getvalue())
        self.start()
        return output

    def close(self):
        sys.stdout, sys.stderr = self.streams


NOT_HERE = {
    "monkeypatch": "it changes the tests' own process, and the program runs in another",
    "mocker": "it changes the tests' own process, and the program runs in another",
    "tmp_path": "the tests and the program have no folder in common",
    "tmpdir": "the tests and the program have no folder in common",
    "caplog": "the program logs in another process",
}


class Approx:
    """Equal to within a tolerance; lists, tuples and dicts part by part."""

    def __init__(self, expected, rel=None, abs=None, nan_ok=False):
        self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok

    def __eq__(self, other):
        return self._close(other, self.expected)

    __array_ufunc__ = None  # an array on the left leaves the comparison to this one, as with pytest's own

    def _close(self, value, expected):
        value, expected = (each.tolist() if type(each).__module__ == "numpy" else each for each in (value, expected))
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
        if make is None and name == "capsys":
            found[name] = Captured()
            continue
        if make is None or not getattr(make, "is_fixture", False):
            raise Unsupported(f"the fixture {name!r}: {NOT_HERE.get(name, 'the tests do not define it')}")
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
