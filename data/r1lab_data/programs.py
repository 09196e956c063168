"""Rows of code datasets as tests in one plain form. Which column is what stays with `r1lab_data.columns`; runs nothing.

The forms: {inputs, outputs[, fn_name]}; {fn_name, inputs, reference}; {test_list[, setup]};
{entry_point, test[, prompt]}; {test}. `has_header`: the dataset's grader puts imports before a program, which may leave
them out. Sources of the schemas: HumanEval and EvalPlus, MBPP, APPS, TACO, LiveCodeBench, open-r1/codeforces,
CodeContests, KodCode, as on the hub.
"""

import ast
import base64
import io
import json
import pickle
import zlib
from collections.abc import Callable, Mapping
from typing import Any

MAX_UNPACKED = 256 << 20
"""Bytes that packed tests may unfold to."""
LEAST_MB = 256
"""Limits are those of compiled programs; an interpreter needs more."""
EVALPLUS_TOL = 1e-6
"""What EvalPlus itself takes for floats where a row says 0."""
KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
LEFT_TO_RIGHT = ("public_tests", "private_tests", "generated_tests")


class BadRow(ValueError):
    """A row that is not of its schema; the text says where."""


def plain_form(row: Mapping) -> dict:
    """The tests of a row, or of an answer that is in a plain form already. Raises BadRow."""
    return next((guarded(convert, row) for is_it, convert in FORMS if is_it(row)), None) or dict(row)


def guarded(convert: Callable[[Mapping], Any], row: Mapping) -> Any:
    """What a reader of rows makes of this one; raises BadRow, whatever the row holds."""
    try:
        return convert(row)
    except BadRow:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, EOFError, zlib.error, pickle.PickleError) as error:
        raise BadRow(f"not of its schema: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


def apps(row: Mapping) -> dict:
    """APPS and TACO: `input_output` is JSON {inputs, outputs[, fn_name]}."""
    tests = row["input_output"]
    tests = json.loads(tests) if isinstance(tests, str) else dict(tests)
    if not tests.get("fn_name"):
        return {"inputs": list(tests["inputs"]), "outputs": list(tests["outputs"]), "has_header": True}
    inputs = [_arguments(given) for given in tests["inputs"]]
    made = {"fn_name": tests["fn_name"], "inputs": inputs, "outputs": list(tests["outputs"]), "wrapped_outputs": True}
    return made


def _arguments(given: Any) -> list:
    """A list of arguments; some rows give text with one JSON value a line."""
    if isinstance(given, str):
        return [json.loads(line) for line in given.split("\n") if line.strip()]
    return list(given)


def livecodebench(row: Mapping) -> dict:
    """LiveCodeBench: public tests in JSON, private ones packed; `metadata.func_name` where functions are called."""
    tests = [*_parsed(row.get("public_test_cases") or "[]"), *unpacked(row.get("private_test_cases") or "[]")]
    metadata = _parsed(row.get("metadata") or "{}")
    kinds = {test.get("testtype", "stdin") for test in tests}
    if kinds == {"functional"}:
        name = metadata.get("func_name")
        if not name:
            raise BadRow("metadata.func_name is missing, and the tests are functional")
        return {"fn_name": name.split(".")[-1], "inputs": [_arguments(test["input"]) for test in tests],
                "outputs": [json.loads(test["output"]) for test in tests]}  # fmt: skip
    if "functional" in kinds:
        raise BadRow("tests of both kinds, stdin and functional")
    return {"inputs": [test["input"] for test in tests], "outputs": [test["output"] for test in tests],
            "decimal": True, "has_header": True}  # fmt: skip


def unpacked(text: Any) -> list[dict]:
    """Private tests: JSON, or base64 of zlib of a pickle that holds text in JSON and nothing else."""
    if not isinstance(text, str):
        return list(text)
    if text.lstrip().startswith("["):
        return json.loads(text)
    stream = zlib.decompressobj()
    data = stream.decompress(base64.b64decode(text), MAX_UNPACKED)
    if stream.unconsumed_tail:
        raise BadRow(f"private tests unfold to more than {MAX_UNPACKED} bytes")
    if not stream.eof:
        raise BadRow("private tests are cut off")
    value = _TextOnly(io.BytesIO(data)).load()
    return json.loads(value) if isinstance(value, str | bytes) else value


class _TextOnly(pickle.Unpickler):
    """Refuses every class and function: a pickle of plain text, lists and dicts needs none."""

    def find_class(self, module: str, name: str) -> object:
        raise BadRow(f"private tests hold a pickle that calls {module}.{name}; only plain text is read")

    def persistent_load(self, pid: object) -> object:
        raise BadRow("private tests hold a pickle with outside references; only plain text is read")


def codeforces(row: Mapping) -> dict:
    """open-r1/codeforces: `official_tests` and, for problems of many answers, `generated_checker`."""
    if row.get("input_mode") not in (None, "", "stdio"):
        raise BadRow(f"input_mode {row['input_mode']!r}: only stdio is run")
    made = {"inputs": [test["input"] for test in row["official_tests"]],
            "outputs": [test["output"] for test in row["official_tests"]]}  # fmt: skip
    if row.get("generated_checker"):
        made["checker"] = row["generated_checker"]
    return made | _own_limits(row, memory="memory_limit")


def codecontests(row: Mapping) -> dict:
    """CodeContests: three groups of {input: [...], output: [...]}."""
    groups = [row[name] for name in LEFT_TO_RIGHT if row.get(name)]
    inputs = [text for group in groups for text in group["input"]]
    made: dict[str, Any] = {"inputs": inputs, "outputs": [text for group in groups for text in group["output"]]}
    clock = row.get("time_limit")
    if isinstance(clock, Mapping):
        made["time_limit"] = (clock.get("seconds") or 0) + (clock.get("nanos") or 0) / 1e9 or None
    if row.get("memory_limit_bytes"):
        made["memory_mb"] = max(LEAST_MB, row["memory_limit_bytes"] >> 20)
    return made


def humaneval(row: Mapping) -> dict:
    """HumanEval: `test` defines check(candidate). HumanEval+: the same, or inputs without outputs."""
    return evalplus(row) if "plus_input" in row else kodcode(row)


def mbpp(row: Mapping) -> dict:
    """MBPP: `test_list`, setup under one of two names, challenge tests too. MBPP+: `test`, a module; or inputs."""
    if "plus_input" in row:
        return evalplus(row)
    if isinstance(row.get("test"), str) and row["test"].strip():
        return {"test": row["test"]}
    setup = row.get("setup") or row.get("test_setup_code") or row.get("test_imports") or ""
    setup = "\n".join(setup) if isinstance(setup, list | tuple) else setup
    tests = [*row.get("test_list", row.get("tests", ())), *(row.get("challenge_test_list") or ())]
    return {"test_list": tests, "setup": setup.replace("\r\n", "\n"), **_passed(row)}


def evalplus(row: Mapping) -> dict:
    """EvalPlus's own files: inputs without outputs; the reference gives those when it is run in a jail."""
    inputs = [list(given) for given in (*(row.get("base_input") or ()), *(row.get("plus_input") or ()))]
    made = {"fn_name": row["entry_point"], "inputs": inputs, "prompt": row["prompt"],
            "reference": row["prompt"] + row["canonical_solution"]}  # fmt: skip
    return made | {"float_tol": row.get("atol") or EVALPLUS_TOL}


def kodcode(row: Mapping) -> dict:
    """KodCode: `test` is a module of pytest that imports from `solution`."""
    return {"test": row["test"], **_passed(row)}


def _passed(row: Mapping) -> dict:
    names = ("float_tol", "unordered", "time_limit", "memory_mb", "entry_point", "prompt")
    return {name: row[name] for name in names if row.get(name) is not None}


def _own_limits(row: Mapping, memory: str) -> dict:
    """Limits that a problem states itself: seconds, MiB."""
    made = {}
    if row.get("time_limit"):
        made["time_limit"] = float(row["time_limit"])
    if row.get(memory):
        made["memory_mb"] = max(LEAST_MB, int(row[memory]))
    return made


def other_functions(prompt: str, entry: str) -> str:
    """What a prompt imports and defines besides the function asked for; tests must not take it from the program."""
    try:
        parsed = ast.parse(prompt)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    kept = [node for node in parsed.body if isinstance(node, KEPT) and getattr(node, "name", None) != entry]
    return "\n".join(map(ast.unparse, kept))


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


FORMS: tuple[tuple[Callable[[Mapping], bool], Callable[[Mapping], dict]], ...] = (
    (lambda row: "input_output" in row, apps),
    (lambda row: "public_test_cases" in row or "private_test_cases" in row, livecodebench),
    (lambda row: "official_tests" in row, codeforces),
    (lambda row: "public_tests" in row or "generated_tests" in row, codecontests),
    (lambda row: "plus_input" in row, evalplus),
    (lambda row: "test_list" in row or "tests" in row, mbpp),
)
"""How a row is recognised by its columns, and what reads it."""
