"""Reads a problem's tests from its gold answer, in one of three forms. Runs nothing.

- texts:  inputs for standard input, outputs to be printed
- calls:  a function's name, lists of arguments, values (also assertions that could be lifted)
- tests:  test code that runs in a jail of its own
"""

import ast
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from r1lab_data import programs
from r1lab_verifiers.code import assertions, compare, judges, lift, program
from r1lab_verifiers.code.lift import LiftedCall, NotLifted

PROGRAM_MODULES = ("solution", "main", "my_module", "your_module", "module", "program")
"""Names under which tests import the program."""


class BadTests(ValueError):
    """Tests that cannot be run; the text says what is wrong with them. Ours, never the program's."""


@dataclass(frozen=True)
class ProgramTests:
    """A problem's tests: what to run, and what to compare the outputs with. One of texts, calls and source is given."""

    num_tests: int
    rule: compare.Rule = field(default_factory=compare.Rule)
    texts: tuple[tuple[str, str], ...] = ()
    """(standard input, expected output)"""
    calls: tuple[LiftedCall, ...] = ()
    source: str = ""
    """Test code."""
    extra: dict = field(default_factory=dict)
    """What `r1lab_sandbox.inside.testing.run_tests` needs besides: style, entry, tests."""
    checker: str | None = None
    """Source of a program that judges outputs, see `r1lab_verifiers.code.run`."""
    reference: str | None = None
    """Source of a program whose values are the expected ones of `calls`."""
    entry: str = ""
    """The function that the program has to define, where the tests name one."""
    prompt: str | None = None
    """What the program continues, where it does."""
    time_limit: float | None = None
    memory_mb: int | None = None
    can_unwrap: bool = False
    """APPS writes some values as a list of one."""
    has_header: bool = False
    """Whether a program may use names that the dataset's own grader defines before it: `List`, `deque`, `math`."""

    @property
    def header(self) -> dict:
        """What a run needs to know of them: `r1lab_sandbox.inside.header_names`."""
        return {"has_header": True} if self.has_header else {}


def read_tests(answer: object, *, prompt: object = None, float_tol: float | None = None) -> ProgramTests:
    """The tests that an answer gives; raises BadTests. prompt: the problem's, where the answer does not hold it."""
    try:
        answer = programs.plain_form(_mapping(answer))
        if prompt:
            answer.setdefault("prompt", program.code_in_prompt(prompt))
        rule = compare.Rule(
            float_tol=_positive(answer.get("float_tol"), "float_tol") or float_tol,
            unordered=bool(answer.get("unordered")),
            is_json="fn_name" in answer,
            is_decimal=bool(answer.get("decimal")),
        )
        problem_tests = _read(answer, rule)
    except BadTests:
        raise
    except programs.BadRow as error:
        raise BadTests(str(error)) from error
    except SyntaxError as error:
        raise BadTests(f"a test does not parse: {error.msg} (line {error.lineno})") from error
    except (RecursionError, MemoryError, ValueError) as error:
        raise BadTests(f"tests that cannot be read: {type(error).__name__}: {error}") from error
    if not problem_tests.num_tests:
        raise BadTests("no tests")
    return problem_tests


def _read(answer: dict, rule: compare.Rule) -> ProgramTests:
    limits = {"time_limit": _positive(answer.get("time_limit"), "time_limit"),
              "memory_mb": _positive(answer.get("memory_mb"), "memory_mb")}  # fmt: skip
    if "reference" in answer:
        outputs = [None] * len(answer["inputs"])
        problem_tests = _listed({**answer, "outputs": outputs}, rule, limits)
        return replace(problem_tests, reference=_program(answer["reference"]), prompt=answer.get("prompt"))
    if "inputs" in answer or "outputs" in answer:
        return _listed(answer, rule, limits)
    if "test_list" in answer:
        return _statements(answer, rule, limits)
    if "test" in answer:
        return _test_code(answer, rule, limits)
    known = "inputs and outputs, test, test_list"
    raise BadTests(f"the answer has none of {known}; it has {', '.join(map(str, answer)) or 'nothing'}")


def _listed(answer: dict, rule: compare.Rule, limits: dict) -> ProgramTests:
    inputs, outputs = answer.get("inputs"), answer.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        count = [len(each) if isinstance(each, list) else type(each).__name__ for each in (inputs, outputs)]
        raise BadTests(f"inputs and outputs must be lists of the same length, not {count[0]} and {count[1]}")
    checker = answer.get("checker")
    if checker is not None:
        _program(checker)
    name = answer.get("fn_name")
    if name and checker is not None:
        raise BadTests("a checker judges what is printed; with fn_name, values are compared: give one of the two")
    if not name:
        texts = tuple((_text(given), _text(expected)) for given, expected in zip(inputs, outputs))
        has_header = bool(answer.get("has_header"))
        return ProgramTests(len(texts), rule, texts=texts, checker=checker, has_header=has_header, **limits)
    if not isinstance(name, str) or not name.isidentifier():
        raise BadTests(f"fn_name {name!r} is no name of a function")
    for number, arguments in enumerate(inputs):
        if not isinstance(arguments, list):
            raise BadTests(f"inputs[{number}] is {str(arguments)[:60]!r}: give the list of arguments")
    calls = tuple(
        LiftedCall(number, name, list(arguments), {}, compare.EQUAL, expected)
        for number, (arguments, expected) in enumerate(zip(inputs, outputs))
    )
    wrapped = bool(answer.get("wrapped_outputs"))
    has_header = "reference" not in answer  # LeetCode's form, whoever wrote the row
    return ProgramTests(len(calls), rule, calls=calls, entry=name, can_unwrap=wrapped, has_header=has_header, **limits)


def _program(source: object) -> str:
    """A program of the problem's own: the text, which must parse."""
    if not isinstance(source, str):
        raise BadTests(f"a {type(source).__name__} where the source of a program is needed")
    ast.parse(source)
    return source


def _statements(answer: dict, rule: compare.Rule, limits: dict) -> ProgramTests:
    tests = answer["test_list"]
    if not isinstance(tests, list) or not all(isinstance(test, str) and test.strip() for test in tests):
        raise BadTests("test_list must be a list of texts, each a test")
    setup = answer.get("setup") or ""
    for text in (setup, *tests):
        ast.parse(text)
    try:
        if setup.strip() and any(not isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(setup).body):
            raise NotLifted
        lifted = lift.lift_statements(tests)
        return ProgramTests(lifted.num_tests, rule, calls=lifted.calls, **limits)
    except NotLifted:
        _check_statements(tests, setup)
        extra = {"style": "statements", "tests": list(tests), "entry": None, "setup_after": "setup_after" in answer,
                 "modules_read": assertions.modules_read(setup, *tests)}  # fmt: skip
        return ProgramTests(len(tests), rule, source=setup, extra=extra, **limits)


def _check_statements(tests: list[str], setup: str) -> None:
    """That each asserts something, and that none leaves it to the program to say whether it is right."""
    free = assertions.unbound_names(setup, *tests) - assertions.modules_read(setup, *tests).keys()
    free |= assertions.local_names([ast.parse(text) for text in (setup, *tests)], PROGRAM_MODULES)
    for number, text in enumerate(tests):
        decides = judges.judge(ast.parse(f"{setup}\n{text}"), free, PROGRAM_MODULES)
        if decides:
            raise BadTests(
                f"test {number} is decided by {decides!r}, which the program would define: put it in the setup"
            )
        if not assertions.asserts_something(ast.parse(text), ast.parse(setup), free=free):
            raise BadTests(f"test {number} asserts nothing")


def _test_code(answer: dict, rule: compare.Rule, limits: dict) -> ProgramTests:
    source, entry = answer["test"], answer.get("entry_point")
    if not isinstance(source, str) or not source.strip():
        raise BadTests("test must be a text of Python")
    parsed = ast.parse(source)
    prompt = answer.get("prompt")
    if entry and any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in parsed.body):
        return _check(source, entry, prompt, rule, limits)
    names = lift.collected_names(source)
    if not names:
        if any(isinstance(node, ast.Assert) for node in parsed.body):
            return _module_of_asserts(source, parsed, rule, limits)
        if any(assertions.runs_an_assertion(node, parsed) for node in parsed.body):
            return _statements({"test_list": [source], "setup_after": True}, rule, limits)
        raise BadTests("the test defines no check(candidate), no function named test_..., and asserts nothing")
    modules = _modules(parsed)
    is_importing = any(isinstance(node, ast.ImportFrom | ast.Import) and _module(node) in ("solution", *modules)
                       and node.names[0].name != "*" for node in ast.walk(parsed))  # fmt: skip
    if is_importing:
        _check_names(source)
    try:
        lifted = lift.lift_test_functions(source)
        return ProgramTests(lifted.num_tests, rule, calls=lifted.calls, entry=entry or "", prompt=prompt, **limits)
    except NotLifted:
        names = _telling_names(parsed, names)
        extra = {"style": "pytest", "tests": names, "entry": entry, "modules": modules, "is_importing": is_importing,
                 "modules_read": assertions.modules_read(source)}  # fmt: skip
        return ProgramTests(len(names), rule, source=source, extra=extra, entry=entry or "", prompt=prompt, **limits)


def _telling_names(parsed: ast.Module, names: list[str]) -> list[str]:
    """Tests without those that the program would decide itself; where none is left, the tests are broken."""
    text = ast.unparse(parsed)
    free = assertions.local_names([parsed], PROGRAM_MODULES)
    free |= assertions.unbound_names(text) - assertions.modules_read(text).keys()
    decided = {name: judges.judge(lift.alone(parsed, name), free, PROGRAM_MODULES) for name in names}
    left = [name for name in names if decided[name] is None]
    if not left:
        raise BadTests(f"{names[0]} is decided by {decided[names[0]]!r}, which the program would define")
    return left


def _check(source: str, entry: str, prompt: str | None, rule: compare.Rule, limits: dict) -> ProgramTests:
    try:
        lifted = lift.lift_check_function(source, entry)
        return ProgramTests(lifted.num_tests, rule, calls=lifted.calls, entry=entry, prompt=prompt, **limits)
    except NotLifted:
        extra = {"style": "check", "tests": ["check"], "entry": entry}
        source = f"{programs.other_functions(prompt or '', entry)}\n\n{source}"
        if not assertions.asserts_something(ast.parse(source)):
            raise BadTests("check(candidate) asserts nothing") from None
        _check_names(source, entry)
        return ProgramTests(1, rule, source=source, extra=extra, entry=entry, prompt=prompt, **limits)


def _module_of_asserts(source: str, parsed: ast.Module, rule: compare.Rule, limits: dict) -> ProgramTests:
    """A text of assertions: each is a test, the rest their setup."""
    tests = [ast.unparse(node) for node in parsed.body if isinstance(node, ast.Assert)]
    setup = "\n".join(ast.unparse(node) for node in parsed.body if not isinstance(node, ast.Assert))
    return _statements({"test_list": tests, "setup": setup, "setup_after": True}, rule, limits)


def _check_names(source: str, *given: str) -> None:
    """That the tests bring along what they use: a program could define it to its advantage."""
    missing = sorted(assertions.unbound_names(source) - set(given))
    if missing:
        raise BadTests(f"the test uses {missing[0]!r}, which neither it nor the prompt defines")


def _module(node: ast.ImportFrom | ast.Import) -> str:
    return (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name


def _modules(parsed: ast.Module) -> list[str]:
    """Modules that tests import and that must be the program: solution, or whatever else is nowhere to be found."""
    return [node.module for node in ast.walk(parsed) if isinstance(node, ast.ImportFrom) and node.module
            and node.module in PROGRAM_MODULES[1:]]  # fmt: skip


def telling_order(problem_tests: ProgramTests) -> list[int]:
    """Tests in the order in which a wrong program is likely to fail soonest: rare and long outputs first."""
    if problem_tests.texts:
        expected = [text for _, text in problem_tests.texts]
    elif problem_tests.num_tests == len(problem_tests.calls):
        expected = [repr(call.expected)[:1000] for call in problem_tests.calls]
    else:
        return list(range(problem_tests.num_tests))
    count = Counter(expected)
    return sorted(range(len(expected)), key=lambda test: (count[expected[test]], -len(expected[test]), test))


def _mapping(answer: object) -> Mapping:
    if isinstance(answer, str):
        stripped = answer.strip()
        answer = json.loads(stripped) if stripped.startswith(("{", "[")) else {"test": answer}
    if isinstance(answer, list):
        answer = {"test_list": answer}
    if not isinstance(answer, Mapping):
        raise BadTests(f"the answer is {type(answer).__name__}; give a mapping such as {{inputs, outputs}}")
    return answer


def _text(value: object) -> str:
    """Standard input and output as text; APPS gives some as lists of lines."""
    if isinstance(value, list):
        return "\n".join(_text(each) for each in value)
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return str(value)
    raise BadTests(f"{str(value)[:60]!r} is no text for standard input or output")


def _positive(value: Any, name: str) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
        raise BadTests(f"{name} {value!r}: give a number above 0")
    return value
