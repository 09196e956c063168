"""Inside the jail of tests: runs them against stand-ins of a program that lives in another jail.

In use by `r1lab_sandbox.inside.program`. A test that fails is data here; so are tests that cannot work whatever the
program is.
"""

import ast
import builtins
import contextlib
import importlib
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

from r1lab_sandbox.inside import miniature_pytest
from r1lab_sandbox.inside.line import Line, constant
from r1lab_sandbox.inside.proxies import Class, Crossing, Function, NotAnswered, Object

WRONG, CRASH, CROSSING, BROKEN = "wrong", "crash", "crossing", "broken"
"""BROKEN: the tests themselves, where no name of the program was used: whatever a program declares, never by that."""


class _Names(dict):
    """The tests' global names, which tell when one of the program's is used."""

    def __init__(self, line: Line, stand_ins: dict[str, object]):
        super().__init__(__builtins__=builtins, __name__="tests")
        self._line, self._theirs = line, {id(each) for each in stand_ins.values()}

    def __getitem__(self, name: str):
        value = super().__getitem__(name)
        self._line.is_used = self._line.is_used or id(value) in self._theirs
        return value


class _Solution(types.ModuleType):
    """The module that tests import the program's names from; whatever it is asked for is the program's."""

    def __getattribute__(self, name: str):
        if not name.startswith("__"):
            line = super().__getattribute__("__line__")
            line.is_used = line.is_used or line.is_running  # an import at the top uses nothing yet
        return super().__getattribute__(name)

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        made = self.__dict__[name] = self.__dict__["__make__"](name)
        return made


def run_tests(source: str, extra: dict, ask: Callable[[dict], dict]) -> list[list]:
    """[[passed, WRONG, CRASH or BROKEN, note], ...], one for each test. See `r1lab_verifiers.code.lift` for how many
    there are.

    extra: `names` {name: class, function, value or exception and its bases} of the program, `entry`, `tests`, and
    `style` check|pytest|statements; `modules`: names for `solution`; `modules_read` {name: module} of what the tests
    use of Python's own without importing it.
    """
    line = Line(ask)
    stand_ins = {name: _stand_in(line, name, kind) for name, kind in extra["names"].items()}
    space = _Names(line, stand_ins)

    def make(name: str) -> Function:
        made = Function(line, name)
        space._theirs.add(id(made))
        return made

    for name in ("solution", *extra.get("modules", ())):
        module = sys.modules[name] = _Solution(name)
        module.__dict__.update(stand_ins, __all__=list(stand_ins), __make__=make, __line__=line)
        space._theirs.add(id(module))
    sys.modules.setdefault("pytest", miniature_pytest.module())
    space.update({} if extra.get("is_importing") else stand_ins)
    for name, module in extra.get("modules_read", {}).items():
        with contextlib.suppress(ImportError):
            space[name] = importlib.import_module(module)
    sys.modules["tests"] = types.ModuleType("tests")
    line.is_used = line.is_running = False
    style = {"check": _check, "pytest": _functions, "statements": _statements}[extra["style"]]
    return style(source, extra, space, stand_ins, line)


def _stand_in(line: Line, name: str, kind: str) -> object:
    """Of a kind that the tests' own use decides, as far as it can: a function, a class, an exception, a value."""
    if kind.startswith("exception"):
        return line.named_exception(name, kind.split()[1:])
    if kind == "class":
        made = line.classes[name] = Class(name, (Object,), {}, line)
        return made
    return constant(line, name) if kind == "value" else Function(line, name)


def _check(source: str, extra: dict, space: dict, stand_ins: dict, line: Line) -> list[list]:
    """`def check(candidate)`: each statement of its body that asserts something is a test."""
    parsed = ast.parse(source)
    body = next(node for node in parsed.body if isinstance(node, ast.FunctionDef) and node.name == "check").body
    results: list[list] = []
    for place, statement in enumerate(body):
        if _is_test(statement):
            body[place] = _guarded(statement, len(results))
            results.append([False, WRONG, "not reached"])
    results = results or [[False, WRONG, "not reached"]]
    space["__passed__"] = lambda number: results.__setitem__(number, [True, "", ""])
    Crossing.latest = None
    line.is_running = True
    space["__failed__"] = lambda number, error: results.__setitem__(number, _failure(error, line))
    try:
        exec(compile(ast.fix_missing_locations(parsed), "tests.py", "exec"), space)
        space["check"](stand_ins[extra["entry"]])
        if (missed := line.missed or Crossing.latest) is not None:
            raise missed
    except BaseException as error:
        if all(result[2] != "not reached" for result in results):
            results.append(_failure(error, line))
        results = [_failure(error, line) if result[2] == "not reached" else result for result in results]
    else:
        if len(results) == 1 and results[0][2] == "not reached":
            results = [[True, "", ""]]
    return results


def _is_test(statement: ast.stmt) -> bool:
    """A definition asserts nothing until it is called."""
    is_definition = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return not is_definition and any(isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant)
                                     for node in ast.walk(statement))  # fmt: skip


def _guarded(statement: ast.stmt, number: int) -> ast.stmt:
    template = (
        f"try:\n    pass\n    __passed__({number})\nexcept BaseException as error:\n    __failed__({number}, error)"
    )
    guard: Any = ast.parse(template).body[0]
    guard.body[0] = statement
    return ast.copy_location(guard, statement)


def _functions(source: str, extra: dict, space: dict, stand_ins: dict, line: Line) -> list[list]:
    """pytest style: every function and method named test_..., each parameter set a call of the same test."""
    try:
        exec(compile(source, "tests.py", "exec"), space)
    except BaseException as error:
        return [_failure(error, line) for _ in extra["tests"]]
    return [_attempt(lambda name=name: _call_test(space, name), line) for name in extra["tests"]]


def _call_test(space: dict, name: str) -> None:
    holder, _, method = name.rpartition(".")
    owner = space[holder]() if holder else None
    for prepare in ("setup_class", "setUpClass", "setup_method", "setUp"):
        if hasattr(owner, prepare):
            getattr(owner, prepare)(*([None] if inspect.signature(getattr(owner, prepare)).parameters else []))
    test = getattr(owner, method) if holder else space[method]
    for given in getattr(test, "parameter_sets", None) or getattr(owner, "parameter_sets", [{}]):
        arguments = miniature_pytest.arguments(test, given, space)
        try:
            _finish(test(**arguments))
        finally:
            for each in arguments.values():
                if isinstance(each, miniature_pytest.Captured):
                    each.close()


def _finish(value: object) -> None:
    """A generator has run nothing of its body, and a coroutine nothing yet."""
    if inspect.iscoroutine(value):
        import asyncio  # brings ssl and 60 mappings, which every fork would copy

        asyncio.run(value)
    elif inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise miniature_pytest.Unsupported("a test that yields: nothing of it is run")


def _statements(source: str, extra: dict, space: dict, stand_ins: dict, line: Line) -> list[list]:
    """A setup, and texts that are a test each. A setup that comes before the program cannot use it."""
    is_early = not extra.get("setup_after")
    if is_early:
        for name in stand_ins:
            del space[name]
    try:
        exec(compile(source, "setup.py", "exec"), space)
    except BaseException as error:
        passed, status, note = _failure(error, line)
        return [[passed, status, f"setup: {note}"]]
    if is_early:
        space.update({name: each for name, each in stand_ins.items() if name not in space})
    return [_attempt(lambda text=text: exec(compile(text, "tests.py", "exec"), space), line) for text in extra["tests"]]


def _attempt(test: Callable[[], None], line: Line) -> list:
    line.missed = Crossing.latest = None
    line.is_running = True
    try:
        test()
    except BaseException as error:
        return _failure(error, line)
    missed = line.missed or Crossing.latest
    return [True, "", ""] if missed is None else _failure(missed, line)


def _failure(error: BaseException, line: Line) -> list:
    """A name that is missing may be one that the program should have had."""
    is_crossing = isinstance(error, Crossing) and not isinstance(error, NotAnswered)
    can_be_ours = not (line.is_used or isinstance(error, Crossing | NameError))
    is_ours = can_be_ours or isinstance(error, miniature_pytest.Unsupported)
    status = CRASH if getattr(error, "is_from_program", False) else BROKEN if is_ours else WRONG
    return [False, CROSSING if is_crossing else status, f"{type(error).__name__}: {error}"[:300]]
