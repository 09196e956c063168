"""Static checks of test code: whether it asserts anything, and which names it leaves to the program to define.

Reads syntax trees only, runs nothing, knows no program.
"""

import ast
import builtins
import sys
from collections.abc import Iterator

TELLING = ("assert", "fail", "raises")
"""How names begin that stand for an assertion: unittest's, numpy's, pytest's."""
ABBREVIATED = {"np": "numpy", "numpy": "numpy", "pytest": "pytest"}
RAISES = ("raises", "assertRaises", "assertRaisesRegex")


def asserts_something(*nodes: ast.AST, free: set[str] | frozenset = frozenset()) -> bool:
    """Whether something in there can fail a program; free: names left to the program, which fail nothing."""
    return any(_is_assertion(node, free) for root in nodes for node in ast.walk(root))


def _is_assertion(node: ast.AST, free: set[str] | frozenset) -> bool:
    if isinstance(node, ast.Assert):
        return not isinstance(node.test, ast.Constant) or not node.test.value
    name = (
        ""
        if isinstance(node, ast.Name) and node.id in free
        else node.id
        if isinstance(node, ast.Name)
        else node.attr
        if isinstance(node, ast.Attribute)
        else ""
    )
    return isinstance(node, ast.Raise) or name.startswith(TELLING)


def runs_an_assertion(node: ast.stmt, parsed: ast.Module) -> bool:
    """Whether a statement of a module runs an assertion when the module is run, so not as the main program."""
    if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
        return False
    if not isinstance(node, ast.For | ast.While | ast.With | ast.If | ast.Try | ast.Expr):
        return False
    defined = {each.name for each in parsed.body if isinstance(each, ast.FunctionDef | ast.ClassDef)}
    return asserts_something(node) or any(isinstance(each, ast.Name) and each.id in defined for each in ast.walk(node))


def unbound_names(*texts: str) -> set[str]:
    """Names that are read and nowhere bound, built-ins aside; none where it cannot be said what an import brings."""
    read, bound = set(), set(dir(builtins)) | {"__name__", "__file__"}
    for node in (node for text in texts for node in ast.walk(ast.parse(text))):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*" and _is_standard(node.module):
            if node.module not in sys.modules:
                return set()
            bound |= vars(sys.modules[node.module]).keys()
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            bound.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            bound.add(node.rest)
    return read - bound


def modules_read(*texts: str) -> dict[str, str]:
    """{name: module} of Python's own modules that tests use without importing them: theirs, not the program's."""
    free, nodes = unbound_names(*texts), [*_nodes([ast.parse(text) for text in texts])]
    holders = {node.value.id for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)}
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    found = {name: ABBREVIATED.get(name, name) for name in free & holders - called}
    return {name: module for name, module in found.items() if _is_standard(module) or name in ABBREVIATED}


def imported_names(parsed: list[ast.Module], modules: tuple[str, ...]) -> set[str]:
    """Names that tests take from the program by name, which may be a built-in's."""
    return {alias.name for node in _nodes(parsed) if isinstance(node, ast.ImportFrom) and node.module in modules
            for alias in node.names if alias.name != "*"}  # fmt: skip


def local_names(parsed: list[ast.Module], modules: tuple[str, ...]) -> set[str]:
    """What tests call the names that they take from the program."""
    return {alias.asname or alias.name for node in _nodes(parsed)
            if isinstance(node, ast.ImportFrom) and node.module in modules for alias in node.names}  # fmt: skip


def own_names(parsed: list[ast.Module], modules: tuple[str, ...]) -> set[str]:
    """Names that tests import from elsewhere or define: no program takes their place."""
    found = set()
    for node in _nodes(parsed):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module not in modules):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return found - imported_names(parsed, modules)


def mentioned_names(parsed: list[ast.Module]) -> set[str]:
    """Every name and attribute: nothing else of a program is put before its tests."""
    return {node.id if isinstance(node, ast.Name) else node.attr for node in _nodes(parsed)
            if isinstance(node, ast.Name | ast.Attribute)}  # fmt: skip


def raised_names(parsed: list[ast.Module]) -> set[str]:
    """Names that stand where an exception does: in `raises(...)`, behind `except` and `raise`."""
    found: list[ast.expr | None] = []
    for node in _nodes(parsed):
        if isinstance(node, ast.ExceptHandler):
            found.append(node.type)
        elif isinstance(node, ast.Raise):
            found.append(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)
        elif isinstance(node, ast.Call) and node.args and ast.unparse(node.func).rpartition(".")[2] in RAISES:
            found.append(node.args[0])
    parts = [part for each in found if each is not None for part in getattr(each, "elts", [each])]
    return {part.id if isinstance(part, ast.Name) else part.attr for part in parts
            if isinstance(part, ast.Name | ast.Attribute)}  # fmt: skip


def _nodes(parsed: list[ast.Module]) -> Iterator[ast.AST]:
    return (node for tree in parsed for node in ast.walk(tree))


def _is_standard(module: str | None) -> bool:
    return (module or "").split(".")[0] in sys.stdlib_module_names
