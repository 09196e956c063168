"""Turns assertions into calls: `assert f(1, 2) == 3` becomes a call whose value is compared outside the sandbox.

Reads syntax trees only, runs nothing. What does not have that plain form is not lifted: its tests run in a jail of
their own (`r1lab_sandbox.inside.proxies`).
"""

import ast
import builtins
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from r1lab_sandbox.inside import values
from r1lab_verifiers.code import compare


class NotLifted(Exception):
    """Not of the plain form."""


@dataclass(frozen=True)
class LiftedCall:
    """One call of the program's function, and what its value has to be."""

    test: int
    """The test that it belongs to; a test holds where all of its calls do."""
    name: str
    args: list
    kwargs: dict
    how: str
    expected: object = None


@dataclass(frozen=True)
class Close:
    """|value - target| within a tolerance, or `math.isclose`."""

    target: float
    absolute: float = 0.0
    relative: float = 0.0
    is_strict: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a number is close enough."""
        if self.is_strict:
            return abs(value - self.target) < self.absolute
        return math.isclose(value, self.target, rel_tol=self.relative, abs_tol=self.absolute)


@dataclass(frozen=True)
class Lifted:
    """All tests of a problem as calls."""

    calls: tuple[LiftedCall, ...]
    num_tests: int


@dataclass
class AssertionReader:
    """Reads assertions; `names` says which functions are the program's."""

    is_ours: Callable[[str], bool]
    rename: dict[str, str] = field(default_factory=dict)

    def read(self, statement: ast.stmt, test: int) -> LiftedCall:
        """The call of an assert statement; raises NotLifted."""
        if not isinstance(statement, ast.Assert):
            raise NotLifted
        condition = statement.test
        if isinstance(condition, ast.UnaryOp) and isinstance(condition.op, ast.Not):
            return LiftedCall(test, *self.truth(condition.operand), compare.FALSE)
        if isinstance(condition, ast.Compare) and len(condition.ops) == 1:
            return self.comparison(condition.left, condition.ops[0], condition.comparators[0], test)
        if isinstance(condition, ast.Call) and _dotted(condition.func) in ("math.isclose", "isclose"):
            return self.isclose(condition, test)
        return LiftedCall(test, *self.truth(condition), compare.TRUE)

    def truth(self, node: ast.expr) -> tuple[str, list, dict]:
        """As `call`; a capital letter begins the name of a class, whose objects have a truth of their own."""
        name, args, kwargs = self.call(node)
        if name[:1].isupper():
            raise NotLifted
        return name, args, kwargs

    def comparison(self, left: ast.expr, operator: ast.cmpop, right: ast.expr, test: int) -> LiftedCall:
        """The call of a condition with one comparison sign, on whichever side of it the call stands."""
        if (
            isinstance(operator, ast.Lt | ast.LtE)
            and isinstance(left, ast.Call)
            and _dotted(left.func) in ("abs", "math.fabs")
        ):
            return self.difference(left, operator, literal(right), test)
        if isinstance(operator, ast.Eq | ast.NotEq):
            how = compare.EQUAL if isinstance(operator, ast.Eq) else compare.DIFFERENT
            swapped = not isinstance(left, ast.Call) or not self.has_call(left)
            left, right = (right, left) if swapped else (left, right)
            return LiftedCall(test, *self.call(left), how, literal(right))
        if isinstance(operator, ast.Is | ast.IsNot):
            wanted = literal(right)
            if wanted is not None and not isinstance(wanted, bool):
                raise NotLifted
            return LiftedCall(
                test, *self.call(left), compare.IS if isinstance(operator, ast.Is) else compare.IS_NOT, wanted
            )
        raise NotLifted

    def difference(self, outer: ast.Call, operator: ast.cmpop, bound: object, test: int) -> LiftedCall:
        """abs(f(...) - number) < bound"""
        inner = outer.args[0] if len(outer.args) == 1 and not outer.keywords else None
        if not (isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub) and isinstance(bound, int | float)):
            raise NotLifted
        left, right = inner.left, inner.right
        call, number = (left, right) if self.has_call(left) else (right, left)
        close = Close(_number(literal(number)), float(bound), is_strict=isinstance(operator, ast.Lt))
        return LiftedCall(test, *self.call(call), compare.CLOSE, close)

    def isclose(self, condition: ast.Call, test: int) -> LiftedCall:
        """The call of `math.isclose(f(...), number)`."""
        settings = {keyword.arg: literal(keyword.value) for keyword in condition.keywords}
        if len(condition.args) != 2 or not settings.keys() <= {"rel_tol", "abs_tol"}:
            raise NotLifted
        call, number = condition.args if self.has_call(condition.args[0]) else reversed(condition.args)
        tolerances = _number(settings.get("abs_tol", 0.0)), _number(settings.get("rel_tol", 1e-9))
        return LiftedCall(test, *self.call(call), compare.CLOSE, Close(_number(literal(number)), *tolerances))

    def has_call(self, node: ast.expr) -> bool:
        """Whether a node is such a call."""
        try:
            self.call(node)
        except NotLifted:
            return False
        return True

    def call(self, node: ast.expr) -> tuple[str, list, dict]:
        """(name, args, kwargs) of a call of one of the program's functions with literal arguments."""
        if not isinstance(node, ast.Call):
            raise NotLifted
        function = node.func
        if isinstance(function, ast.Attribute) and ast.unparse(function.value) == "Solution()":
            name = function.attr
        elif isinstance(function, ast.Name) and self.is_ours(function.id):
            name = self.rename.get(function.id, function.id)
        else:
            raise NotLifted
        if any(isinstance(each, ast.Starred) for each in node.args) or any(each.arg is None for each in node.keywords):
            raise NotLifted
        args = [literal(each) for each in node.args]
        return name, args, {each.arg: literal(each.value) for each in node.keywords}


def literal(node: ast.expr) -> Any:
    """The value of a literal that crosses the wall; raises NotLifted."""
    if isinstance(node, ast.Call) and _dotted(node.func) == "float" and len(node.args) == 1 and not node.keywords:
        try:
            return float(literal(node.args[0]))
        except (TypeError, ValueError):
            raise NotLifted from None
    try:
        value = ast.literal_eval(node)
        values.encode(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise NotLifted from None
    return value


def lift_statements(tests: Iterable[str]) -> Lifted:
    """MBPP style: each text is a test of one or more asserts. Raises NotLifted; SyntaxError where it does not parse.

    A built-in's name is the program's own where all tests call that one function and no other.
    """
    parsed = [ast.parse(text.strip()).body for text in tests]
    if not all(parsed):
        raise NotLifted
    try:
        calls = _read_all(AssertionReader(_is_foreign), parsed)
    except NotLifted:
        calls = _read_all(AssertionReader(lambda name: True), parsed)
        if len({call.name for call in calls}) > 1:
            raise
    return Lifted(tuple(calls), len(parsed))


def _read_all(reader: AssertionReader, tests: list[list[ast.stmt]]) -> list[LiftedCall]:
    return [reader.read(statement, number) for number, body in enumerate(tests) for statement in body]


def lift_check_function(source: str, entry: str) -> Lifted:
    """HumanEval style: `def check(candidate)`, each assert a test. Raises as `lift_statements`."""
    parsed = ast.parse(source).body
    check = next((node for node in parsed if isinstance(node, ast.FunctionDef) and node.name == "check"), None)
    if check is None or len(check.args.args) != 1 or any(not _is_idle(node) for node in parsed if node is not check):
        raise NotLifted
    parameter = check.args.args[0].arg
    reader = AssertionReader(lambda name: name in (parameter, entry), {parameter: entry})
    telling = [node for node in check.body if not _is_idle(node) and not is_constant(node)]
    calls = tuple(reader.read(node, number) for number, node in enumerate(telling))
    if not calls:
        raise NotLifted
    return Lifted(calls, len(calls))


def lift_test_functions(source: str) -> Lifted:
    """pytest style: functions named test_... that hold nothing but asserts. Raises as `lift_statements`."""
    parsed = ast.parse(source).body
    ours = {alias.asname or alias.name: alias.name for node in parsed if isinstance(node, ast.ImportFrom)
            and (node.module or "").split(".")[0] not in sys.stdlib_module_names for alias in node.names}  # fmt: skip
    reader, calls, number = AssertionReader(lambda name: name in ours, ours), [], 0
    for node in parsed:
        if not isinstance(node, ast.FunctionDef):
            if not _is_idle(node):
                raise NotLifted
            continue
        if not node.name.startswith("test") or node.decorator_list or node.args.args:
            raise NotLifted
        telling = [each for each in node.body if not _is_idle(each)]
        if not telling:
            raise NotLifted
        calls += [reader.read(each, number) for each in telling]
        number += 1
    if not number:
        raise NotLifted
    return Lifted(tuple(calls), number)


def collected_names(source: str) -> list[str]:
    """`test_a`, `TestB.test_c`: what pytest would collect."""
    test_names = []
    for node in ast.parse(source).body:
        if _is_test(node):
            test_names.append(node.name)
        elif isinstance(node, ast.ClassDef) and (node.name.startswith("Test") or any(map(_is_case, node.bases))):
            test_names += [f"{node.name}.{method.name}" for method in node.body if _is_test(method)]
    return test_names


def alone(parsed: ast.Module, name: str) -> ast.Module:
    """A module with one of its collected tests, and without the others."""
    holder, _, method = name.rpartition(".")
    body = []
    for node in parsed.body:
        if isinstance(node, ast.ClassDef) and node.name == holder:
            body += [each for each in node.body if not _is_test(each) or each.name == method]
        elif not _is_test(node) or node.name == name:
            body.append(node)
    return ast.Module(body, [])


def _is_test(node: ast.stmt) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")


def _is_case(base: ast.expr) -> bool:
    """unittest's TestCase, IsolatedAsyncioTestCase."""
    return _dotted(base).endswith("TestCase")


def is_constant(node: ast.stmt) -> bool:
    """`assert True, ...` says nothing of a program."""
    return isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant)


def _is_idle(node: ast.stmt) -> bool:
    """Nothing that a test would need: an import, a docstring, METADATA."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or _dotted(getattr(node.value, "func", None)) == "print"
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name) and target.id == "METADATA" for target in node.targets)
    return isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)


def _is_foreign(name: str) -> bool:
    return not hasattr(builtins, name)


def _dotted(node: ast.expr | None) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotLifted
    return value
