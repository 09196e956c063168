"""Rows that say which completions are good: preference pairs, labelled completions, labelled steps. Not problems with
an answer to check (`r1lab_data.columns`), nor what is learned from them.

    pairs        prompt, chosen, rejected, perhaps margin; texts or chat messages, of which the prompt may be a part
    completions  prompt, completion, label
    steps        prompt, completions (the steps), labels; or completion, steps (the character each ends at), labels

These are TRL's columns, read as they are; `columns` names others. A row becomes a `Problem` whose answer is a
`Labelled` as plain data.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise, takewhile
from typing import Any, Literal

from r1lab_data.cells import Reader, Unusable, given, reader, text
from r1lab_data.columns import check_made, checked, chooser, prompt_of
from r1lab_data.names import did_you_mean
from r1lab_data.problem import DataError, Problem, RowError
from r1lab_data.rows import Table, shown

Kind = Literal["pairs", "completions", "steps"]
ROLES = ("prompt", "id", "chosen", "rejected", "margin", "completion", "label", "steps", "labels")
NEEDED: dict[Kind, tuple[str, ...]] = {
    "pairs": ("chosen", "rejected"),
    "steps": ("steps", "labels"),
    "completions": ("completion", "label"),
}
"""Roles that a table of each kind has."""
USUAL = {"steps": ("steps", "completions"), "id": ()}
"""Columns that play a role where `columns` names none; of the other roles that of the same name. TRL's are among them.
"""
SEPARATOR = "\n"
"""What TRL puts behind a step."""
TRUTH = {"0": 0, "1": 1, "false": 0, "true": 1, "0.0": 0, "1.0": 1}
"""Labels as the cells of a CSV file write them."""


@dataclass(frozen=True)
class Labelled:
    """Completions of one prompt and what is said of them."""

    kind: Kind
    completions: tuple[tuple[str, ...], ...]
    """The text of each in its steps, one step where they are not told apart; of a pair the chosen one first."""
    labels: tuple[tuple[int, ...], ...]
    """1 or 0, one a step; of a pair 1 and 0."""
    margin: float = 0.0
    """By how much a pair's chosen one is better, on the scale of the scores."""


def of(problem: Problem) -> Labelled:
    """What a problem that `problems` made holds. DataError for one with an answer in its place."""
    if not is_labelled(problem):
        raise DataError(
            f"problem {problem.id!r} has no labelled completions; give columns chosen and rejected, completion and "
            "label, or completions and labels (of generated problems: addition_pairs, addition_labels, addition_steps)"
        )
    held: Any = problem.answer
    completions, labels = (tuple(map(tuple, held[name])) for name in ("completions", "labels"))
    return Labelled(held["kind"], completions, labels, held["margin"])


def is_labelled(problem: Problem) -> bool:
    return isinstance(problem.answer, dict) and problem.answer.keys() == Labelled.__dataclass_fields__.keys()


def answer_of(labelled: Labelled) -> dict[str, Any]:
    """The same as a problem's answer."""
    return asdict(labelled)


def problems(
    table: Table,
    columns: Mapping[str, Any],
    *,
    source: str,
    where: Mapping[str, object] = {},
    bad_rows: list[str] | None = None,
) -> list[Problem]:
    """Every row of the table that is as `where` says, as a problem, in order. Rows that make none go to `bad_rows`, a
    line each; None: the first is a DataError."""
    known = dict.fromkeys(key for row in table.rows for key in row)
    roles = _roles(columns, known, table.name)
    kind = _kind(roles, known, table.name)
    readers = {role: reader(spec, known) for role, spec in roles.items()}
    is_chosen, used, made = chooser(where, known, table.name), set(roles.values()), list[Problem]()
    for number, row in enumerate(table.rows):
        if not is_chosen(row):
            continue
        try:
            prompt, labelled = READERS[kind](row, readers)
            name = given(text(readers["id"](row), roles["id"]), "id") if "id" in roles else number
        except Unusable as error:
            told = f"{table.where(number)}: {error}"
            if bad_rows is None:
                raise RowError(told) from error
            bad_rows.append(told)
            continue
        meta = {key: value for key, value in row.items() if key not in used}
        made.append(Problem(f"{source}/{name}", prompt, answer_of(labelled), source=source, meta=meta))
    check_made(made, table, where, bad_rows, roles.get("id"))
    return made


def _roles(columns: Mapping[str, Any], known: Iterable[str], table: str) -> dict[str, str]:
    """The column, path or template of each role that the table has."""
    for role, spec in columns.items():
        if role not in ROLES:
            raise DataError(f"columns: unknown key {role!r}{did_you_mean(role, ROLES)}; allowed: {', '.join(ROLES)}")
        if not isinstance(spec, str) or not spec:
            raise DataError(
                f"columns: {role} is {shown(spec)}; give a column's name or a template such as '{{a}} {{b}}'"
            )
        checked(role, spec, known, table)
    usual = {role: next((name for name in USUAL.get(role, (role,)) if name in known), "") for role in ROLES}
    return {role: name for role, name in {**usual, **columns}.items() if name}


def _kind(roles: Mapping[str, str], known: Iterable[str], table: str) -> Kind:
    found: Kind | None = next((kind for kind, needed in NEEDED.items() if all(role in roles for role in needed)), None)
    if found is None:
        raise DataError(
            f"{table}: neither pairs (chosen, rejected), nor labelled completions (completion, label), nor labelled "
            f"steps (completions, labels) among its columns {', '.join(known)}; set columns: {{chosen: ..., rejected: "
            "...}, for example"
        )
    return found


def _prompt(row: dict, readers: Mapping[str, Reader]) -> Any:
    return prompt_of(readers["prompt"](row) if "prompt" in readers else None, "prompt")


def _pair(row: dict, readers: Mapping[str, Reader]) -> tuple[Any, Labelled]:
    sides: Any = [readers[role](row) for role in NEEDED["pairs"]]
    shared: Any = None
    if all(map(_is_chat, sides)) and (len(sides[0]) > 1 or len(sides[1]) > 1 or "prompt" not in readers):
        shared, sides = _parted(sides)
    elif "prompt" not in readers and all(isinstance(side, str) for side in sides):
        shared, sides = _parted_text(*sides)
    prompt = _prompt(row, readers) if shared is None else prompt_of(shared, "prompt, which chosen and rejected share")
    chosen, rejected = (_said(side, role) for side, role in zip(sides, NEEDED["pairs"]))
    if chosen.strip() == rejected.strip():
        spaces = " but for the spaces around it" * (chosen != rejected)
        told = f"chosen and rejected are the same text{spaces}: {shown(chosen)}"
        raise Unusable(f"{told}; such a pair says nothing, take it out")
    return prompt, Labelled("pairs", ((chosen,), (rejected,)), ((1,), (0,)), _margin(row, readers))


def _parted(sides: list[list]) -> tuple[list, list]:
    """Two conversations as the messages that they share and what each says then."""
    shared = [first for first, _ in takewhile(lambda both: both[0] == both[1], zip(*sides))]
    while shared and shared[-1].get("role") != "user":
        shared.pop()
    if not shared:
        raise Unusable("chosen and rejected share no message of a user to begin with, and there is no prompt")
    return shared, [side[len(shared) :] for side in sides]


def _parted_text(chosen: str, rejected: str) -> tuple[str, list[str]]:
    """Two texts as what they share and how each goes on; a space before that is no part of the prompt (TRL's way)."""
    size = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(chosen, rejected)))
    size -= chosen[:size].endswith(" ")
    if not chosen[:size].strip():
        raise Unusable("there is no prompt, and chosen and rejected do not begin with one that they share")
    return chosen[:size], [chosen[size:], rejected[size:]]


def _said(value: Any, role: str) -> str:
    """A completion as text: itself, or what its one message says."""
    if _is_chat(value):
        if len(value) != 1 or value[0]["role"] != "assistant":
            roles = ", ".join(str(message["role"]) for message in value)
            raise Unusable(f"{role} holds messages of {roles}; one of the assistant's can be scored")
        value = value[0]["content"]
    elif isinstance(value, list | tuple):
        raise Unusable(f"{role} is {shown(value)}; a text is needed, or one message {{role, content}}")
    return given(text(value, role), role)


def _margin(row: dict, readers: Mapping[str, Reader]) -> float:
    """0 where the row has none."""
    value = readers["margin"](row) if "margin" in readers else None
    if value is None or value == "":
        return 0.0
    try:
        margin = math.nan if isinstance(value, bool) else float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        margin = math.nan
    if not math.isfinite(margin):
        raise Unusable(f"margin is {shown(value)}; a finite number is needed, or none")
    return margin


def _completion(row: dict, readers: Mapping[str, Reader]) -> tuple[Any, Labelled]:
    said = _said(readers["completion"](row), "completion")
    return _prompt(row, readers), Labelled("completions", ((said,),), ((_label(readers["label"](row)),),))


def _label(value: Any, what: str = "label") -> int:
    known = TRUTH.get(str(value).lower()) if isinstance(value, bool | int | float | str) else None
    if known is None:
        raise Unusable(f"{what} {shown(value)} is neither 0 nor 1 (nor true or false)")
    return known


def _steps(row: dict, readers: Mapping[str, Reader]) -> tuple[Any, Labelled]:
    steps: Any = readers["steps"](row)
    if not isinstance(steps, list | tuple) or not steps:
        raise Unusable(f"steps is {shown(steps)}; a list of texts is needed")
    whole = _said(readers["completion"](row), "completion") if "completion" in readers else None
    labels: Any = readers["labels"](row)
    if not isinstance(labels, list | tuple) or len(labels) != len(steps):
        raise Unusable(f"labels is {shown(labels)}, and there are {len(steps)} steps; one 0 or 1 for each is needed")
    texts = _at_ends(list(steps), whole) if isinstance(steps[0], int | float) else _texts(steps, whole)
    marks = tuple(_label(label, f"step {number}: label") for number, label in enumerate(labels, 1))
    return _prompt(row, readers), Labelled("steps", (texts,), (marks,))


def _texts(steps: Iterable[Any], whole: str | None) -> tuple[str, ...]:
    """The steps' own texts, which make up the completion, with line ends between where they have none."""
    said = [given(text(step, "steps"), f"text of step {number}") for number, step in enumerate(steps, 1)]
    spaced = [*(step if step[-1].isspace() else step + SEPARATOR for step in said[:-1]), said[-1]]
    for parts in (said, spaced) if whole is not None else (spaced,):
        if whole is None or "".join(parts) == whole:
            return tuple(parts)
    assert whole is not None
    sizes = f"{len(''.join(said))} characters of {len(whole)}"
    raise Unusable(f"the steps do not cover the completion: put together they are {sizes}, or other ones; mend either")


def _at_ends(ends: list[Any], whole: str | None) -> tuple[str, ...]:
    """The parts of the completion up to each of these characters, the last of which is its end."""
    if whole is None:
        raise Unusable("steps are numbers, where each step ends, and there is no completion that they cut")
    is_rising = all(isinstance(end, int) and not isinstance(end, bool) for end in ends) and all(
        before < end for before, end in pairwise([0, *ends])
    )
    if not is_rising or ends[-1] != len(whole):
        raise Unusable(
            f"the steps do not cover the completion: they end at {shown(ends)}, which must rise in whole "
            f"numbers from above 0 to its {len(whole)} characters"
        )
    return tuple(whole[before:end] for before, end in pairwise([0, *ends]))


def _is_chat(value: Any) -> bool:
    is_list = isinstance(value, list | tuple) and len(value) > 0
    return is_list and all(isinstance(each, Mapping) and {"role", "content"} <= each.keys() for each in value)


READERS: dict[Kind, Callable[[dict, Mapping[str, Reader]], tuple[Any, Labelled]]] = {
    "pairs": _pair,
    "completions": _completion,
    "steps": _steps,
}
