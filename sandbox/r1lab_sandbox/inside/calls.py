"""Inside the program's jail: answers what the tests' side asks of the program's functions, classes and objects.

Not trusted, as everything beside the program. A plain call gets a plain value; only where tests run in a jail of their
own do objects get numbers, and stay here. What may be asked of them is for `r1lab_sandbox.inside.proxies` to say.
"""

import builtins
import contextlib
import copy
import enum
import inspect
import io
import itertools
import json
import operator
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from r1lab_sandbox.inside import values

MAX_ITEMS = 10_000
"""Of an iterator, which may have no end: it is gone through here, and the tests get one over what came of it."""
OF_ITERATORS = ("builtins", "itertools")
"""Modules whose iterators are no objects of the program's own."""
MAX_PRINTED = 1 << 16
OF_DATA = ("numpy", "datetime", "pathlib", "uuid", "decimal", "fractions")
"""Modules whose values cross as data, where they do."""
MUTABLE = list | dict | set | bytearray


def _same(first: object, second: object, *made_of: list) -> bool:
    """Equal by the program's own `==`, and alike in what they hold: no object is equal to everything.

    made_of: numbers and texts that the tests made them of, most of which an object holds.
    """
    said = first == second
    if said is False or first is second:
        return bool(said)
    if said is not True or not _is_alike(first, second, set()):
        raise values.NotPlain("objects that are said to be equal and do not hold the same values")
    held = set(_texts(first))
    if any(scalars and 2 * sum(str(each) in held for each in scalars) <= len(scalars) for scalars in made_of):
        raise values.NotPlain("objects that are said to be equal and do not hold what they were made of")
    return True


def _texts(value: Any) -> Iterator[str]:
    """What an object holds, at every depth, as texts."""
    waiting, seen = [value], set()
    while waiting and len(seen) < MAX_ITEMS:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield str(each) if isinstance(each, values.BUILTINS) or type(each).__module__ in OF_DATA else ""
        if isinstance(each, dict):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set | frozenset):
            waiting += each
        waiting += _held(each).values()


def _is_alike(first: Any, second: Any, seen: set) -> bool:
    if first is second or (id(first), id(second)) in seen:
        return True
    seen.add((id(first), id(second)))
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        return len(first) == len(second) and all(
            key in second and _is_alike(each, second[key], seen) for key, each in first.items()
        )
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(_is_alike(*pair, seen) for pair in zip(first, second))
    held, other = _held(first), _held(second)
    if not held:  # an object of the program's that holds nothing is like no other
        return type(first).__module__ != "solution" and bool(first == second)
    return _is_alike(held, other, seen)


def _held(value: object) -> dict:
    """The attributes of an object."""
    slots = (name for kind in type(value).__mro__ for name in _names(getattr(kind, "__slots__", ())))
    found = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return {**found, **getattr(value, "__dict__", {})} if not isinstance(value, type) else {}


def _names(slots: Any) -> tuple:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _refill(holder: Any, name: str, value: Any) -> None:
    """Make an attribute's list, dict or set what it has become on the tests' side."""
    held = getattr(holder, name)
    held.clear()
    held.extend(value) if isinstance(held, list) else held.update(value)


def _signature(function: Any) -> list:
    found = inspect.signature(function).parameters.values()
    return [[each.name, int(each.kind), each.default is not each.empty] for each in found]


OPERATORS = (
    "add sub mul matmul truediv floordiv mod pow lshift rshift and_ or_ xor iadd isub imul iand ior ixor itruediv "
    "neg pos abs invert ne lt le gt ge contains getitem setitem delitem index"
)
OPERATIONS: dict[str, Callable] = {
    **{name: getattr(operator, name) for name in OPERATORS.split()},
    "call": lambda function, *args, **kwargs: function(*args, **kwargs), "get_global": lambda value: value,
    "get": getattr, "set": setattr, "del": delattr, "refill": _refill,
    "len": len, "iter": iter, "next": next, "bool": bool, "str": str,
    "repr": repr, "hash": hash, "format": format, "reversed": reversed, "round": round, "int": int, "float": float,
    "divmod": divmod, "isinstance": isinstance, "issubclass": issubclass, "signature": _signature, "same": _same,
    "copy": copy.copy, "deepcopy": copy.deepcopy,
    "enter": lambda value: type(value).__enter__(value), "exit": lambda value, *why: type(value).__exit__(value, *why),
}  # fmt: skip
"""What can be asked of objects."""


class Calls:
    """The program's functions, called by name; objects it made stay here and have numbers."""

    def __init__(self, module: types.ModuleType, given: set[str], send: Callable[[bytes], None], receive: Callable):
        """given: names that the program found defined, which are not its own."""
        self.module, self.given, self.send, self.receive = module, given, send, receive
        self.nonce = ""
        self.objects: list[object] = []
        self.numbers: dict[int, int] = {}
        self.named = {
            "object": lambda number: self.objects[number], "global": self.find, "callback": self.callback,
            "builtin": lambda name: getattr(builtins, name), "array": values.array, "error": _error,
        }  # fmt: skip

    def answer(self, message: dict) -> bytes:
        """The reply to one message. It begins with the nonce, which shows that it was asked for."""
        self.nonce = message["nonce"]
        try:
            reply = self.live(message) if "do" in message else {"value": values.encode(self.call(message))}
        except values.NotPlain as error:
            reply = {"odd": str(error)}
        except BaseException as error:
            reply = self.raised(error) if "do" in message else {"raised": described(error)}
        return self.said(reply)

    def said(self, reply: dict) -> bytes:
        return json.dumps({"nonce": self.nonce, **reply}).encode()

    def call(self, message: dict) -> Any:
        target = self.find(message["name"])
        return target(*values.decode(message["args"]), **values.decode(message["kwargs"]))

    def live(self, message: dict) -> dict:
        """Do something with values, the first of which is what it is asked of; what it prints goes along."""
        given = values.decode(message["args"], named=self.named)
        kwargs = values.decode(message["kwargs"], named=self.named)
        printed, before = io.StringIO(), sys.stdout
        sys.stdout = printed
        try:
            value = OPERATIONS[message["do"]](*given, **kwargs)
            reply = self.reply(value, given, message["do"] == "iter" and value is not given[0])
        except values.NotPlain:
            raise
        except BaseException as error:
            reply = self.raised(error)
        finally:
            sys.stdout = before
        if message["do"] == "call" and any(isinstance(each, MUTABLE) for each in given[1:]):
            with contextlib.suppress(values.NotPlain):
                changed = self.encode(given[1:])
                reply |= {"changed": changed} if changed != message["args"][1:] else {}
        return reply | ({"printed": printed.getvalue()[:MAX_PRINTED]} if printed.tell() else {})

    def reply(self, value: Any, given: list, is_gone_through: bool) -> dict:
        is_awaited = inspect.iscoroutine(value)
        if is_awaited:
            import asyncio  # brings ssl and 60 mappings, which every fork would copy

            value = asyncio.run(value)
        if isinstance(value, Iterator) and (is_gone_through or type(value).__module__ in OF_ITERATORS):
            return {"iterator": self.encode(list(itertools.islice(value, MAX_ITEMS)))}
        reply = {"value": self.encode(value)} | ({"awaited": True} if is_awaited else {})
        place = next((number for number, each in enumerate(given[1:]) if each is value), None)
        return reply | ({"argument": place} if place is not None and isinstance(value, MUTABLE) else {})

    def encode(self, value: Any) -> Any:
        return values.encode(value, self.node)

    def node(self, value: Any) -> object:
        """What is not plain: data that keeps its names, else a number, its classes and its data where it has some."""
        kind = type(value)
        if kind.__module__ in OF_DATA:
            return values.of_array(value)
        if isinstance(value, types.ModuleType):
            raise values.NotPlain(f"a module {value.__name__}")
        if isinstance(value, types.FunctionType) and isinstance(value.__dict__.get("callback"), int):
            return {"callback": value.__dict__["callback"]}
        if isinstance(value, type) and getattr(builtins, value.__name__, None) is value:
            return {"builtin": value.__name__}
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        fields = [str(each) for each in getattr(kind, "_fields", ())] if isinstance(value, tuple) else None
        data = [values.encode(_data(value), self.node)] if isinstance(value, values.BUILTINS) else []
        classes = [each.__name__ for each in kind.__mro__[:-1] if each is not enum.Enum]
        return {"object": [self.numbers[id(value)], classes, data, fields]}

    def find(self, name: str) -> Any:
        """What the program calls so; what it was given is not its own."""
        if hasattr(self.module, name) and name not in self.given:
            return getattr(self.module, name)
        if hasattr(self.module, "Solution"):
            return getattr(self.module.Solution(), name)
        raise NameError(f"name {name!r} is not defined")

    def callback(self, number: int) -> Callable:
        """Stands for a function of the tests'."""

        def call_back(*args, **kwargs):
            sent = {"callback": number, "args": self.encode(list(args)), "kwargs": self.encode(kwargs)}
            self.send(self.said(sent))
            while (message := self.receive()) is not None and "do" in message:
                self.send(self.answer(message))
            if message is None:
                raise SystemExit(1)
            self.nonce = message["nonce"]
            if "failed" in message:
                raise _error(message["failed"])
            return values.decode(message["returned"], named=self.named)

        call_back.__dict__["callback"] = number
        return call_back

    def raised(self, error: BaseException) -> dict:
        """An exception by the names of its classes, its text, its arguments and what else it holds."""
        kinds = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__[:-1]]
        reply: dict = {"raised": text_of(error), "kinds": kinds}
        args = (
            [error.errno, error.strerror, error.filename]
            if isinstance(error, OSError) and error.filename
            else error.args
        )
        for name, value in (("args", list(args)), ("holds", dict(error.__dict__))):
            with contextlib.suppress(BaseException):
                reply[name] = self.encode(value)
        cause = error.__cause__
        return reply | ({"cause": self.raised(cause)} if cause is not None and cause.__cause__ is None else {})


def described(error: BaseException) -> str:
    """`ValueError: too large`, shortened."""
    return f"{type(error).__name__[:100]}: {text_of(error)}"[:400]


def text_of(error: BaseException) -> str:
    try:
        return str(error)[:2000]
    except BaseException:
        return ""


def _data(value: Any) -> Any:
    return next(plain(value) for base, plain in values.BY_DATA if isinstance(value, base))


def _error(body: Any) -> BaseException:
    """An exception of the tests' side: one of Python's own, by name."""
    kind: Any = getattr(builtins, str(body[0]), Exception)
    return kind(body[1]) if isinstance(kind, type) and issubclass(kind, BaseException) else Exception(body[1])
