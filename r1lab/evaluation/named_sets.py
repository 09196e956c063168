"""Evaluation sets by name: where each is published, which column is what, which verifier it needs. Loads nothing.

What is no name here is a procedural task (`addition`, `gym:<name>`), a local file or folder, a URL or a hub id. A
`path` puts a local copy in a named set's place. Sets that the hub holds in other rows than papers report are read from
github.com/QwenLM/Qwen2.5-Math, the usual evaluation files.
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
from r1lab_data.names import did_you_mean
from r1lab_data.rows import suffix
from r1lab_data.tasks import TASKS, VERIFIERS

QWEN = "https://raw.githubusercontent.com/QwenLM/Qwen2.5-Math/main/evaluation/data"
GYM = "gym:"
MAWPS = {"columns": {"prompt": "input", "answer": "target"}, "verifier": "numeric"}

SETS: dict[str, dict[str, Any]] = {
    "gsm8k": {
        "path": "openai/gsm8k", "config": "main", "split": "test",
        "columns": {"prompt": "question"}, "answer_format": "hash", "verifier": "numeric",
    },
    "math500": {
        "path": "HuggingFaceH4/MATH-500", "split": "test", "columns": {"prompt": "problem"}, "verifier": "math",
    },
    "aime24": {
        "path": "HuggingFaceH4/aime_2024", "split": "train", "columns": {"prompt": "problem"}, "verifier": "math",
    },
    "amc23": {"path": "math-ai/amc23", "split": "test", "columns": {"prompt": "question"}, "verifier": "math"},
    "minerva": {
        "path": f"{QWEN}/minerva_math/test.jsonl",
        "columns": {"prompt": "problem", "answer": "solution"}, "answer_format": "boxed", "verifier": "math",
    },
    "olympiadbench": {
        "path": f"{QWEN}/olympiadbench/test.jsonl",
        "columns": {"prompt": "question", "answer": "final_answer"}, "verifier": "math",
    },
    "svamp": {
        "path": f"{QWEN}/svamp/test.jsonl",
        "columns": {"prompt": "{Body}. {Question}", "answer": "Answer"}, "verifier": "numeric",
    },
    "asdiv": {"path": f"{QWEN}/asdiv/test.jsonl", "columns": {"prompt": "{body} {question}"}, "verifier": "math"},
    "mawps": {"path": f"{QWEN}/mawps/singleop.jsonl", **MAWPS},
    "mawps_addsub": {"path": f"{QWEN}/mawps/addsub.jsonl", **MAWPS},
    "mawps_singleeq": {"path": f"{QWEN}/mawps/singleeq.jsonl", **MAWPS},
    "mawps_multiarith": {"path": f"{QWEN}/mawps/multiarith.jsonl", **MAWPS},
    "humaneval": {
        "path": "openai/openai_humaneval", "split": "test", "answer_format": "humaneval", "verifier": "code",
    },
    "mbpp": {
        "path": "google-research-datasets/mbpp", "config": "full", "split": "test",
        "answer_format": "mbpp", "verifier": "code",
    },
}  # fmt: skip
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
    if set_name in TASKS or set_name.startswith(GYM):
        return set_name.replace(":", "_"), {
            "task": set_name,
            "split": "eval",
            "size": 512,
            "verifier": verifier_of(set_name),
        }
    if is_place(set_name, base):
        return Path(urlparse(set_name).path).name.partition(".")[0] or "set", {"path": set_name}
    known = (*set_names, *SETS, *TASKS)
    raise RecipeError(
        f"--on {set_name!r} is no set ({', '.join(known)}, gym:<task>), no file or folder here and no hub id "
        f"org/name{did_you_mean(set_name, known)}"
    )


def is_place(set_name: str, base: Path | None) -> bool:
    """A file, a folder, a URL or a hub id; whether anything is there the loader says."""
    return "/" in set_name or bool(suffix(set_name)) or local(set_name, base) is not None


def is_dataset(set_name: str) -> bool:
    """Whether it is none by name and no task: a file, a folder, a URL or a hub id, if anything."""
    return set_name not in SETS and set_name not in TASKS and not set_name.startswith(GYM)


def verifier_of(task: str) -> str:
    return VERIFIERS["gym" if task.startswith(GYM) else task]
