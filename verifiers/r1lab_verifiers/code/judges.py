"""Finds tests whose outcome a function of the program's decides: `assert close(area(2), 12)` with `close` left to it.

Such a test is given the answer to compare with by nobody but the program. `assert decode(encode(x)) == x` is none: the
comparison is the tests' own. Reads syntax trees only; follows values through variables, helpers and loops.
"""

import ast
from collections.abc import Iterator

NAMED_AS_JUDGE = ("assert", "check", "verify", "expect", "ensure", "test", "fail", "raises")
"""How the name of a function begins whose bare call is meant to fail."""
GIVING_ON = (
    "all any bool int float sum list tuple set min max len map filter sorted next iter abs enumerate zip reversed"
)
PASSING = frozenset(GIVING_ON.split())
"""Built-in functions that give a decision on."""
DECIDING = ("assertTrue", "assertFalse", "assert_", "failUnless", "failIf", "assertIsNotNone", "assertIsNone")


def judge(tree: ast.AST, free: set[str], modules: tuple[str, ...] = ()) -> str | None:
    """A function left to the program that decides what another of its functions gave; None: there is none.

    free: names left to the program; modules: names of modules that are the program.
    """
    return _Flow(tree, free, modules).judge()


class _Flow:
    """Where the values of the program's functions go in one text."""

    def __init__(self, tree: ast.AST, free: set[str], modules: tuple[str, ...]):
        self.tree, self.free = tree, free
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
        self.modules = {alias.asname or alias.name for node in imports for alias in node.names if alias.name in modules}
        self.parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self.outputs: dict[str, set[str]] = {}
        self._follow_variables()

    def judge(self) -> str | None:
        for node in ast.walk(self.tree):
            name = self._called(node) if isinstance(node, ast.Call) else None
            if name is not None and isinstance(node, ast.Call):
                given = [
                    each for each in (*node.args, *(each.value for each in node.keywords)) if each is not node.func
                ]
                is_given = bool(set().union(*map(self.functions, given)) - {name})
                if is_given and self.decides(node, set()):
                    return name
                if self._is_judge_by_name(node, name) and (is_given or isinstance(self.parents[node], ast.withitem)):
                    return name
        return None

    def _called(self, call: ast.Call) -> str | None:
        is_map = isinstance(call.func, ast.Name) and call.func.id in ("map", "filter") and len(call.args) > 1
        return self.name(call.args[0] if is_map else call.func)

    def name(self, function: ast.expr) -> str | None:
        """The name of a function of the program's, or of a method of an object that it made."""
        if isinstance(function, ast.Name):
            return function.id if function.id in self.free else None
        if not isinstance(function, ast.Attribute):
            return None
        if isinstance(function.value, ast.Name) and function.value.id in self.modules:
            return function.attr
        made = [each for each in ast.walk(function.value) if isinstance(each, ast.Name)]
        is_theirs = any(each.id in self.free or _is_class_in(self.outputs.get(each.id, ())) for each in made)
        return function.attr if is_theirs and not self._is_plain(function.value) else None

    def _is_plain(self, receiver: ast.expr) -> bool:
        """Whether a method is one of a function's value, not of an object of a class."""
        called = [self.name(each.func) for each in ast.walk(receiver) if isinstance(each, ast.Call)]
        return bool(called) and not any(_is_class(name) for name in called if name)

    def functions(self, node: ast.AST) -> set[str]:
        """Functions of the program's that had a part in a value; those with a capital letter make objects."""
        found = set()
        for each in ast.walk(node):
            if isinstance(each, ast.Call) and (name := self.name(each.func)) and not _is_class(name):
                found.add(name)
            if isinstance(each, ast.Name):
                found |= {name for name in self.outputs.get(each.id, ()) if not _is_class(name)}
                if each.id in self.free and not _is_class(each.id) and not self._is_called(each):
                    found.add(each.id)  # handed to map, or to another function
        return found

    def _is_called(self, node: ast.AST) -> bool:
        parent = self.parents.get(node)
        return isinstance(parent, ast.Call) and parent.func is node

    def _follow_variables(self) -> None:
        for _ in range(4):  # a value may go through a few variables in any order
            for target, value in (*self._bindings(), *self._parameters()):
                called = {name for each in ast.walk(value) if isinstance(each, ast.Call)
                          if (name := self.name(each.func)) and _is_class(name)}  # fmt: skip
                for each in ast.walk(target):
                    if isinstance(each, ast.Name):
                        self.outputs.setdefault(each.id, set()).update(self.functions(value) | called)

    def _parameters(self) -> Iterator[tuple[ast.AST, ast.AST]]:
        """What functions of the tests' own are called with."""
        defined = {node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)}
        for call in ast.walk(self.tree):
            if isinstance(call, ast.Call):
                is_lambda = isinstance(call.func, ast.Lambda)
                function = call.func if is_lambda else defined.get(getattr(call.func, "id", ""))
                if isinstance(function, ast.Lambda | ast.FunctionDef):
                    names = [ast.Name(each.arg) for each in (*function.args.args, *function.args.kwonlyargs)]
                    yield from zip(names, call.args)
                    yield from ((ast.Name(str(each.arg)), each.value) for each in call.keywords)

    def _bindings(self) -> Iterator[tuple[ast.AST, ast.AST]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign):
                yield from ((target, node.value) for target in node.targets)
            elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value is not None:
                yield node.target, node.value
            elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
                yield node.target, node.iter
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ADDING:
                yield from ((node.func.value, each) for each in node.args)

    def decides(self, node: ast.AST, seen: set[ast.AST]) -> bool:
        """Whether a value reaches an assertion without being compared with anything that the tests expect."""
        parent = self.parents.get(node)
        if parent is None or node in seen:
            return False
        seen.add(node)
        if isinstance(parent, ast.Assert | ast.If | ast.While):
            return node is parent.test
        if isinstance(parent, ast.comprehension) and node in parent.ifs:
            return True
        if isinstance(parent, ast.Lambda):
            call = self.parents.get(parent)
            return isinstance(call, ast.Call) and self.decides(call if call.func is parent else parent, seen)
        if isinstance(parent, ast.Compare):
            others = [each for each in (parent.left, *parent.comparators) if each is not node]
            return all(map(self._says_nothing, others)) and self.decides(parent, seen)
        if isinstance(parent, ast.Call) and node is not parent.func:
            return self._decides_in_call(node, parent, seen)
        if isinstance(parent, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For):
            targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
            return self._decides_as(targets, seen) and (not isinstance(parent, ast.For) or node is parent.iter)
        if isinstance(parent, ast.NamedExpr):
            return self.decides(parent, seen) or self._decides_as([parent.target], seen)
        if isinstance(parent, ast.Return):
            return self._decides_as_result(parent, seen)
        is_carried = isinstance(parent, ast.expr | ast.comprehension | ast.keyword) and not isinstance(parent, ast.Call)
        return is_carried and self.decides(parent, seen)

    def _decides_in_call(self, node: ast.AST, call: ast.Call, seen: set[ast.AST]) -> bool:
        function = ast.unparse(call.func).rpartition(".")[2]
        if isinstance(call.func, ast.Attribute) and function in ADDING:
            return self._decides_as([call.func.value], seen)
        if function in DECIDING:
            return True
        if function.startswith("assert"):
            return all(self._says_nothing(each) for each in call.args if each is not node)
        return function in PASSING and self.decides(call, seen)

    def _decides_as(self, targets: list, seen: set[ast.AST]) -> bool:
        """As the value of variables: where one use of it compares it, nothing is left to the program."""
        names = {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
        uses = [each for each in ast.walk(self.tree)
                if isinstance(each, ast.Name) and each.id in names and isinstance(each.ctx, ast.Load)]  # fmt: skip
        return any(self.decides(each, seen) for each in uses) and not any(map(self._is_compared, uses))

    def _is_compared(self, use: ast.Name) -> bool:
        parent = self.parents.get(use)
        if not isinstance(parent, ast.Compare):
            return False
        return not all(self._says_nothing(each) for each in (parent.left, *parent.comparators) if each is not use)

    def _decides_as_result(self, node: ast.AST, seen: set[ast.AST]) -> bool:
        """As what a helper of the tests' own returns."""
        while node in self.parents and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node = self.parents[node]
        name = getattr(node, "name", None)
        calls = [each for each in ast.walk(self.tree) if isinstance(each, ast.Call) and ast.unparse(each.func) == name]
        return any(self.decides(each, seen) for each in calls)

    def _says_nothing(self, other: ast.expr) -> bool:
        """A truth value, nothing at all, or the program's own word."""
        if isinstance(other, ast.Constant):
            return other.value in (True, False, None)  # 1 and 0 as well
        if isinstance(other, ast.List | ast.Tuple | ast.Set):
            return all(map(self._says_nothing, other.elts))
        if isinstance(other, ast.UnaryOp | ast.BinOp | ast.ListComp):
            parts = [each for each in ast.walk(other) if isinstance(each, ast.Constant)]
            return bool(parts) and all(map(self._says_nothing, parts))
        return isinstance(other, ast.Call) and self.name(other.func) is not None

    def _is_judge_by_name(self, call: ast.Call, name: str) -> bool:
        parent = self.parents.get(call)
        is_bare = isinstance(parent, ast.Expr | ast.withitem)
        return is_bare and isinstance(call.func, ast.Name) and name.lower().startswith(NAMED_AS_JUDGE)


ADDING = ("append", "add", "extend", "insert", "appendleft", "update")
"""Methods that put a value into what they are called of."""


def _is_class(name: str) -> bool:
    return name.lstrip("_")[:1].isupper()


def _is_class_in(names: set[str] | tuple) -> bool:
    return any(map(_is_class, names))
