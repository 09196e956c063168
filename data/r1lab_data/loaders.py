"""Loading a dataset as problems: the one entrance. Not procedural tasks (`r1lab_data.tasks`), mixtures or leaks."""

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from r1lab_data import labelled
from r1lab_data.code_rows import ROW_FORMATS
from r1lab_data.columns import problems
from r1lab_data.files import read
from r1lab_data.layouts import recognised
from r1lab_data.problem import DataError, Problem
from r1lab_data.rows import Table
from r1lab_data.split import distinct as distinct_of
from r1lab_data.split import part as part_of


def load(
    path: str,
    *,
    source: str,
    split: str = "train",
    config: str | None = None,
    columns: Mapping[str, str | Mapping[str, str]] = {},
    answer_format: str = "plain",
    verifier: str = "",
    where: Mapping[str, object] = {},
    distinct: str = "rows",
    holdout: float | None = None,
    part: str = "rest",
    holdout_by: str = "template",
    limit: int | None = None,
    base: Path | None = None,
    demonstrates: bool = False,
    is_whole: bool = False,
    is_labelled: bool = False,
    needs_answer: bool = True,
    bad_rows: list[str] | None = None,
) -> list[Problem]:
    r"""The problems of a hub id, a local file or folder, or a URL.

    source: name in the recipe; ids are `<source>/<row>`, rows counted from 0, or `<source>/<the column named by id>`.
    split: of a hub dataset or a folder; a single file is its own split.
    columns, answer_format: see `r1lab_data.columns` and `r1lab_data.answers`. A missing key of `columns` is the column
    of that name for prompt and answer, none for solution and id (with `hash` and `boxed` the whole answer column is the
    solution); what datasets of TRL and verl call them is recognised (`r1lab_data.layouts`). where, distinct, holdout,
    holdout_by and part choose among the rows (`r1lab_data.columns`, `r1lab_data.split`).
    limit: the first of what is left. base: where relative paths start (a recipe's folder), before the current folder.
    demonstrates: read for its solutions; an answer, which no verifier will ask for, need not be there. is_whole: `meta`
    holds every column, also those with a role, as it stands, and no column need be the answer. bad_rows: takes a line
    for each row that makes no problem (no answer, no text), which is left out; None: the first ends in a DataError.
    is_labelled: the rows are pairs, or completions or steps with labels (`r1lab_data.labelled`). needs_answer: False
    where no verifier will ask for one, so that prompts alone will do.
    Text stays as it is but for line ends: \r\n and \r are \n in prompts, solutions and text answers, not in `meta`.
    DataError: whatever is wrong, in one line with file, row, value, what is allowed and the remedy.
    """
    if limit is not None and limit < 1:
        raise DataError(f"source {source}: limit {limit} leaves no rows; give a number from 1 on, or leave it out")
    chooses = bool(where) or distinct != "rows" or holdout is not None or bad_rows is not None
    table = read(path, split=split, config=config, base=base, limit=None if chooses else limit)
    if is_labelled:
        made = labelled.problems(table, columns, source=source, where=where, bad_rows=bad_rows)
    else:
        form = {"verifier": verifier, "answer_format": answer_format, "where": where, "bad_rows": bad_rows}
        form["needs_answer"] = needs_answer
        made = _answered(table, columns, source=source, demonstrates=demonstrates, is_whole=is_whole, **form)
    made = distinct_of(made, distinct)
    if holdout is not None:
        made = part_of(made, holdout=holdout, take=part, by=holdout_by)
    return made[:limit]


def _answered(
    table: Table,
    columns: Mapping[str, str | Mapping[str, str]],
    *,
    answer_format: str,
    demonstrates: bool,
    is_whole: bool,
    **form: Any,
) -> list[Problem]:
    """The rows as problems with an answer, layouts of other trainers recognised; `form` is for `problems`."""
    faults: dict[int, str] = {}
    if answer_format not in ROW_FORMATS:
        table, columns, faults = recognised(table, columns, demonstrates=demonstrates, is_whole=is_whole)
        if len(faults) == len(table.rows):
            raise DataError(f"{table.where(0)}: {faults[0]}")
    is_told = "solution" in columns and "answer" not in columns and answer_format == "plain"
    if demonstrates and is_told and not _has_turns(table, columns["solution"]):
        columns = {**columns, "answer": columns["solution"]}
    return problems(table, columns, answer_format=answer_format, is_whole=is_whole, faults=faults, **form)


def _has_turns(table: Table, spec: str | Mapping[str, str]) -> bool:
    """Whether the demonstrations of a table with answers are conversations, which no answer can be read from."""
    first = table.rows[0].get(spec) if table.rows and isinstance(spec, str) else None
    return isinstance(first, list) and all(isinstance(each, dict) for each in first) and "answer" in table.rows[0]


def digest(problems: Iterable[Problem]) -> str:
    """Content hash of the problems in their order, for a manifest. The path they came from does not enter."""
    state = blake2b(digest_size=16)
    for problem in problems:
        state.update(json.dumps(vars(problem), sort_keys=True, default=str).encode() + b"\n")
    return state.hexdigest()
