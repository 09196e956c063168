"""Inside the jail of tests: stand-ins for the functions, classes and objects of a program that lives in another jail.

A stand-in asks the program and gets plain values back, which are compared here. The program owns only what the tests
name as its function, class or exception. An object that comes out of a call is known by its attributes and calls alone:
it has none of the methods of built-in values and is never compared with one, searched or ordered, for it would answer
as the tests wish. Objects of a class that the tests name are used as their class says, but for comparisons with plain
values. What asks the program is `r1lab_sandbox.inside.line`.
"""

import inspect
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Protocol

OF_ARRAYS = "shape dtype ndim size T sum mean min max all any argmax argmin tolist astype reshape std item"
OF_BUILTINS = frozenset(OF_ARRAYS.split()).union(
    *map(dir, (str, bytes, list, tuple, dict, set, int, float, complex, range, deque, Counter))
)
"""Methods that the tests may mean for a built-in value."""


class Crossing(BaseException):
    """What a test needs does not cross. Not an Exception: a test that expects one must not take it for that."""

    latest: "Crossing | None" = None
    """Kept, for a test may catch whatever comes."""

    def __init__(self, *why: object):
        super().__init__(*why)
        Crossing.latest = self


class NotAnswered(Crossing):
    """The program said something else than the answer to a question. Its fault, and no lack of ours."""


class Asker(Protocol):
    """What asks the program: `r1lab_sandbox.inside.line.Line`."""

    def do(self, name: str, *args: Any, **kwargs: Any) -> Any: ...

    def same(self, first: "Handle", second: "Handle") -> bool: ...


class Span:
    """A range that the program gave back. It may hold every number at once, so to be in it says nothing."""

    def __init__(self, body: Any):
        self.range = range(*(int(each, 16) for each in body))

    def __eq__(self, other):
        return self.range == (other.range if type(other) is Span else other)

    def __iter__(self):
        return iter(self.range)

    def __len__(self):
        return len(self.range)

    def __getitem__(self, place):
        return self.range[place]

    def __contains__(self, _):
        raise Crossing("a range of the program is not searched: compare it, or make a list of it")

    def __hash__(self):
        return hash(self.range)

    def __repr__(self):
        return repr(self.range)


def _refused(what: str) -> Callable:
    def refuse(*_, **__):
        raise Crossing(what)

    return refuse


def _asked(name: str, kind: type | None = None) -> Any:
    """A method that asks the program; kind: what the answer has to be."""

    def ask(self, *args):
        value = _line(self).do(name, self, *args)
        if kind is not None and type(value) is not kind:
            raise Crossing(f"{name} gave a {type(value).__name__}")
        return value

    return ask


OPERATORS = (
    "lt le gt ge add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor radd rsub rmul rmatmul "
    "rtruediv rfloordiv rmod rpow rand ror rxor neg pos abs invert contains getitem setitem delitem len iter next "
    "reversed int float complex index round await aiter anext bytes fspath iadd isub imul iand ior ixor itruediv"
)
NOT_ASKED = ("await", "aiter", "anext", "complex", "bytes", "fspath")


class Function:
    """Calls a function of the program's by its name."""

    __slots__ = ("__name__", "_line")

    def __init__(self, line: Asker, name: str):
        object.__setattr__(self, "_line", line)
        object.__setattr__(self, "__name__", name)

    def __call__(self, *args, **kwargs):
        return _line(self).do("call", self, *args, **kwargs)

    def __getattr__(self, name: str):
        if name == "parameter_sets" or (name.startswith("__") and name != "__wrapped__"):
            raise AttributeError(name)
        return _line(self).do("get", self, name)

    @property
    def __doc__(self):
        return _line(self).do("get", self, "__doc__")

    @property
    def __signature__(self):
        made = [inspect.Parameter(name, inspect._ParameterKind(kind), default=None if has_default else inspect._empty)
                for name, kind, has_default in _line(self).do("signature", self)]  # fmt: skip
        return inspect.Signature(made)

    __bool__ = _refused("a function of the program can only be called")
    __hash__ = object.__hash__


class Handle:
    """An object of the program's, by its number: known by its attributes, and by calls."""

    __slots__ = ("__line", "__number")

    def __init__(self, line: Asker, number: int):
        object.__setattr__(self, "_Handle__line", line)
        object.__setattr__(self, "_Handle__number", number)

    def __getattr__(self, name: str):
        if name.startswith("__") and name not in ("__name__", "__doc__", "__dict__", "__qualname__", "__wrapped__"):
            raise AttributeError(name)
        if name in OF_BUILTINS and not isinstance(self, Object):
            raise Crossing(f"{name!r} of an object whose class the tests do not name")
        return self.__line.do("get", self, name)

    def __setattr__(self, name: str, value: object):
        self.__line.do("set", self, name, value)

    def __delattr__(self, name: str):
        self.__line.do("del", self, name)

    def __call__(self, *args, **kwargs):
        return self.__line.do("call", self, *args, **kwargs)

    def __eq__(self, other):
        if other is None or self is other:
            return other is not None
        if not isinstance(other, Handle):
            raise Crossing("an object of the program is not compared with a plain value")
        return self.__line.same(self, other)

    def __ne__(self, other):
        return not self == other

    def __exit__(self, kind, error, _):
        why = (None, None, None) if error is None else (kind.__name__, str(error), None)
        if self.__line.do("exit", self, *why) and error is not None:
            raise Crossing("an object of the program would hide what fails in the tests")

    __enter__, __str__, __repr__, __format__ = map(_asked, ("enter", "str", "repr", "format"))
    __bool__ = _asked("bool", bool)
    __hash__ = object.__hash__
    __copy__ = _asked("copy")

    def __deepcopy__(self, _):
        return self.__line.do("deepcopy", self)


class Object(Handle):
    """An object of a class that the tests name: its operators are what is tested."""

    __slots__ = ()
    __hash__ = _asked("hash", int)  # type: ignore[assignment]
    __len__ = _asked("len", int)

    def __next__(self):
        try:
            return _line(self).do("next", self)
        except Exception as error:
            if type(error).__name__ == "StopIteration":
                raise StopIteration from None
            raise


class Class(type):
    """The class of stand-ins for a class of the program's."""

    def __new__(cls, name: str, bases: tuple, space: dict, line: Asker | None = None):
        if line is None:
            raise Crossing(f"a class of the tests' own derived from {bases[0].__name__}, which is the program's")
        made = super().__new__(cls, name, bases, {"__slots__": (), "__doc__": None})
        type.__setattr__(made, "_line", line)
        return made

    def __init__(cls, *_, **__):
        pass

    def __call__(cls, *args, **kwargs):
        return cls._line.do("call", cls, *args, **kwargs)

    def __getattr__(cls, name: str):
        if name.startswith("__") or name == "parameter_sets":
            raise AttributeError(name)
        return cls._line.do("get", cls, name)

    def __setattr__(cls, name: str, value: object):
        cls._line.do("set", cls, name, value)

    def __instancecheck__(cls, value):
        value = getattr(type(value), "handle_of_program", value)
        return isinstance(value, Handle) and cls._line.do("isinstance", value, cls) is True

    def __subclasscheck__(cls, other):
        return isinstance(other, Class) and cls._line.do("issubclass", other, cls) is True

    def __contains__(cls, value):
        return _asked("contains", bool)(cls, value)

    __iter__, __getitem__, __len__ = map(_asked, ("iter", "getitem", "len"))


def _line(stand_in: Any) -> Asker:
    if isinstance(stand_in, Class):
        return type.__getattribute__(stand_in, "_line")
    return object.__getattribute__(stand_in, "_line" if isinstance(stand_in, Function) else "_Handle__line")


def number_of(handle: Handle) -> int:
    """The number of an object."""
    return object.__getattribute__(handle, "_Handle__number")


def _set_operators() -> None:
    """Every operator of every stand-in: asked of objects of a class that the tests name, refused otherwise."""
    for name in OPERATORS.split():
        special = f"__{name}__"
        for kind in (Function, Handle):
            setattr(kind, special, _refused(f"{special} of a {kind.__name__.lower()} of the program's"))
        if special in vars(Object) or name in NOT_ASKED:
            continue
        if name in ("lt", "le", "gt", "ge"):
            setattr(Object, special, _ordered(name))
        elif name.startswith("r") and name not in ("rshift", "reversed", "round"):
            setattr(Object, special, _reflected(_operation(name[1:])))
        else:
            setattr(Object, special, _asked(_operation(name), bool if name == "contains" else None))
    for special in ("__eq__", "__ne__", "__lt__", "__instancecheck__", "__mro_entries__", "__enter__", "__exit__"):
        setattr(Function, special, _refused("a function of the program can only be called"))


def _operation(name: str) -> str:
    return f"{name}_" if name in ("and", "or") else name


def _reflected(name: str) -> Callable:
    return lambda self, other: _line(self).do(name, other, self)


def _ordered(name: str) -> Callable:
    def compare(self, other):
        if not isinstance(other, Handle):
            raise Crossing("an object of the program is not compared with a plain value")
        return _asked(name, bool)(self, other)

    return compare


_set_operators()
