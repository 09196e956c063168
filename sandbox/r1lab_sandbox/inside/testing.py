"""Inside the jail of tests: runs them against stand-ins of a program that lives in another jail.

In use by `r1lab_sandbox.inside.program`. A test that fails is data here; so are tests that cannot work whatever the
program is.
"""

import ast
import builtins
import importlib
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

from r1lab_sandbox.inside import miniature_pytest
from r1lab_sandbox.inside.proxies import Crossing, Function, Line, constant

WRONG, CRASH, BROKEN = "wrong", "crash", "broken"
"""BROKEN: the tests themselves, before the program had a part in it."""


def run_tests(source: str, extra: dict, ask: Callable[[dict], dict]) -> list[list]:
    """[[passed, WRONG, CRASH or BROKEN, note], ...], one for each test. See `r1lab_verifiers.code.lift` for how many
    there are.

    extra: `names` {name: class, exception, function or value} of the program, `entry`, `tests`, and
    `style` check|pytest|statements.
    """
    line = Line(ask)
    stand_ins = {name: _stand_in(line, name, kind) for name, kind in extra["names"].items()}
    for name in ("solution", *extra.get("modules", ())):
        module = types.ModuleType(name)
        module.__dict__.update(stand_ins, __all__=list(stand_ins))
        module.__getattr__ = lambda name: Function(line, name)
        sys.modules[name] = module
    sys.modules.setdefault("pytest", miniature_pytest.module())
    tests = types.ModuleType("tests")
    tests.__dict__.update({} if extra.get("is_importing") else stand_ins, __builtins__=builtins)
    sys.modules["tests"] = tests
    style = {"check": _check, "pytest": _functions, "statements": _statements}[extra["style"]]
    return style(source, extra, tests.__dict__, stand_ins, line)


def _stand_in(line: Line, name: str, kind: str) -> object:
    """Modules are not stood in for: those of the standard library are here as well, if the program may choose which."""
    if kind.startswith("module "):
        line.is_asked = True
        wanted = kind.removeprefix("module ")
        return importlib.import_module(wanted) if wanted.split(".")[0] in sys.stdlib_module_names else None
    if kind == "exception" and not hasattr(builtins, name):
        return line.own_exception(name)
    return constant(line, name) if kind == "value" else Function(line, name, makes=kind == "class")


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
    space["__failed__"] = lambda number, error: results.__setitem__(number, _failure(error, line))
    try:
        exec(compile(ast.fix_missing_locations(parsed), "tests.py", "exec"), space)
        space["check"](stand_ins[extra["entry"]])
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
        _finish(test(**miniature_pytest.arguments(test, given, space)))


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
    try:
        test()
    except BaseException as error:
        return _failure(error, line)
    return [True, "", ""]


def _failure(error: BaseException, line: Line) -> list:
    """A name that is missing may be one that the program should have had."""
    can_be_ours = not (line.is_asked or isinstance(error, Crossing | NameError))
    is_ours = can_be_ours or isinstance(error, miniature_pytest.Unsupported)
    status = CRASH if getattr(error, "is_from_program", False) else BROKEN if is_ours else WRONG
    return [False, status, f"{type(error).__name__}: {error}"[:300]]
