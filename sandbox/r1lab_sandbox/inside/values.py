"""Plain values across the wall of the jail: JSON of exact builtin types, what JSON lacks as `{"tag": ...}`.

Never pickle. An object of a class of the program's own is not plain: what it equals is for its own code to say. One of
a subclass of a builtin crosses as the builtin's data, read by the builtin's own methods, and forgets its class. Whoever
decodes treats the text as hostile: `tree` gives nested lists, dicts and scalars of bounded depth, `decode` the value
itself.
"""

import datetime
import importlib
import json
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

MAX_DEPTH = 100
MAX_NODES = 1_000_000
MAX_LEVELS = 3 * MAX_DEPTH + 10
"""Of JSON: a dict takes three."""
MAX_FRACTION = 8192
"""Hexadecimal digits: to make a fraction is to divide out, in time that grows with their square."""
SMALL = 1 << 63
AS_DICT = (dict, Counter, OrderedDict, defaultdict)
DATES = {"date": datetime.date, "datetime": datetime.datetime, "time": datetime.time}
ARRAYS = tuple("biufcU")
"""Kinds of numpy's types: truth, numbers, texts."""
_NOTHING: Mapping = {}


class NotPlain(ValueError):
    """A value that does not cross the wall; the text says what it is."""


def dumps(value: object) -> str:
    """The value as text; raises NotPlain."""
    return json.dumps(encode(value), allow_nan=False, check_circular=False)


def encode(value: object, named: Callable[[object], object | None] = lambda _: None) -> object:
    """The value as a tree of what JSON has; raises NotPlain. named: the node of what crosses by name only, or None."""
    return _Encoder(named).encode(value, 0)


def tree(text: str | bytes) -> object:
    """What hostile text says, undecoded: of at most MAX_DEPTH levels. Raises NotPlain."""
    try:
        node = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NotPlain(f"no JSON: {type(error).__name__}") from error
    level = [node]
    for _ in range(MAX_LEVELS):
        level = [each for part in level if isinstance(part, list | dict)
                 for each in (part if isinstance(part, list) else part.values())
                 if isinstance(each, list | dict)]  # fmt: skip
        if not level:
            return node
    raise NotPlain("nested too deep")


def decode(node: Any, depth: int = 0, named: Mapping[str, Callable[[Any], Any]] = _NOTHING) -> Any:
    """The value of a tree; raises NotPlain. named: what makes the value of a node, for tags of the caller's own."""
    if depth > MAX_DEPTH:
        raise NotPlain("nested too deep")
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if isinstance(node, list):
        return [decode(each, depth + 1, named) for each in node]
    if isinstance(node, dict) and len(node) == 1:
        ((tag, body),) = node.items()
        try:
            return _decode_tag(tag, body, depth, named)
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise NotPlain(f"no {tag}") from error
    raise NotPlain("no plain value")


def _decode_tag(tag: str, body: Any, depth: int, named: Mapping) -> object:
    if tag in named:
        return named[tag](body)
    if tag in ("tuple", "set", "frozenset", "deque"):
        kind = {"tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque}[tag]
        return kind(decode(each, depth + 1, named) for each in body)
    if tag == "ndarray":
        return decode(body, depth + 1, named)
    if tag == "dict":
        return {decode(key, depth + 1, named): decode(value, depth + 1, named) for key, value in body}
    if tag == "int":
        return int(body, 16)
    if tag == "float":
        return float(body)
    if tag == "complex":
        return complex(float(body[0]), float(body[1]))
    if tag in ("bytes", "bytearray"):
        return {"bytes": bytes, "bytearray": bytearray}[tag].fromhex(body)
    if tag == "decimal":
        return Decimal(body)
    if tag == "fraction":
        if len(body[0]) + len(body[1]) > MAX_FRACTION:
            raise NotPlain("a fraction too large")
        return Fraction(int(body[0], 16), int(body[1], 16))
    if tag == "range":
        return range(*(int(each, 16) for each in body))
    if tag in DATES:
        return DATES[tag].fromisoformat(body)
    if tag == "timedelta":
        return datetime.timedelta(*map(int, body))
    if tag in ("path", "uuid"):
        return _decode_late(tag, str(body))
    raise NotPlain(f"unknown tag {tag!r}")


def array(body: Any) -> Any:
    """An array of numpy, where it can be imported: [type, shape, items]."""
    kind, shape, items = body
    if not isinstance(kind, str) or kind[1:2] not in ARRAYS:
        raise NotPlain("an array of that kind")
    numpy = importlib.import_module("numpy")
    return numpy.array(decode(items), dtype=kind).reshape(shape)


def of_array(value: Any) -> dict | None:
    """What `array` reads, of an array of numbers or texts; None: of none."""
    if type(value).__name__ != "ndarray" or value.dtype.kind not in ARRAYS:
        return None
    return {"array": [value.dtype.str, list(value.shape), encode(value.ravel().tolist())]}


def _decode_late(tag: str, body: str) -> object:
    """Of modules that few programs need, loaded where one comes."""
    if tag == "uuid":
        from uuid import UUID

        return UUID(hex=body)
    from pathlib import PurePosixPath

    return PurePosixPath(body)


class _Encoder:
    """Counts what it has seen, so that a value that shares its parts cannot explode."""

    def __init__(self, named: Callable[[object], object | None]):
        self.left = MAX_NODES
        self.named = named

    def encode(self, value: Any, depth: int) -> object:
        self.left -= 1
        if self.left < 0 or depth > MAX_DEPTH:
            raise NotPlain("a value too large or nested too deep")
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            self.left -= len(value) // 16
            return value
        if kind is int:
            return value if -SMALL < value < SMALL else {"int": hex(value)}
        if kind is float:
            return value if value - value == 0 else {"float": repr(value)}
        return self._container(value, kind, depth) if kind in _CONTAINERS else self._rare(value, kind, depth)

    def _container(self, value: Any, kind: type, depth: int) -> object:
        if kind is list:
            return [self.encode(each, depth + 1) for each in value]
        if kind in AS_DICT:
            pairs = [[self.encode(key, depth + 1), self.encode(each, depth + 1)] for key, each in dict.items(value)]
            return {"dict": pairs}
        return {kind.__name__: [self.encode(each, depth + 1) for each in value]}

    def _rare(self, value: Any, kind: type, depth: int) -> object:
        if kind is complex:
            return {"complex": [repr(value.real), repr(value.imag)]}
        if kind in (bytes, bytearray):
            self.left -= len(value) // 8
            return {kind.__name__: value.hex()}
        if kind is Decimal:
            return {"decimal": str(value)}
        if kind is Fraction:
            return {"fraction": [hex(value.numerator), hex(value.denominator)]}
        if kind is range:
            return {"range": [hex(each) for each in (value.start, value.stop, value.step)]}
        if (node := self.named(value)) is not None:
            return node
        if kind in LATE_DATA:
            return LATE_DATA[kind](value)
        for base, plain in BY_DATA:
            if issubclass(kind, base):
                return self.encode(plain(value), depth)
        if kind.__module__ == "numpy" and callable(getattr(value, "tolist", None)):
            is_array = kind.__name__ == "ndarray"
            return {"ndarray": self.encode(value.tolist(), depth + 1)} if is_array else self.encode(value.item(), depth)
        if kind.__module__ in ("pathlib", "uuid"):
            return {"uuid": value.hex} if kind.__name__ == "UUID" else {"path": str(value)}
        raise NotPlain(f"a value of type {kind.__name__}")


BY_DATA: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (int, int.__pos__), (float, float.__pos__), (complex, complex.__pos__), (str, str.__str__),
    (bytes, lambda value: bytes.join(b"", [value])), (list, lambda value: [*list.__iter__(value)]),
    (tuple, lambda value: (*tuple.__iter__(value),)), (set, lambda value: {*set.__iter__(value)}),
    (frozenset, lambda value: frozenset(frozenset.__iter__(value))), (dict, lambda value: dict(dict.items(value))),
    (deque, lambda value: deque(deque.__iter__(value))),
)  # fmt: skip
"""A builtin, and what reads the data of an object of a subclass: never the subclass's own code."""
BUILTINS = tuple(base for base, _ in BY_DATA)
LATE_DATA: dict[type, Callable[[Any], object]] = {
    **{kind: lambda value, name=name: {name: value.isoformat()} for name, kind in DATES.items()},
    datetime.timedelta: lambda value: {"timedelta": [value.days, value.seconds, value.microseconds]},
}
_CONTAINERS = frozenset({list, tuple, set, frozenset, deque, *AS_DICT})


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")
