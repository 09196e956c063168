"""Rows of a file: JSON lines, JSON, parquet, CSV. Not what columns mean (`r1lab_data.columns`), not where files lie."""

import csv
import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import IO

from r1lab_data.problem import DataError

MAX_LINE_BYTES = 64 << 20
"""Of a line of JSON."""
MAX_UNPACKED_BYTES = 16 << 30
"""Of what a compressed file holds."""
MAX_BATCH_BYTES = 1 << 30
"""Of 1,024 rows of a parquet file."""


@dataclass(frozen=True)
class Table:
    """Rows and how to speak of them."""

    name: str
    """What messages call it: the path or hub id as the user wrote it."""
    rows: list[dict]
    """At least one; the keys may differ from row to row."""
    lines: tuple[int, ...] | None = None
    """The line each row came from (JSON lines), counted from 1; None: rows have only their number."""

    def where(self, row: int) -> str:
        """`gsm8k.jsonl, line 12`, or `openai/gsm8k, row 11` (rows count from 0, lines from 1)."""
        return f"{self.name}, " + (f"line {self.lines[row]}" if self.lines else f"row {row}")


def read_file(file: Path, name: str, *, split: str, limit: int | None) -> Table:
    """The first `limit` rows (None: all) of a file whose suffix is a key of READERS."""
    try:
        numbered = list(islice(READERS[suffix(file.name)](file, name, split), limit))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or first_line(error)}") from error
    if not numbered:
        raise DataError(f"{name}: no rows; a dataset needs at least one")
    lines, rows = zip(*numbered)
    return Table(name, list(rows), lines if lines[0] is not None else None)


def suffix(file: str) -> str:
    """The part of a file's name that says its format, or an empty text."""
    return next((known for known in READERS if file.lower().endswith(known)), "")


def json_lines(file: Path, name: str, split: str) -> Iterator[tuple[int, dict]]:
    """Lines end at a line feed only (texts may hold U+2028); blank lines and a byte-order mark are passed over."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rb") as stream:
        for number, line in enumerate(_lines(stream, name), start=1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not line.strip():
                continue
            row = parse(line, f"{name}, line {number}")
            if not isinstance(row, dict):
                is_array = "; a file that is one JSON array is named .json" if isinstance(row, list) else ""
                raise DataError(
                    f'{name}, line {number}: {held(row, name)} is no JSON object such as {{"prompt": ...}}{is_array}'
                )
            yield number, row


def _lines(stream: IO[bytes] | gzip.GzipFile, name: str) -> Iterator[bytes]:
    """Each line of a stream. DataError where one, or all together, would not fit in memory."""
    left = MAX_UNPACKED_BYTES
    for number in count(1):
        line = stream.readline(MAX_LINE_BYTES + 1)
        left -= len(line)
        if len(line) > MAX_LINE_BYTES:
            raise DataError(f"{name}, line {number}: longer than {MAX_LINE_BYTES >> 20} MiB; is it JSON lines?")
        if left < 0:
            raise DataError(f"{name}: holds more than {MAX_UNPACKED_BYTES >> 30} GiB; cut it into several files")
        if not line:
            return
        yield line


def json_array(file: Path, name: str, split: str) -> Iterator[tuple[int | None, dict]]:
    """A list of objects, an object with such a list under the split's name, or JSON lines by the wrong name."""
    text = file.read_bytes().removeprefix(b"\xef\xbb\xbf").strip()
    first, _, rest = text.partition(b"\n")
    if rest and first.startswith(b"{") and first.rstrip().endswith(b"}"):
        yield from json_lines(file, name, split)
        return
    if not text:
        return
    rows = parse(text, name)
    if isinstance(rows, dict) and isinstance(rows.get(split), list):
        rows = rows[split]
    if not isinstance(rows, list):
        raise DataError(f"{name}: {held(rows, name)} is neither a list of objects nor an object with a list {split!r}")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f'{name}, row {number}: {held(row, name)} is no JSON object such as {{"prompt": ...}}')
        yield None, row


def parse(text: bytes, where: str) -> object:
    """JSON, or a DataError that says what is wrong where."""
    try:
        return json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: invalid JSON, {error.msg} at character {error.pos}: {held(error.doc, where)}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: JSON that Python does not read: {error}") from error


def parquet(file: Path, name: str, split: str) -> Iterator[tuple[None, dict]]:
    """Batches of 1,024 rows, so that a limit does not read the whole file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(1024):
                if batch.nbytes > MAX_BATCH_BYTES:
                    raise DataError(f"{name}: 1,024 rows of it hold more than {MAX_BATCH_BYTES >> 30} GiB")
                yield from ((None, row) for row in batch.to_pylist())
    except (pa.ArrowException, MemoryError) as error:
        raise DataError(f"{name}: no readable parquet file: {first_line(error)}") from error


def comma_separated(file: Path, name: str, split: str) -> Iterator[tuple[None, dict]]:
    """A header and rows; every cell stays text (`007` and `1,000` as they stand), an empty one is none."""
    with long_fields(), file.open(encoding="utf-8-sig", newline="") as stream:
        try:
            for number, row in enumerate(csv.DictReader(stream, strict=True)):
                if None in row or None in row.values():
                    raise DataError(
                        f"{name}, row {number}: not as many cells as the header; quote cells that hold commas"
                    )
                yield None, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{name}: no readable CSV in UTF-8: {error}") from error


@contextmanager
def long_fields() -> Iterator[None]:
    """Cells over 128 KiB: the csv module's limit is one for the whole process, so it is put back."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def held(value: object, where: str) -> str:
    """What a file holds, as a message shows it; of a file on the web only its kind, since its server chose it."""
    if where.startswith(("https://", "http://")):
        return f"what it holds ({type(value).__name__})"
    return shown(value)


def shown(value: object, length: int = 60) -> str:
    """A value as a message shows it: on one line, cut to `length`."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    text = repr(value[: length * 2] if isinstance(value, str) else value)
    return text if len(text) <= length else text[: length - 3] + "..."


def first_line(error: BaseException) -> str:
    """The first line of another library's message, or the kind of error where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


READERS: dict[str, Callable[[Path, str, str], Iterator[tuple[int | None, dict]]]] = {
    ".jsonl": json_lines,
    ".jsonl.gz": json_lines,
    ".json": json_array,
    ".parquet": parquet,
    ".csv": comma_separated,
}
"""Suffix -> rows with their line numbers (None: the format has no lines)."""
