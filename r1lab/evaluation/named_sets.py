"""Evaluation sets by name: where each is published, which column is what, which verifier it needs. Loads nothing.

What is no name here is a procedural task (`addition`, `gym:<name>`), a local file or folder, a URL or a hub id. A
`path` puts a local copy in a named set's place.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from pydantic import ValidationError

from r1lab.errors import RecipeError
from r1lab.recipe import messages
from r1lab.recipe.data import SourceConfig
from r1lab_data.files import local
from r1lab_data.names import PUBLISHED_SETS, did_you_mean
from r1lab_data.rows import suffix
from r1lab_data.tasks import ANSWERED, VERIFIERS

GYM = "gym:"
MAWPS = {"columns": {"prompt": "input", "answer": "target"}, "verifier": "numeric"}

SETS: dict[str, dict[str, Any]] = {
    "gsm8k": {
        "config": "main", "split": "test", "columns": {"prompt": "question"}, "answer_format": "hash",
        "verifier": "numeric",
    },
    "math500": {"split": "test", "columns": {"prompt": "problem"}, "verifier": "math"},
    "aime24": {"split": "train", "columns": {"prompt": "problem"}, "verifier": "math"},
    "amc23": {"split": "test", "columns": {"prompt": "question"}, "verifier": "math"},
    "minerva": {
        "columns": {"prompt": "problem", "answer": "solution"}, "answer_format": "boxed", "verifier": "math"
    },
    "olympiadbench": {"columns": {"prompt": "question", "answer": "final_answer"}, "verifier": "math"},
    "svamp": {"columns": {"prompt": "{Body}. {Question}", "answer": "Answer"}, "verifier": "numeric"},
    "asdiv": {"columns": {"prompt": "{body} {question}"}, "verifier": "math"},
    "mawps": MAWPS,
    "mawps_addsub": MAWPS,
    "mawps_singleeq": MAWPS,
    "mawps_multiarith": MAWPS,
    "humaneval": {"split": "test", "answer_format": "humaneval", "verifier": "code"},
    "mbpp": {"config": "full", "split": "test", "answer_format": "mbpp", "verifier": "code"},
}  # fmt: skip
SETS = {name: {"path": PUBLISHED_SETS[name], **knobs} for name, knobs in SETS.items()}
"""Knobs of a source each, as in a recipe."""


def source_of(
    set_name: str, base: Path | None = None, set_names: Iterable[str] = (), **knobs: Any
) -> tuple[str, SourceConfig]:
    """A set's short name and its source; `knobs` that are not None win over the table's; `set_names` are
    those of a recipe, which may have been meant.

    RecipeError for a name that is none and no place either, with the nearest; for knobs that do not fit; for a set
    without a verifier.
    """
    given = {key: value for key, value in knobs.items() if value not in (None, {}, ())}
    name, table = knobs_of(set_name, base, set_names)
    if "path" in given and "path" in table:  # a copy: where the hub keeps it says nothing of where it lies here
        table = {key: value for key, value in table.items() if key != "config"} | {"split": "test"}
    source = source_config(set_name, {**table, **given})
    if source.verifier is None and source.task is None:
        raise RecipeError(f"--on {set_name}: the set names no verifier; give --verifier (numeric, math, code, ...)")
    return name, source


def source_config(set_name: str, knobs: Mapping[str, Any]) -> SourceConfig:
    """The source of a set. RecipeError where the knobs are no source's."""
    try:
        return SourceConfig(**knobs)
    except ValidationError as error:
        raise RecipeError(f"--on {set_name}: {messages.told(error, SourceConfig, knobs)}") from None


def knobs_of(set_name: str, base: Path | None, set_names: Iterable[str] = ()) -> tuple[str, dict[str, Any]]:
    """The short name and the knobs behind what a set is called by."""
    if set_name in SETS:
        return set_name, SETS[set_name]
    if set_name in ANSWERED or set_name.startswith(GYM):
        return set_name.replace(":", "_"), {
            "task": set_name,
            "split": "eval",
            "size": 512,
            "verifier": verifier_of(set_name),
        }
    if is_place(set_name, base):
        return Path(urlparse(set_name).path).name.partition(".")[0] or "set", {"path": set_name}
    known = (*set_names, *SETS, *ANSWERED)
    raise RecipeError(
        f"--on {set_name!r} is no set ({', '.join(known)}, gym:<task>), no file or folder here and no hub id "
        f"org/name{did_you_mean(set_name, known)}"
    )


def is_place(set_name: str, base: Path | None) -> bool:
    """A file, a folder, a URL or a hub id; whether anything is there the loader says."""
    return "/" in set_name or bool(suffix(set_name)) or local(set_name, base) is not None


def is_dataset(set_name: str) -> bool:
    """Whether it is none by name and no task: a file, a folder, a URL or a hub id, if anything."""
    return set_name not in SETS and set_name not in ANSWERED and not set_name.startswith(GYM)


def verifier_of(task: str) -> str:
    return VERIFIERS["gym" if task.startswith(GYM) else task]
