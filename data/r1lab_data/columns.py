"""From rows to problems: which column is what. Not reading rows (`r1lab_data.rows`), not formats of answers
(`r1lab_data.answers`).

Not code datasets, whose rows are read whole (`r1lab_data.code_rows`): there `columns` only overrides.

`columns` maps prompt, answer, solution and id to a column: by its name, by a dotted path into mappings and lists
(`reward_model.ground_truth`, `test_list.0`) or by a template (`"{Body}. {Question}"`, null being empty text). `answer`
may also map names to columns: the answer is then a dict (`{tests: test_list, setup: test_setup_code}`) with the values
untouched.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from r1lab_data.answers import ANY, FORMATS, WHOLE_IS_SOLUTION, accepted
from r1lab_data.cells import Unusable, fields, given, reader, text
from r1lab_data.code_rows import ROW_FORMATS, RowFormat
from r1lab_data.names import did_you_mean, nearest_first
from r1lab_data.problem import Conversation, DataError, Problem, RowError
from r1lab_data.programs import BadRow
from r1lab_data.rows import Table, shown

DEFAULTS = {"prompt": "prompt", "answer": "answer"}
ROLES = ("prompt", "answer", "solution", "id")
ANSWERING = ("tool", "user")
"""Roles of what answers the assistant in a demonstration."""
USUAL = {
    "prompt": ("question", "problem", "instruction", "input", "text"),
    "answer": ("final_answer", "ground_truth", "target", "label", "solution"),
    "solution": ("canonical_solution", "code", "rationale", "answer"),
}
"""What datasets call these columns; only for suggestions."""


def problems(
    table: Table,
    columns: Mapping[str, str | Mapping[str, str]],
    *,
    source: str,
    verifier: str,
    answer_format: str,
    where: Mapping[str, object] = {},
    is_whole: bool = False,
    needs_answer: bool = True,
    bad_rows: list[str] | None = None,
    faults: Mapping[int, str] = {},
) -> list[Problem]:
    """Every row of the table that is as `where` says, as a problem, in order; columns without a role go to `meta`, all
    where `is_whole`. Without `needs_answer` a table may have no column for it. Rows that make no problem go to
    `bad_rows`, a line each; None: the first is a DataError.
    faults: what is wrong with rows, by their numbers, so far."""
    check_roles(columns)
    if answer_format not in {ANY, *FORMATS, *ROW_FORMATS}:
        allowed = ", ".join((*FORMATS, ANY, *ROW_FORMATS))
        close = did_you_mean(answer_format, (*FORMATS, ANY, *ROW_FORMATS))
        raise DataError(f"source {source}: unknown answer_format {answer_format!r}; allowed: {allowed}{close}")
    whole = ROW_FORMATS.get(answer_format)
    known = dict.fromkeys(key for row in table.rows for key in row)
    roles = {**DEFAULTS, **columns} if whole is None else whole_roles(whole, columns, known, answer_format)
    if not needs_answer and roles.get("answer") == DEFAULTS["answer"] and DEFAULTS["answer"] not in known:
        del roles["answer"]
    used = {name for role, spec in flat(roles) for name in checked(role, spec, known, table.name)}
    used |= set(whole.reads) if whole else set()
    is_chosen = chooser(where, known, table.name)
    read = role_readers(roles, known, answer_format)
    read_id = reader(roles["id"], known) if "id" in roles else None
    made: list[Problem] = []
    for number, row in enumerate(table.rows):
        if not is_chosen(row):
            continue
        try:
            if number in faults:
                raise Unusable(faults[number])
            name = number if read_id is None else given(text(read_id(row), roles["id"]), f"id (column {roles['id']!r})")
            problem = Problem(
                id=f"{source}/{name}",
                prompt=prompt_of(read["prompt"](row), roles.get("prompt", "prompt")),
                answer=read["answer"](row),
                verifier=verifier,
                solution=read["solution"](row),
                source=source,
                meta={key: value for key, value in row.items() if is_whole or key not in used},
            )
        except (Unusable, BadRow) as error:
            told = f"{table.where(number)}: {error}"
            if bad_rows is None:
                raise RowError(told) from error
            bad_rows.append(told)
            continue
        made.append(problem)
    check_made(made, table, where, bad_rows, roles.get("id"))
    return made


def whole_roles(whole: RowFormat, columns: Mapping, known: Iterable[str], name: str) -> dict:
    """The roles that `columns` names, and the dataset's own column of ids."""
    if "answer" in columns:
        raise DataError(f"columns: answer_format {name} reads the answer from the whole row; take `answer` out")
    return {**({"id": whole.id} if whole.id in known else {}), **columns}


def role_readers(roles: Mapping, known: Iterable[str], answer_format: str) -> dict[str, Callable[[dict], Any]]:
    """What reads prompt, answer and solution of a row."""
    whole = ROW_FORMATS.get(answer_format)
    if whole is None:
        answer = answer_reader(roles["answer"], known, answer_format) if "answer" in roles else lambda row: ""
        made = {"answer": answer, "solution": solution_reader(roles, known, answer_format)}
    else:
        made = {"prompt": whole.prompt, "answer": whole.answer, "solution": whole.demonstration}
    if whole is not None and "solution" in roles:
        made["solution"] = solution_reader(roles, known, answer_format)
    if "prompt" in roles:
        made["prompt"] = reader(roles["prompt"], known)
    return made


def chooser(where: Mapping[str, object], known: Iterable[str], table: str) -> Callable[[dict], bool]:
    """Whether each column (or path) named in `where` holds the value given, or one of the list given, as text."""
    wanted = {}
    for column, values in where.items():
        checked("where", column, known, table)
        wanted[column] = {str(value) for value in (values if isinstance(values, list | tuple) else [values])}
    readers = {column: reader(column, known) for column in wanted}
    return lambda row: all(str(readers[column](row)) in wanted[column] for column in wanted)


def check_roles(columns: Mapping) -> None:
    """Keys of `columns` are roles, its values texts; only `answer` may be a mapping of texts."""
    for role, spec in columns.items():
        if role not in ROLES:
            raise DataError(f"columns: unknown key {role!r}{did_you_mean(role, ROLES)}; allowed: {', '.join(ROLES)}")
        names = list(spec.values()) if isinstance(spec, Mapping) and spec and role == "answer" else [spec]
        if not all(isinstance(name, str) and name for name in names):
            raise DataError(
                f"columns: {role} is {shown(spec)}; give a column's name or a template such as '{{a}} {{b}}'"
            )


def flat(roles: Mapping[str, str | Mapping[str, str]]) -> list[tuple[str, str]]:
    """Every column or template that is named, with its role."""
    pairs = ((role, spec.values() if isinstance(spec, Mapping) else [spec]) for role, spec in roles.items())
    return [(role, name) for role, names in pairs for name in names]


def checked(role: str, spec: str, known: Iterable[str], table: str) -> list[str]:
    """The columns that a spec reads, all of them known; else a DataError that suggests one."""
    wanted = fields(spec, known)
    for column in wanted:
        if column not in known and column.partition(".")[0] not in known:
            usual = next((name for name in USUAL.get(role, ()) if name in known), None)
            hint = did_you_mean(column, known) or (usual and f"; did you mean {usual!r}?") or ""
            remedy = f"set columns: {{{role}: ...}}{hint}" if role in ROLES else f"name another one{hint}"
            there = ", ".join(nearest_first(column, known))
            raise DataError(f"{table}: no column {column!r} for {role}; there are: {there}; {remedy}")
    return wanted


def answer_reader(
    spec: str | Mapping[str, str], known: Iterable[str], answer_format: str
) -> Callable[[dict], str | dict]:
    """The answer of a row: text in the given format, a mapping as it stands, or a dict made of columns."""
    if isinstance(spec, Mapping):
        readers = {key: reader(column, known) for key, column in spec.items()}
        return lambda row: made_answer({key: read(row) for key, read in readers.items()}, spec)
    read = reader(spec, known)

    def answer(row: dict) -> str | dict:
        value = read(row)
        if isinstance(value, dict) and value:
            return value
        if answer_format == ANY:
            return several(value, spec) or given(None, f"answer (column {spec!r})")
        whole = given(text(value, spec), f"answer (column {spec!r})").strip()
        found = FORMATS[answer_format](whole)
        if not found:
            remedy = f"another answer_format ({', '.join(FORMATS)}), another column, or take the row out"
            raise Unusable(f"answer_format {answer_format!r} finds nothing in {shown(whole)}; use {remedy}")
        return found

    return answer


def several(value: Any, spec: str) -> str | dict | None:
    """Every accepted answer of a cell."""
    try:
        return accepted(value)
    except TypeError as error:
        raise Unusable(f"column {spec!r} holds {error} among its answers; each must be one text") from error


def made_answer(answer: dict, spec: Mapping[str, str]) -> dict:
    """An answer of several columns; one of them at least must hold something."""
    if all(value is None or value == "" or value == [] or value == {} for value in answer.values()):
        given(None, f"answer (columns {', '.join(spec.values())})")
    return answer


def solution_reader(roles: Mapping, known: Iterable[str], answer_format: str) -> Callable[[dict], str | None]:
    """The demonstration: the column named, or the whole answer column where that is a worked solution."""
    whole = roles["answer"] if answer_format in WHOLE_IS_SOLUTION and isinstance(roles["answer"], str) else None
    spec = roles.get("solution", whole)
    if spec is None:
        return lambda row: None
    read = reader(spec, known)

    def solution(row: dict) -> str | None:
        value: Any = read(row)
        if isinstance(value, list | tuple) and value and all(isinstance(each, dict) for each in value):
            return conversation(value, spec)
        several = isinstance(value, list | tuple) and len(value) > 0
        return text(next(iter(value)) if several else value, spec)

    return solution


def conversation(messages: Sequence[Mapping[str, Any]], spec: str) -> Conversation:
    """A demonstration of several turns: the assistant's and, between them, what a tool or the user answered."""
    roles = [each.get("role") for each in messages]
    if not all(isinstance(each.get("content"), str) for each in messages) or not {*roles} <= {"assistant", *ANSWERING}:
        raise Unusable(
            f"{spec!r} holds {shown(messages[0])}; a demonstration's turns are {{role: assistant | tool, content}}"
        )
    if any((role == "assistant") != (place % 2 == 0) for place, role in enumerate(roles)) or len(roles) % 2 == 0:
        raise Unusable(f"{spec!r}: the turns are of {', '.join(map(str, roles))}; begin and end with the assistant's")
    return Conversation(messages)


def prompt_of(value: Any, spec: str) -> str | tuple[dict[str, str], ...]:
    """Text, or chat messages if the column holds a list of them; the last is the user's."""
    if not (isinstance(value, list | tuple) and value and isinstance(value[0], dict)):
        return given(text(value, spec), f"prompt (column {spec!r})")
    for message in value:
        if not all(isinstance(message, dict) and isinstance(message.get(key), str) for key in ("role", "content")):
            raise Unusable(f'message {shown(message)} is not {{"role": text, "content": text}}')
    if value[-1]["role"] != "user":
        raise Unusable(
            f"the last message of {spec!r} is the {value[-1]['role']}'s, which would show the answer or leave nothing "
            f"to answer; end prompts in the user's message, and name a demonstration's column in columns.solution"
        )
    return tuple({"role": message["role"], "content": text(message["content"], spec) or ""} for message in value)


def check_made(
    problems: list[Problem], table: Table, where: Mapping[str, Any], bad_rows: list[str] | None, spec: str | None
) -> None:
    """DataError where the table's rows made no problem, or two of an id. `bad_rows` are the rows left out, told of;
    `spec` is the column of ids."""
    if not problems and bad_rows:
        raise DataError(f"{bad_rows[0]}; so it is with all {len(bad_rows)} rows, and nothing is left")
    if not problems:
        raise DataError(f"{table.name}: none of its {len(table.rows)} rows is as where: {dict(where)} says")
    first: dict[str, int] = {}
    for number, problem in enumerate(problems):
        if problem.id in first:
            places = f"{table.where(first[problem.id])} and {table.where(number)}"
            raise DataError(f"{places}: both have the id {problem.id!r}; name another column than {spec!r}, or none")
        first[problem.id] = number
