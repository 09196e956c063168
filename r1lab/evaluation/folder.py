"""Files of an evaluation: a table with one row a completion (verdict and vote), and its manifest. Reading and writing
only.

There are no seconds in it: two equal evaluations are equal in every byte.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from r1lab.errors import RecipeError, RunError
from r1lab.run import journal
from r1lab.run.folder import MANIFEST

RESULTS = "results.json"
KIND = b"completions/1"
COLUMNS = {
    "problem_id": pa.string(), "index": pa.int64(), "prompt_text": pa.string(), "text": pa.string(),
    "completion_ids": pa.list_(pa.int32()), "num_tokens": pa.int64(), "finish": pa.string(), "score": pa.float64(),
    "status": pa.string(), "extracted": pa.string(), "reason": pa.string(), "vote": pa.int64(),
}  # fmt: skip


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], settings: str) -> None:
    """The table, whole or not there, and the digest of the settings that it was made with."""
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in COLUMNS.items()}
    journal.write(path, columns, {journal.KIND: KIND, b"settings": settings.encode()})


def read_rows(path: Path) -> list[dict[str, Any]]:
    """RunError where the table is not there or damaged."""
    return journal.read(path, KIND, "remove it to evaluate anew").to_pylist()


def is_done(path: Path, settings: str) -> bool:
    """Whether the table is there, whole and made with these settings; a damaged one is made anew."""
    if not path.exists():
        return False
    try:
        return journal.read(path, KIND, "").schema.metadata[b"settings"].decode() == settings
    except RunError:
        return False


def read_manifest(folder: Path) -> dict[str, Any]:
    """RecipeError where there is none that can be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["kind"] != "evaluation" or not isinstance(manifest["identity"], dict):
            raise ValueError("of another kind")
        return manifest
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RecipeError(f"{folder / MANIFEST} is no evaluation's manifest ({error}); name another folder") from None
