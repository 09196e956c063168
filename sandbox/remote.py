"""Inside the jail of tests: stand-ins for the functions of a program that lives in another jail.

A stand-in calls, and gets plain values back; a function that returns anything else fails the test. Objects come from
calls of a class only, and can be called, read and indexed, never compared or tested for truth: those would be the other
program's own answers. In use by `sandbox.inside`; a test that fails is data here.
"""

import ast
import builtins
import importlib
import sys
import types

from sandbox import plain
from sandbox.miniature_pytest import module as pytest_module

WRONG, CRASH, BROKEN = "wrong", "crash", "broken"
"""BROKEN: the tests themselves, before the program had a part in it."""


class Crossing(BaseException):
    """No plain value came back. Not an Exception: a test that expects one must not take this for it."""


class Raised(Exception):
    """The program raised an exception of a class of its own."""


class Function:
    """Calls a function or a method."""

    def __init__(self, line: object, name: str, holder: int | None = None, makes: bool = False):
        self._line, self.__name__, self._holder, self._makes = line, name, holder, makes

    def __call__(self, *args, **kwargs):
        try:
            sent = {"args": plain.encode(list(args), _named), "kwargs": plain.encode(kwargs, _named)}
        except plain.NotPlain as error:
            raise Crossing(f"an argument of {self.__name__}: {error}") from None
        reply = self._line.ask(
            {"name": self.__name__, "object": self._holder, "make": self._makes, "changes": True, **sent}
        )
        if "object" in reply:
            return Object(self._line, int(reply["object"]))
        value = _value(reply)
        if reply.get("changed") is not None:
            _copy_back(args, plain.decode(reply["changed"]))
        return value

    def _refuse(self, *_):
        raise Crossing(f"{self.__name__} is a function of the program: it can only be called")

    __eq__ = __ne__ = __lt__ = __gt__ = __bool__ = _refuse
    __hash__ = object.__hash__


def _named(value: object) -> dict | None:
    """What crosses by its name only: an object of the program's, a built-in type."""
    if type(value) is Object:
        return {"object": value._number}
    if isinstance(value, type) and getattr(builtins, value.__name__, None) is value:
        return {"builtin": value.__name__}
    return None


class Object:
    """An object that a call of a class made, by its number."""

    def __init__(self, line: object, number: int):
        self.__dict__.update(_line=line, _number=number)

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        reply = self._line.ask({"name": name, "object": self._number, "get": True})
        return Function(self._line, name, self._number) if reply.get("method") else _value(reply)

    def __setattr__(self, name: str, value: object):
        Function(self._line, "__setattr__", self._number)(name, value)

    def _special(name):
        return lambda self, *args: Function(self._line, name, self._number)(*args)

    __len__, __getitem__, __setitem__, __delitem__, __contains__, __str__, __repr__ = map(
        _special, ("__len__", "__getitem__", "__setitem__", "__delitem__", "__contains__", "__str__", "__repr__")
    )

    def _refuse(self, *_):
        raise Crossing("an object of the program cannot be compared or tested for truth")

    __eq__ = __ne__ = __lt__ = __gt__ = __le__ = __ge__ = __bool__ = _refuse
    __hash__ = object.__hash__


def run_tests(source: str, extra: dict, line: object) -> list[list]:
    """[[passed, WRONG, CRASH or BROKEN, note], ...], one for each test. See `verifiers.lifting` for how many there are.

    extra: `names` {name: class or function} of the program, `entry`, `style` check|pytest|statements, `tests`.
    """
    stand_ins = {name: _stand_in(line, name, kind) for name, kind in extra["names"].items()}
    for name in ("solution", *extra.get("modules", ())):
        module = types.ModuleType(name)
        module.__dict__.update(stand_ins)
        module.__getattr__ = lambda name: Function(line, name)
        sys.modules[name] = module
    sys.modules.setdefault("pytest", pytest_module())
    tests = types.ModuleType("tests")
    tests.__dict__.update(stand_ins, __builtins__=builtins)
    sys.modules["tests"] = tests
    style = {"check": _check, "pytest": _functions, "statements": _statements}[extra["style"]]
    return style(source, extra, tests.__dict__, stand_ins)


def _stand_in(line: object, name: str, kind: str) -> object:
    """Modules are not stood in for: those of the standard library are here as well."""
    if kind.startswith("module "):
        wanted = kind.removeprefix("module ")
        return importlib.import_module(wanted) if wanted.split(".")[0] in sys.stdlib_module_names else None
    return Function(line, name, makes=kind == "class")


def _check(source: str, extra: dict, space: dict, stand_ins: dict) -> list[list]:
    """`def check(candidate)`: each statement of its body that asserts something is a test."""
    parsed = ast.parse(source)
    body = next(node for node in parsed.body if isinstance(node, ast.FunctionDef) and node.name == "check").body
    results: list[list] = []
    for place, statement in enumerate(body):
        if any(isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant)
               for node in ast.walk(statement)):  # fmt: skip
            body[place] = _guarded(statement, len(results))
            results.append([False, WRONG, "not reached"])
    results = results or [[False, WRONG, "not reached"]]
    space["__passed__"] = lambda number: results.__setitem__(number, [True, "", ""])
    space["__failed__"] = lambda number, error: results.__setitem__(number, _failure(error))
    try:
        exec(compile(ast.fix_missing_locations(parsed), "tests.py", "exec"), space)
        space["check"](stand_ins[extra["entry"]])
    except BaseException as error:
        results = [_failure(error) if result[2] == "not reached" else result for result in results]
    else:
        if len(results) == 1 and results[0][2] == "not reached":
            results = [[True, "", ""]]
    return results


def _guarded(statement: ast.stmt, number: int) -> ast.stmt:
    template = (
        f"try:\n    pass\n    __passed__({number})\nexcept BaseException as error:\n    __failed__({number}, error)"
    )
    guard = ast.parse(template).body[0]
    guard.body[0] = statement
    return ast.copy_location(guard, statement)


def _functions(source: str, extra: dict, space: dict, stand_ins: dict) -> list[list]:
    """pytest style: every function and method named test_..., each parameter set a call of the same test."""
    try:
        exec(compile(source, "tests.py", "exec"), space)
    except BaseException as error:
        return [_failure(error) for _ in extra["tests"]]
    return [_attempt(lambda name=name: _call_test(space, name)) for name in extra["tests"]]


def _call_test(space: dict, name: str) -> None:
    holder, _, method = name.rpartition(".")
    owner = space[holder]() if holder else None
    if owner is not None and hasattr(owner, "setup_method"):
        owner.setup_method()
    test = getattr(owner, method) if holder else space[method]
    for arguments in getattr(test, "parameter_sets", [{}]):
        test(**arguments)


def _statements(source: str, extra: dict, space: dict, stand_ins: dict) -> list[list]:
    """A setup, and texts that are a test each. A setup that comes before the program cannot use it."""
    is_early = not extra.get("setup_after")
    if is_early:
        for name in stand_ins:
            del space[name]
    try:
        exec(compile(source, "setup.py", "exec"), space)
    except BaseException as error:
        passed, status, note = _failure(error)
        return [[passed, BROKEN if is_early else status, f"setup: {note}"]]
    if is_early:
        space.update({name: each for name, each in stand_ins.items() if name not in space})
    return [_attempt(lambda text=text: exec(compile(text, "tests.py", "exec"), space)) for text in extra["tests"]]


def _attempt(test: object) -> list:
    try:
        test()
    except BaseException as error:
        return _failure(error)
    return [True, "", ""]


def _failure(error: BaseException) -> list:
    status = CRASH if getattr(error, "is_from_program", False) else WRONG
    return [False, status, f"{type(error).__name__}: {error}"[:300]]


def _value(reply: dict) -> object:
    """The value of a reply, or the exception that the program raised."""
    if "raised" in reply:
        kind = getattr(builtins, str(reply.get("kind")), None)
        is_usual = isinstance(kind, type) and issubclass(kind, Exception)
        error = (kind if is_usual else Raised)(str(reply["raised"]))
        error.is_from_program = True
        raise error
    if "value" not in reply:
        raise Crossing(str(reply.get("odd", "no value came back")))
    return plain.decode(reply["value"])


def _copy_back(arguments: tuple, changed: list) -> None:
    """A function that returns nothing has worked on its arguments: the caller's become what they are over there."""
    for ours, theirs in zip(arguments, changed, strict=True):
        if type(ours) is type(theirs) and isinstance(ours, list | dict | set | bytearray):
            ours.clear()
            ours.extend(theirs) if isinstance(ours, list | bytearray) else ours.update(theirs)
