"""What the tests' jail is given of a program: the names that the tests leave to it, and what they take them for.

The tests' own text decides; what a program declares fills in the rest and breaks nothing. Names that the tests define
or import from elsewhere are theirs.
"""

import ast
import builtins

from r1lab_verifiers.code import assertions
from r1lab_verifiers.code.plan import ProgramTests


def names(problem_tests: ProgramTests, ready: dict[str, str]) -> dict[str, str]:
    """{name: class, function, value, or exception and its bases}; ready: what the program declares."""
    extra, entry = problem_tests.extra, problem_tests.extra.get("entry")
    if extra["style"] == "check":
        kinds = {problem_tests.entry: ready.get(problem_tests.entry, "function")}
        return {
            name: "class" if kind == "class" and _is_class_name(name) else "function" for name, kind in kinds.items()
        }
    texts = [problem_tests.source, *(extra["tests"] if extra["style"] == "statements" else ())]
    parsed = [ast.parse(text) for text in texts]
    modules = ("solution", *extra.get("modules", ()))
    needed = assertions.unbound_names(*texts) - extra.get("modules_read", {}).keys() | ({entry} if entry else set())
    taken = needed | assertions.imported_names(parsed, modules)
    theirs = assertions.own_names(parsed, modules) | extra.get("modules_read", {}).keys()
    used = {name for name in assertions.mentioned_names(parsed) | {problem_tests.entry} if not hasattr(builtins, name)}
    raised = assertions.raised_names(parsed)
    found = dict.fromkeys(needed, "function")
    for name, kind in ready.items():
        if name in (taken if kind == "value" else taken | used - theirs):
            found[name] = kind
    return {name: _kind(name, kind, name in raised) for name, kind in found.items() if name.isidentifier()}


def _kind(name: str, kind: str, is_raised: bool) -> str:
    is_exception = "builtins.Exception" in kind.split()
    if is_raised:
        return f"exception {kind}" if is_exception else "exception"
    is_class = kind == "class" or is_exception
    return "class" if is_class and _is_class_name(name) else kind if kind == "value" else "function"


def _is_class_name(name: str) -> bool:
    """What tests use as a class begins with a capital letter; other names are functions, whatever a program makes."""
    return name.lstrip("_")[:1].isupper()
