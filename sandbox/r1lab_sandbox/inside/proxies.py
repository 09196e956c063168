"""Inside the jail of tests: stand-ins for the functions of a program that lives in another jail.

A stand-in calls, and gets plain values back; a function that returns anything else fails the test. Objects come from
calls of a class only, and can be called, read and indexed, never compared, searched or tested for truth: those would be
the other program's own answers. What runs the tests is `r1lab_sandbox.inside.testing`.
"""

import builtins
import threading
from collections.abc import Callable
from typing import Any

from r1lab_sandbox.inside import values

NOT_CARRIED = (StopIteration, StopAsyncIteration)
"""Exceptions that would end a loop of the tests' own as if it were complete."""


class Crossing(BaseException):
    """No plain value came back. Not an Exception: a test that expects one must not take this for it."""


class Raised(Exception):
    """The program raised an exception of a class of its own."""


class Line:
    """Asks the program, for one thread of the tests at a time."""

    def __init__(self, ask: Callable[[dict], dict]):
        self._ask, self._lock = ask, threading.Lock()
        self.is_asked = False
        """Whether the program has had a part in what goes on here."""
        self._exceptions: dict[str, type[Raised]] = {}

    def own_exception(self, name: str) -> type[Raised]:
        """Stands for a class of the program's that a test expects to be raised."""
        return self._exceptions.setdefault(name, type(name, (Raised,), {}))

    def exception(self, name: str) -> type[Exception]:
        """What is raised here for an exception over there: Python's own of that name, or the stand-in."""
        kind: Any = getattr(builtins, name, None)
        is_usual = isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, NOT_CARRIED)
        return kind if is_usual else self._exceptions.get(name, Raised)

    def ask(self, message: dict) -> dict:
        with self._lock:
            self.is_asked = True
            return self._ask(message)


class Span:
    """A range that the program gave back. It may hold every number at once, so to be in it says nothing."""

    def __init__(self, body: Any):
        self._range = range(*(int(each, 16) for each in body))

    def __eq__(self, other):
        return self._range == (other._range if type(other) is Span else other)

    def __iter__(self):
        return iter(self._range)

    def __len__(self):
        return len(self._range)

    def __getitem__(self, place):
        return self._range[place]

    def __contains__(self, _):
        raise Crossing("a range of the program is not searched: compare it, or make a list of it")

    def __hash__(self):
        return hash(self._range)

    def __repr__(self):
        return repr(self._range)


RECEIVED = {"range": Span}


class Function:
    """Calls a function or a method."""

    def __init__(self, line: Line, name: str, holder: int | None = None, makes: bool = False):
        self._line, self.__name__, self._holder, self._makes = line, name, holder, makes

    def __call__(self, *args, **kwargs):
        try:
            sent = {"args": values.encode(list(args), _named), "kwargs": values.encode(kwargs, _named)}
        except values.NotPlain as error:
            raise Crossing(f"an argument of {self.__name__}: {error}") from None
        reply = self._line.ask(
            {"name": self.__name__, "object": self._holder, "make": self._makes, "changes": True, **sent}
        )
        if self._makes and "object" in reply:
            return Object(self._line, int(reply["object"]))
        if "iterator" in reply:
            return iter(list(values.decode(reply["iterator"], named=RECEIVED)))
        value = _value(reply, self._line)
        if value is None and reply.get("changed") is not None:
            _copy_back(args, values.decode(reply["changed"], named=RECEIVED))
        return value

    def __getattr__(self, name: str):
        if name.startswith("__") or name == "parameter_sets":
            raise AttributeError(name)
        if not self._makes:
            self._refuse()
        whole = f"{self.__name__}.{name}"
        reply = self._line.ask({"name": whole, "object": None, "get": True})
        return Function(self._line, whole) if reply.get("method") else _value(reply, self._line)

    def _refuse(self, *_):
        raise Crossing(f"{self.__name__} is a function of the program: it can only be called")

    __eq__ = __ne__ = __lt__ = __gt__ = __bool__ = _refuse
    __hash__ = object.__hash__


def _named(value: Any) -> Any:
    """What crosses by its name only: an object of the program's, a built-in type."""
    if type(value) is Object:
        return {"object": value._number}
    if type(value) is Span:
        return values.encode(value._range)
    if isinstance(value, type) and getattr(builtins, value.__name__, None) is value:
        return {"builtin": value.__name__}
    return None


class Object:
    """An object that a call of a class made, by its number."""

    _line: Line
    _number: int

    def __init__(self, line: Line, number: int):
        self.__dict__.update(_line=line, _number=number)

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        reply = self._line.ask({"name": name, "object": self._number, "get": True})
        return Function(self._line, name, self._number) if reply.get("method") else _value(reply, self._line)

    def __setattr__(self, name: str, value: object):
        Function(self._line, "__setattr__", self._number)(name, value)

    def _special(name: Any) -> Any:
        return lambda self, *args: Function(self._line, name, self._number)(*args)

    __len__, __getitem__, __setitem__, __delitem__, __str__, __repr__ = map(
        _special, ("__len__", "__getitem__", "__setitem__", "__delitem__", "__str__", "__repr__")
    )

    def _refuse(self, *_):
        raise Crossing("an object of the program cannot be compared, searched or tested for truth")

    __eq__ = __ne__ = __lt__ = __gt__ = __le__ = __ge__ = __bool__ = __contains__ = _refuse
    __hash__ = object.__hash__


def constant(line: Line, name: str) -> object:
    """A value that stands at the program's top; where it does not cross the wall, what fails on use."""
    try:
        return _value(line.ask({"name": name, "object": None, "get": True}), line)
    except (Crossing, values.NotPlain):
        return Function(line, name)


def _value(reply: dict, line: Line) -> Any:
    """The value of a reply, or the exception that the program raised."""
    if "raised" in reply:
        error = line.exception(str(reply.get("kind")))(str(reply["raised"]))
        error.is_from_program = True  # type: ignore[attr-defined]
        raise error
    if "value" not in reply:
        raise Crossing(str(reply.get("odd", "no value came back")))
    return values.decode(reply["value"], named=RECEIVED)


def _copy_back(arguments: tuple, changed: list) -> None:
    """A function that returns nothing has worked on its arguments: the caller's become what they are over there."""
    for ours, theirs in zip(arguments, changed, strict=True):
        if type(ours) is type(theirs) and isinstance(ours, list | dict | set | bytearray):
            ours.clear()
            ours.extend(theirs) if isinstance(ours, list | bytearray) else ours.update(theirs)
