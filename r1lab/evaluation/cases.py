"""Rows of a JSONL file as cases to verify: completions that exist. Not problems to train on (`r1lab_data.loaders`).

A row that cannot be read is reported with its line and passed over. Memory does not grow with the file.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import BinaryIO

from r1lab.errors import RecipeError, RunError
from r1lab_data import DataError
from r1lab_data.cells import Unusable, fields, given, reader, text
from r1lab_data.columns import flat, made_answer
from r1lab_data.names import did_you_mean, file_hint, nearest_first
from r1lab_data.rows import parse, shown
from r1lab_verifiers import Item

ROLES = ("completion", "answer", "solution", "prompt", "id", "expected", "type", "source")
"""What a row may hold, under these names unless `columns` says otherwise; only the completion and answer must be."""
IN_ITEM = ("completion", "answer", "solution", "prompt")
"""Roles that a verifier is given by name; the columns left are its `meta`."""
MAX_LINE_BYTES = 64 << 20
"""Bytes of one row."""
PEEKED_ROWS = 100
"""In which a column that was named must stand."""
STDIN = Path("-")


@dataclass(frozen=True)
class Case:
    """A completion, the gold answer, and what else its row says."""

    row: dict
    """As it was read."""
    id: str
    """Of the row, else `line 7`."""
    item: Item
    solution: str | None = None
    """A program that is known to be right; where it fails a check too, the completion is not blamed."""
    expected: bool | None = None
    """The label: whether the completion is right."""
    type: str = ""
    source: str = ""


class Cases:
    """An iterator over a file's cases, `-` being stdin. RecipeError at once where it cannot be opened."""

    def __init__(
        self,
        path: Path,
        *,
        columns: Mapping[str, str | Mapping[str, str]] = {},
        where: Mapping[str, object] = {},
        needs_answer: bool = True,
        is_labelled: bool = False,
        is_whole: bool = False,
        report: Callable[[str], None],
    ):
        """columns: role -> column, dotted path or template; for `answer` also a mapping of names to those. where: only
        rows whose column holds this value, or one of these; what a row lacks is null. is_whole: `meta` holds
        the columns with a role too, but for the completion's. report: told of unreadable rows."""
        _check(columns)
        self.roles: dict[str, str | Mapping[str, str]] = {role: role for role in ROLES} | dict(columns)
        given_by_name = IN_ITEM[:1] if is_whole else IN_ITEM
        self.used = {spec for role in given_by_name if isinstance(spec := self.roles[role], str)}
        self.where = {column: _texts(value) for column, value in where.items()}
        self.needs_answer, self.is_labelled, self.report = needs_answer, is_labelled, report
        self.unreadable = 0
        self.name = "stdin" if path == STDIN else str(path)
        try:
            self.stream = sys.stdin.buffer if path == STDIN else path.open("rb")
        except OSError as error:
            hint = file_hint(str(path), [Path.cwd()]) if isinstance(error, FileNotFoundError) else ""
            raise RecipeError(f"{self.name}: cannot be read: {error.strerror}{hint}") from None
        self.lines: Iterator[tuple[int, bytes]] = _lines(self.stream)
        self._check_columns(columns)

    def _check_columns(self, columns: Mapping[str, str | Mapping[str, str]]) -> None:
        """RecipeError for a column that was named and that none of the first rows has."""
        if not columns:
            return
        with suppress(OSError):  # it comes again when the rows are read
            first = list(islice(self.lines, PEEKED_ROWS))
            self.lines = chain(first, self.lines)
        known: dict[str, None] = {}
        for number, line in first:
            with suppress(Unusable, DataError):
                known |= dict.fromkeys(_row(line, f"line {number}"))
        for role, spec in flat(columns) if known else ():
            for column in fields(spec, known):
                close = did_you_mean(column, known)
                is_one = isinstance(columns[role], str)  # of several, some may be null in every row
                is_needed = is_one and (role in ("completion", "answer") or len(first) < PEEKED_ROWS)
                may_be_sparse = not close and not is_needed
                if column not in known and column.partition(".")[0] not in known and not may_be_sparse:
                    there = ", ".join(nearest_first(column, known))
                    raise RecipeError(
                        f"--columns: {self.name} has no column {column!r} for {role}; there are: {there}{close}"
                    )

    def __iter__(self) -> Iterator[Case]:
        """RunError where the file cannot be read to its end."""
        try:
            for number, line in self.lines:
                case = self._read(line, number)
                if case is not None:
                    yield case
        except OSError as error:
            raise RunError(f"{self.name}: cannot be read to its end: {error.strerror}") from None
        finally:
            if self.stream is not sys.stdin.buffer:
                self.stream.close()

    def _read(self, line: bytes, number: int) -> Case | None:
        """None for a row that is not chosen or cannot be read, which is reported and counted."""
        place = f"{self.name}, line {number}"
        try:
            row = _row(line, place)
            return self._case(row, f"line {number}") if self._is_chosen(row) else None
        except (Unusable, DataError) as error:
            self.unreadable += 1
            self.report(str(error) if isinstance(error, DataError) else f"{place}: {error}")
            return None

    def _is_chosen(self, row: dict) -> bool:
        return all(str(self._cell(row, column)) in values for column, values in self.where.items())

    def _cell(self, row: dict, spec: str) -> object:
        return reader(spec, row)(row)

    def _case(self, row: dict, place: str) -> Case:
        cells = {role: self._cell(row, spec) for role, spec in self.roles.items() if isinstance(spec, str)}
        name = place if cells["id"] is None else str(cells["id"])
        meta = {key: value for key, value in row.items() if key not in self.used}
        completion, answer = self._completion(cells["completion"]), self._answer(row, cells)
        item = Item(completion, answer, _prompt(cells["prompt"]), name, meta=meta)
        expected = cells["expected"]
        if self.is_labelled and not isinstance(expected, bool):
            raise Unusable(f"column {self.roles['expected']!r} holds {shown(expected)}; a label is true or false")
        labels = {role: "" if cells[role] is None else str(cells[role]) for role in ("type", "source")}
        solution = text(cells["solution"], str(self.roles["solution"]))
        return Case(row, name, item, solution, expected if isinstance(expected, bool) else None, **labels)

    def _completion(self, value: object) -> str:
        if value is None:
            raise Unusable(f"no completion (column {self.roles['completion']!r}); name its column: completion=...")
        if not isinstance(value, str):
            raise Unusable(f"column {self.roles['completion']!r} holds {shown(value)}; a completion is text")
        return value

    def _answer(self, row: dict, cells: Mapping[str, object]) -> str | dict:
        """As a dataset's loader reads it: a number exactly as text, a list of one as its item, an object as it is."""
        spec = self.roles["answer"]
        if isinstance(spec, Mapping):
            return made_answer({name: self._cell(row, column) for name, column in spec.items()}, spec)
        value = cells["answer"]
        if value is None and not self.needs_answer:
            return ""
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(value, dict) and value:
            return value
        if isinstance(value, bool):
            raise Unusable(f"column {spec!r} holds {value!r}; an answer is text, a number or an object")
        return given(text(value, spec), f"answer (column {spec!r})").strip()


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Numbered from 1, blank ones left out. Of one longer than MAX_LINE_BYTES only a little more than that is kept."""
    for number in count(1):
        line = stream.readline(MAX_LINE_BYTES + 1)
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES + 1)
        if not line:
            return
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if line.strip():
            yield number, line


def _row(line: bytes, place: str) -> dict:
    if len(line) > MAX_LINE_BYTES:
        raise Unusable(f"longer than {MAX_LINE_BYTES >> 20} MiB; shorten its completion")
    row = parse(line, place)
    if not isinstance(row, dict):
        raise Unusable(f'{shown(row)} is no JSON object such as {{"id": ..., "completion": ..., "answer": ...}}')
    return row


def _prompt(value: object) -> str | tuple[dict, ...]:
    """Text or chat messages; anything else is no prompt."""
    if isinstance(value, list) and all(isinstance(message, dict) for message in value):
        return tuple(value)
    return value if isinstance(value, str) else ""


def _texts(value: object) -> set[str]:
    return {str(each) for each in (value if isinstance(value, list) else [value])}


def _check(columns: Mapping[str, str | Mapping[str, str]]) -> None:
    for role, spec in columns.items():
        if role not in ROLES:
            raise RecipeError(f"--columns: {role!r} is unknown{did_you_mean(role, ROLES)}; allowed: {', '.join(ROLES)}")
        for each in spec.values() if isinstance(spec, Mapping) else [spec]:
            try:
                fields(each, ())
            except DataError as error:
                raise RecipeError(str(error)) from None
