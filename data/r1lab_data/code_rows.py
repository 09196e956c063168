"""Code datasets whose rows are read whole: `answer_format: mbpp` and the like. Prompt, tests, demonstration and id.

Not the tests' forms themselves (`r1lab_data.programs`). `columns` may still name another prompt, solution or id.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from r1lab_data import programs
from r1lab_data.programs import BadRow

PYTHON_OF_CODECONTESTS = {"PYTHON3", "3"}


@dataclass(frozen=True)
class RowFormat:
    """How a dataset's rows are read; each function raises BadRow."""

    prompt: Callable[[Mapping], str]
    tests: Callable[[Mapping], dict]
    """In one of the plain forms of the verifier `code`."""
    solution: Callable[[Mapping], str | None]
    """A program, not yet in its fence."""
    reads: tuple[str, ...]
    """Columns that are used up; the others go to `meta`."""
    id: str = "task_id"
    """The column of ids, where the table has it."""

    def answer(self, row: Mapping) -> dict:
        made = programs.guarded(self.tests, row)
        if not (made.get("inputs") or made.get("test_list") or made.get("test")):
            raise BadRow("the row has no tests")
        return made

    def demonstration(self, row: Mapping) -> str | None:
        """What a good completion looks like, or None."""
        source = programs.guarded(self.solution, row)
        return fenced(source) if source and source.strip() else None


def fenced(source: str) -> str:
    return "```python\n" + source.replace("\r\n", "\n").strip("\n") + "\n```"


def _text(row: Mapping, *names: str) -> str:
    """The first of these columns that holds a text."""
    found = next((row[name] for name in names if isinstance(row.get(name), str) and row[name].strip()), None)
    if found is None:
        raise BadRow(f"no text in column {' or '.join(names)}; there are: {', '.join(map(str, row))}")
    return found.replace("\r\n", "\n")


def _first(value: Any) -> str | None:
    """The first of several solutions, which may stand in JSON."""
    several = json.loads(value) if isinstance(value, str) and value.strip() else value
    return several[0] if several else None


def _mbpp_prompt(row: Mapping) -> str:
    """The tests stand in it: they alone name the function."""
    tests = "\n".join(map(str, row.get("test_list") or ()))
    return f"{_text(row, 'text', 'prompt')}\nYour code should pass these tests:\n{tests}"


def _humaneval_solution(row: Mapping) -> str:
    return _text(row, "prompt") + _text(row, "canonical_solution")


def _with_starter(*names: str) -> Callable[[Mapping], str]:
    def prompt(row: Mapping) -> str:
        starter = (row.get("starter_code") or "").strip("\n")
        return _text(row, *names) + (f"\n\nStart from:\n{fenced(starter)}" if starter.strip() else "")

    return prompt


def _codeforces_prompt(row: Mapping) -> str:
    parts = [_text(row, "description")]
    for title, name in (("Input", "input_format"), ("Output", "output_format"), ("Note", "note")):
        parts += [f"{title}\n{row[name]}"] if row.get(name) else []
    for example in row.get("examples") or ():
        parts.append(f"Example input\n{example['input'].strip()}\nExample output\n{example['output'].strip()}")
    return "\n\n".join(parts)


def _codecontests_solution(row: Mapping) -> str | None:
    told = row.get("solutions") or {}
    pairs = zip(told.get("language", ()), told.get("solution", ()))
    return next((source for language, source in pairs if str(language) in PYTHON_OF_CODECONTESTS), None)


_PACKED = ("input_output", "starter_code", "solutions")
ROW_FORMATS: dict[str, RowFormat] = {
    "humaneval": RowFormat(
        lambda row: _text(row, "prompt"), programs.humaneval, _humaneval_solution,
        ("prompt", "test", "entry_point", "canonical_solution", "base_input", "plus_input", "atol"),
    ),
    "mbpp": RowFormat(
        _mbpp_prompt, programs.mbpp, lambda row: row.get("code"),
        ("text", "prompt", "code", "test_list", "test_setup_code", "test_imports", "challenge_test_list", "test"),
    ),
    "apps": RowFormat(
        _with_starter("question"), programs.apps, lambda row: _first(row.get("solutions")), ("question", *_PACKED),
        id="problem_id",
    ),
    "livecodebench": RowFormat(
        _with_starter("question_content"), programs.livecodebench, lambda row: None,
        ("question_content", "starter_code", "public_test_cases", "private_test_cases", "metadata"), id="question_id",
    ),
    "codeforces": RowFormat(
        _codeforces_prompt, programs.codeforces, lambda row: None,
        ("description", "input_format", "output_format", "note", "examples", "official_tests", "generated_checker"),
        id="id",
    ),
    "codecontests": RowFormat(
        lambda row: _text(row, "description"), programs.codecontests, _codecontests_solution,
        ("description", "solutions", "incorrect_solutions", *programs.LEFT_TO_RIGHT), id="name",
    ),
    "kodcode": RowFormat(
        lambda row: _text(row, "question"), programs.kodcode, lambda row: row.get("solution"),
        ("question", "solution", "test"), id="question_id",
    ),
}  # fmt: skip
"""`answer_format` -> how its rows are read."""
ROW_FORMATS["taco"] = ROW_FORMATS["apps"]
