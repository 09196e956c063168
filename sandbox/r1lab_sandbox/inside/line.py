"""Inside the jail of tests: asks the program in the other jail, and makes of its answers what the tests see.

Answers are hostile text. What stands for functions, classes and objects is `r1lab_sandbox.inside.proxies`.
"""

import builtins
import sys
import threading
from collections import namedtuple
from collections.abc import Callable
from typing import Any

from r1lab_sandbox.inside import values
from r1lab_sandbox.inside.proxies import Class, Crossing, Function, Handle, NotAnswered, Object, Span, number_of

SOLUTION = "Solution"
"""LeetCode's class: it holds the functions that are tested, and its objects are none that a test looks at."""
MAX_LENT = 32
MAX_CALLBACKS = 5000
"""In one call: each is a turn of the program, with time of its own."""
NOT_CARRIED = (StopIteration, StopAsyncIteration)
"""Exceptions that would end a loop of the tests' own as if it were complete."""


class Line:
    """Asks the program, for one thread of the tests at a time."""

    def __init__(self, ask: Callable[[dict], dict]):
        self._ask, self._lock = ask, threading.RLock()
        self.is_used = False
        """Whether the program has had a part in what goes on here."""
        self.is_running = False
        """Whether a test runs; before, names of the program are only imported."""
        self.missed: BaseException | None = None
        """An assertion that failed in a function which the program called: it cannot be swallowed over there."""
        self.classes: dict[str, type] = {}
        self.exceptions: dict[str, type[BaseException]] = {}
        self.objects: dict[tuple[int, bool], Any] = {}
        """By number, and whether they may be used as their class says: the same one may come back from a function."""
        self.factories: set[int] = set()
        """Objects that are functions of a class that the tests name."""
        self.is_made = False
        """Whether what comes back is made by a class that the tests name."""
        self.is_member = False
        """Whether it stands in such a class, as the members of an enumeration do: it is one object everywhere."""
        self.made_of: dict[int, list] = {}
        """Numbers and texts that the tests made an object of."""
        self.lent: list[tuple[Any, str, Any, object]] = []
        """Lists, dicts and sets that are attributes of objects, with what they held: the tests may change them here."""
        self.callbacks: list[Callable] = []
        self.received = {"range": Span, "object": self.object, "array": values.array,
                         "builtin": lambda name: getattr(builtins, name),
                         "callback": self.callbacks.__getitem__}  # fmt: skip

    def do(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """What an operation gives over there: `calls.OPERATIONS`."""
        self._give_back()
        try:
            message = {"do": name, "args": values.encode(list(args), self.node),
                       "kwargs": values.encode(kwargs, self.node)}  # fmt: skip
        except values.NotPlain as error:
            raise Crossing(f"an argument: {error}") from None
        with self._lock:
            self.is_used = True
            reply = self._ask(message)
            for _ in range(MAX_CALLBACKS):
                if "callback" not in reply:
                    break
                reply = self._ask(self._called_back(reply))
            self.is_made = self._is_making(name, args)
            self.is_member = isinstance(args[0], Class) and name in ("get", "getitem", "iter")
            try:
                value = self._result(reply, args[1:])
            except values.NotPlain as error:
                raise Crossing(str(error)) from None
            finally:
                self.is_made = self.is_member = False
        if name == "get" and isinstance(args[0], Class) and type(value) is Handle and args[0].__name__ != SOLUTION:
            self.factories.add(number_of(value))
        if name == "call" and isinstance(value, Object):
            self.made_of[number_of(value)] = _scalars([message["args"][1:], message["kwargs"]])
        if name == "get" and type(value) in (list, dict, set):
            self.lent = [*self.lent[1 - MAX_LENT :], (args[0], args[1], value, values.encode(value, self.node))]
        return value

    def _give_back(self) -> None:
        """Send attributes that the tests have changed in place."""
        lent, self.lent = self.lent, []
        for holder, name, value, before in lent:
            if values.encode(value, self.node) != before:
                self.do("refill", holder, name, value)
            else:
                self.lent.append((holder, name, value, before))

    def _is_making(self, name: str, args: tuple) -> bool:
        """Whether a class that the tests name is what is asked, so that its objects may be used as it says.

        Not where a function or a method is called: what it returns may be any object, of a class that answers as the
        tests wish, where they mean a built-in value.
        """
        first = args[0]
        if type(first) is Handle:
            return name == "call" and number_of(first) in self.factories
        is_object = any(isinstance(each, Object) and type(each).__name__ != SOLUTION for each in args)
        return isinstance(first, Class) or (is_object and name != "call")

    def _called_back(self, reply: dict) -> dict:
        """A function of the tests', called by the program with values of its choice."""
        try:
            args, kwargs = (values.decode(reply[name], named=self.received) for name in ("args", "kwargs"))
            return {"returned": values.encode(self.callbacks[int(reply["callback"])](*args, **kwargs), self.node)}
        except BaseException as error:
            if not isinstance(error, Exception) or isinstance(error, AssertionError):
                self.missed = self.missed or error
            return {"failed": [type(error).__name__, str(error)[:1000]]}

    def _result(self, reply: dict, args: tuple) -> Any:
        if isinstance(reply.get("printed"), str):
            sys.stdout.write(reply["printed"])
        if "raised" in reply:
            raise self._error(reply)
        if "iterator" in reply:
            return iter(list(values.decode(reply["iterator"], named=self.received)))
        if "value" not in reply:
            raise Crossing(str(reply["odd"])) if "odd" in reply else NotAnswered("an answer that was not asked for")
        value = values.decode(reply["value"], named=self.received)
        value = _changed(self, args, value, reply) if "changed" in reply or "argument" in reply else value
        return _awaitable(value) if reply.get("awaited") else value

    def node(self, value: Any) -> object | None:
        """What crosses by reference or by name: an object or a name of the program's, a function of the tests'."""
        value = getattr(type(value), "handle_of_program", value)
        if isinstance(value, Handle):
            return {"object": number_of(value)}
        if isinstance(value, Function | Class):
            return {"global": value.__name__}
        if type(value) is Span:
            return values.encode(value.range)
        name = getattr(value, "__name__", None)
        if isinstance(name, str) and getattr(builtins, name, None) is value:
            return {"builtin": name}
        if type(value).__module__ == "numpy":
            return values.of_array(value)
        if callable(value) and not isinstance(value, type):
            self.callbacks.append(value)
            return {"callback": len(self.callbacks) - 1}
        return None

    def object(self, body: Any) -> Any:
        """What stands for an object here: of a class that the tests name, else its data, else known by attributes."""
        number, classes, data, fields = body
        key = number, self.is_made and not (self.is_member and (number, False) in self.objects)
        if key in self.objects:
            return self.objects[key]
        named = next((self.classes[name] for name in classes if name in self.classes), None) if self.is_made else None
        made = Handle(self, int(number)) if named is None else type.__call__(named, self, number)
        value = values.decode(data[0], named=self.received) if data else None
        if isinstance(value, str | int | float | tuple):
            made = _member(_of_data(value, str(classes[0]), fields), made)
        elif named is None and data:
            return value
        self.objects[key] = made
        if self.is_member:
            self.objects[number, False] = made
        return made

    def same(self, first: Handle, second: Handle) -> bool:
        """Whether the program says that two objects are equal, and nothing tells that it cannot be."""
        told = self.do("same", first, second, *(self.made_of.get(number_of(each), []) for each in (first, second)))
        if type(told) is not bool:
            raise Crossing(f"== gave a {type(told).__name__}")
        return told

    def named_exception(self, name: str, bases: list[str]) -> type[BaseException]:
        """Stands for a class of the program's that the tests expect to be raised."""
        self.exceptions[name] = type(name, (self._exception([*bases, "builtins.Exception"]),), {})
        return self.exceptions[name]

    def _exception(self, kinds: list[str]) -> type[BaseException]:
        """The class here for an exception's classes over there: the tests' own name for it, Python's, or a new one."""
        for place, kind in enumerate(kinds):
            known = self.exceptions.get(kind.removeprefix("solution.")) or _usual_exception(kind)
            if known is not None:
                return known if place == 0 else type(str(kinds[0]).rpartition(".")[2], (known,), {})
        return Exception

    def _error(self, reply: dict) -> BaseException:
        kind = self._exception([*map(str, reply.get("kinds", ())), "builtins.Exception"])
        text = str(reply["raised"])
        args = _decoded(reply.get("args"), self.received, [text])
        try:
            error: Any = kind(*args)
        except Exception:
            error = kind.__new__(kind)
            error.args = tuple(args)
        if str(error) != text:
            kind = type(kind.__name__, (kind,), {"__str__": lambda self: text})
            error = kind.__new__(kind)
            error.args = tuple(args)
        holds = _decoded(reply.get("holds"), self.received, {})
        error.__dict__.update({name: each for name, each in holds.items() if isinstance(name, str)})
        error.is_from_program = True
        if isinstance(reply.get("cause"), dict):
            error.__cause__ = self._error(reply["cause"])
        return error


def _scalars(node: Any) -> list:
    """The numbers and texts of a tree; of tagged values none."""
    waiting, found = [node], []
    while waiting:
        each = waiting.pop()
        if isinstance(each, str | int | float) and not isinstance(each, bool):
            found.append(each)
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            waiting += [part for tag, part in each.items() if tag in ("tuple", "dict", "set")]
    return found


def _of_data(value: Any, name: str, fields: list | None) -> Any:
    """The data of a builtin's subclass; that of a named tuple with its names."""
    if not fields or not isinstance(value, tuple):
        return value
    return namedtuple(name if name.isidentifier() else "row", fields, rename=True)(*value)


def _member(value: Any, handle: Handle) -> Any:
    """A text, number or tuple of a class of the program's: it is its data, and has the object's other attributes."""
    space = {"handle_of_program": handle, "__getattr__": lambda self, name: getattr(handle, name)}
    kind = type(type(value).__name__, (type(value),), space)
    return kind(*value) if hasattr(value, "_fields") else kind(value)


def _decoded(node: Any, received: dict, otherwise: Any) -> Any:
    value = values.decode(node, named=received) if node is not None else otherwise
    return value if isinstance(value, type(otherwise)) else otherwise


def _usual_exception(kind: str) -> type[Exception] | None:
    """An exception of Python's own; of a module only where the tests have loaded it: a program loads nothing here."""
    module, _, name = kind.rpartition(".")
    is_known = module.split(".")[0] in sys.stdlib_module_names and module.split(".")[0] != "unittest"
    found: Any = getattr(sys.modules.get(module), name, None) if is_known else None
    is_usual = isinstance(found, type) and issubclass(found, Exception) and not issubclass(found, NOT_CARRIED)
    return found if is_usual else None


async def _awaitable(value: Any) -> Any:
    return value


def _changed(line: Line, args: tuple, value: Any, reply: dict) -> Any:
    """Arguments that a call has changed become so here; what is returned may be one of them.

    Not where another container is returned: it may be compared with what the arguments have become.
    """
    place = reply.get("argument")
    changed = values.decode(reply["changed"], named=line.received) if "changed" in reply else list(args)
    returned = args[place] if isinstance(place, int) and 0 <= place < len(args) else None
    if returned is not None and not _is_reordered(returned, value):
        return value
    if returned is not None or not isinstance(value, list | tuple | dict | set | frozenset | bytearray):
        _copy_back(args, changed)
    return value if returned is None else returned


def _is_reordered(ours: Any, theirs: Any) -> bool:
    """Whether an argument that is returned is as it was, but for the order of its items."""
    if not isinstance(ours, list) or not isinstance(theirs, list) or len(ours) != len(theirs):
        return type(ours) is type(theirs) and ours == theirs
    return sorted(map(repr, ours)) == sorted(map(repr, theirs))


def _copy_back(arguments: tuple, changed: list) -> None:
    for ours, theirs in zip(arguments, changed, strict=True):
        if type(ours) is type(theirs) and isinstance(ours, list | dict | set | bytearray) and ours != theirs:
            ours.clear()
            ours.extend(theirs) if isinstance(ours, list | bytearray) else ours.update(theirs)


def constant(line: Line, name: str) -> object:
    """A value that stands at the program's top; where it does not cross the wall, what fails on use."""
    stand_in = Function(line, name)
    try:
        return line.do("get_global", stand_in)
    except Crossing:
        return stand_in
