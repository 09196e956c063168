"""Cells: what a column, a path or a template reads from a row. Not which column plays which role
(`r1lab_data.columns`)."""

import string
from collections.abc import Callable, Iterable

from r1lab_data.answers import text_of
from r1lab_data.problem import DataError
from r1lab_data.rows import shown

Reader = Callable[[dict], object]


class Unusable(ValueError):
    """What is wrong with a row; the place is put before it."""


def reader(spec: str, known: Iterable[str]) -> Reader:
    """What a column, a path or a template yields for a row; None where the row has nothing there."""
    if spec in known:
        return lambda row: row.get(spec)
    if "{" not in spec:
        return lambda row: inside(row, spec.split("."))
    parts = [(text, field) for text, field, _, _ in string.Formatter().parse(spec)]
    inner = {field: reader(field, known) for _, field in parts if field is not None}

    def filled(row: dict) -> str | None:
        values = {field: text(read(row), field) for field, read in inner.items()}
        if inner and all(value is None for value in values.values()):
            return None
        return "".join(before + (values.get(field or "") or "") for before, field in parts)

    return filled


def inside(value: object, path: list[str]) -> object:
    """The value at a path of keys and, in lists, of places counted from 0; None where there is none."""
    for key in path:
        if isinstance(value, list):
            value = value[int(key)] if key.isdigit() and int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def fields(spec: str, known: Iterable[str]) -> list[str]:
    """The columns that a spec reads: itself, or the names between a template's braces."""
    if spec in known or "{" not in spec:
        return [spec]
    try:
        return [field for _, field, _, _ in string.Formatter().parse(spec) if field is not None]
    except ValueError as error:
        raise DataError(f"columns: template {spec!r}: {error}; a brace itself is written twice") from error


def text(value: object, spec: str) -> str | None:
    """The cell as text that can be encoded, or None."""
    try:
        found = text_of(value)
    except TypeError as error:
        hint = "; where each of several answers is right, set answer_format: any" if isinstance(value, list) else ""
        raise Unusable(f"column {spec!r} holds {error} where one text is needed: {shown(value)}{hint}") from error
    try:
        (found or "").encode()
    except UnicodeEncodeError as error:
        raise Unusable(
            f"column {spec!r} holds half a surrogate pair at character {error.start}; repair the text"
        ) from error
    return found


def given(text: str | None, what: str) -> str:
    """The text, which must be there."""
    if text is None:
        raise Unusable(f"no {what}: it is missing, null, NaN or blank; fill it in or take the row out")
    return text
