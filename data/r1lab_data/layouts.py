"""Datasets laid out for TRL or verl, read as they are: which of their columns are prompt, answer and solution.

    TRL    prompt, completion (texts or chat messages); messages, whose last one is the completion where it is the
           assistant's
    verl   prompt (chat messages), reward_model.ground_truth

What `columns` says wins. Not their other columns, which travel as all do (`r1lab_data.columns`).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from r1lab_data.cells import Unusable
from r1lab_data.rows import Table, shown

GROUND_TRUTH = "reward_model.ground_truth"
Columns = Mapping[str, str | Mapping[str, str]]


def recognised(
    table: Table, columns: Columns, *, demonstrates: bool, is_whole: bool
) -> tuple[Table, Columns, dict[int, str]]:
    """The table with chat messages parted into prompt and completion, `columns` with what was recognised, and by their
    numbers the rows that are laid out otherwise, with what is wrong.

    demonstrates: the completion is the solution. is_whole: where nothing is the answer, all columns together are.
    """
    known = dict.fromkeys(key for row in table.rows for key in row)
    added: dict[str, str | Mapping[str, str]] = {}
    faults: dict[int, str] = {}
    if "messages" in known and not {"prompt"} & {*known, *columns}:
        table, demonstrates = _with_rows(table, _parted, faults), True
        known = dict.fromkeys(key for row in table.rows for key in row)
    if demonstrates and "completion" in known and not {"solution"} & {*known, *columns}:
        table, added["solution"] = _with_rows(table, _said, faults), "completion"
    if not {"answer"} & {*known, *columns}:
        if any(isinstance(model := row.get("reward_model"), Mapping) and "ground_truth" in model for row in table.rows):
            added["answer"] = GROUND_TRUTH
        elif is_whole:
            prompt = columns.get("prompt", "prompt")
            added["answer"] = {name: name for name in known if name != prompt} or {"prompt": "prompt"}
    return table, {**added, **columns}, faults


def _with_rows(table: Table, change: Callable[[dict], dict], faults: dict[int, str]) -> Table:
    """The table with its rows changed; one that cannot be is left as it is."""
    rows = list(table.rows)
    for number, row in enumerate(rows):
        try:
            rows[number] = change(row)
        except Unusable as error:
            faults.setdefault(number, str(error))
    return replace(table, rows=rows)


def _parted(row: dict) -> dict:
    """A row whose `messages` are its prompt and, where the assistant has the last word, its completion."""
    messages: Any = row.get("messages")
    if not _is_chat(messages):
        raise Unusable(f"messages is {shown(messages)}; a list of messages {{role, content}} is needed")
    rest = {key: value for key, value in row.items() if key != "messages"}
    if messages[-1]["role"] != "assistant":
        return {**rest, "prompt": messages}
    return {**rest, "prompt": messages[:-1], "completion": messages[-1:]}


def _said(row: dict) -> dict:
    """A row whose completion is text: itself, or what its one message says."""
    completion: Any = row.get("completion")
    if not _is_chat(completion):
        return row
    if len(completion) > 1 or completion[0]["role"] != "assistant":
        roles = ", ".join(str(message["role"]) for message in completion)
        raise Unusable(f"completion holds messages of {roles}; one of the assistant's can be learned from")
    return {**row, "completion": completion[0]["content"]}


def _is_chat(value: Any) -> bool:
    is_list = isinstance(value, list | tuple) and len(value) > 0
    return is_list and all(isinstance(each, Mapping) and {"role", "content"} <= each.keys() for each in value)
