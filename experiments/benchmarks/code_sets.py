"""The labelled programs and the references that the code verifier is measured on, as items. Reads R1LAB_SHARED."""

import ast
import json
import os
from dataclasses import dataclass
from pathlib import Path

from r1lab_verifiers import Item

SENTINEL = """

class _Sentinel:
    pass

def _wrapped(function):
    def call(*args, **kwargs):
        function(*args, **kwargs)
        return _Sentinel()
    return call
"""
STATUS = {"error": "crash"}
SHARES = {"always_equal_pytest.py": 1 / 3}
"""Where a label knows no more than a program: a number of a class of its own crosses by what it is, and T(0) is the 0
that one of three tests asks for, whatever its `==` says."""


@dataclass(frozen=True)
class Case:
    """One item and, for labelled programs, what is expected of it."""

    name: str
    item: Item
    is_pass: bool = True
    share: float = 1.0
    status: str | None = None

    def agrees(self, verdict) -> bool:
        if self.status == "either":
            return verdict.status in ("correct", "timeout")
        is_pass = verdict.status == "correct"
        return (
            is_pass == self.is_pass
            and verdict.score is not None
            and abs(verdict.score - self.share) < 1e-6
            and self.status in (None, verdict.status)
        )


def shared() -> Path | None:
    """The folder with data/ and cases/, or None."""
    place = os.environ.get("R1LAB_SHARED")
    return Path(place) if place and Path(place).is_dir() else None


def fenced(source: str) -> str:
    return f"```python\n{source}\n```"


def programs(folder: Path) -> list[Case]:
    """The labelled programs of cases/programs."""
    place = folder / "cases" / "programs"
    manifest = json.loads((place / "manifest.json").read_text())
    answers = {name: answer_of(task) for name, task in manifest["tasks"].items()}
    return [
        Case(
            case["file"],
            Item(fenced((place / case["file"]).read_text()), answers[case["task"]]),
            case["expect"] == "pass",
            SHARES.get(case["file"], case["passed_fraction"]),
            STATUS.get(case["status"], case["status"]),
        )
        for case in manifest["cases"]
    ]


def answer_of(task: dict) -> dict:
    """A task of the manifest in the verifier's own form."""
    if task["kind"] == "assert":
        return {"entry_point": task["entry"], "test": task["test_code"]}
    if task["kind"] == "pytest":
        return {"test": task["test_code"]}
    inputs, outputs = map(list, zip(*task["tests"]))
    named = {"fn_name": task["entry"]} if task["kind"] == "function" else {}
    tolerance = {"float_tol": task["float_tol"]} if "float_tol" in task else {}
    return {"inputs": inputs, "outputs": outputs, **named, **tolerance}


def references(folder: Path, name: str, is_wrapped: bool = False) -> list[Case]:
    """The reference solutions of mbpp or humaneval; wrapped: each entry function returns a fresh sentinel instead."""
    rows = [json.loads(line) for line in (folder / "data" / name / FILES[name]).read_text().splitlines()]
    made = []
    for row in rows:
        source, answer, entries = _mbpp(row) if name == "mbpp" else _humaneval(row)
        if is_wrapped:
            source += SENTINEL + "".join(f"\n{entry} = _wrapped({entry})" for entry in entries)
        made.append(Case(str(row["task_id"]), Item(fenced(source), answer, problem_id=str(row["task_id"]))))
    return made


FILES = {"mbpp": "mbpp.jsonl", "humaneval": "HumanEval.jsonl"}


def _mbpp(row: dict) -> tuple[str, dict, list[str]]:
    source = row["code"].replace("\r\n", "\n")
    used = {node.id for test in row["test_list"] for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)}
    functions = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    answer = {name: row[name] for name in ("test_list", "test_setup_code")}
    return source, answer, [name for name in functions if name in used]


def _humaneval(row: dict) -> tuple[str, dict, list[str]]:
    answer = {name: row[name] for name in ("entry_point", "test", "prompt")}
    return row["prompt"] + row["canonical_solution"], answer, [row["entry_point"]]
