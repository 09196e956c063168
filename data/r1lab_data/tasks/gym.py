"""The tasks of reasoning-gym as a source, `gym:<task>`. Not their scoring: that is the verifier `reasoning_gym`.

Upstream: github.com/open-thought/reasoning-gym (the extra `tasks`). Entries must be data: tasks whose own scorer reads
them differently once they went through JSON (arc_agi, rearc: tuples) are refused.
"""

import datetime
import importlib
import json
import numbers
import random
from collections.abc import Callable

from r1lab_data.names import nearest
from r1lab_data.problem import DataError

PREFIX = "gym:"
HASH_DEPENDENT = frozenset({
    "codeio", "isomorphic_strings", "knight_swap", "list_functions", "polynomial_multiplication", "ransom_note",
    "word_ladder",
})  # fmt: skip
"""Tasks that walk over sets of texts: another process, with another PYTHONHASHSEED, would draw other problems."""


def gym_task(name: str) -> Callable[..., dict]:
    """The task as a function f(rng, **settings) like those of TASKS; settings are its reasoning-gym configuration."""
    gym = reasoning_gym()
    known = sorted(gym.factory.DATASETS)
    if name not in known:
        raise DataError(f"task gym:{name}: reasoning-gym has no such task; nearest: {nearest(name, known) or 'none'}")
    if name in HASH_DEPENDENT:
        remedy = "draw it once into a JSONL file and load that"
        raise DataError(
            f"task gym:{name}: its problems change with Python's hash seed, so runs do not repeat; {remedy}"
        )
    kept: dict[str, object] = {}

    def draw(rng: random.Random, **settings: object) -> dict:
        if "set" not in kept:
            kept["set"] = create(gym, name, 0, settings)
        entry = entry_of(gym, name, kept["set"], rng.getrandbits(31), settings)
        answer = entry["answer"]
        return {
            "prompt": entry["question"],
            "answer": {"task": name, "entry": entry},
            "solution": answer if isinstance(answer, str) and answer else None,
            "meta": {},
        }

    return draw


def reasoning_gym():
    """The package, or a DataError that says how to get it."""
    try:
        return importlib.import_module("reasoning_gym")
    except ModuleNotFoundError as error:
        raise DataError(f"tasks gym:* need reasoning-gym ({error}); pip install 'reasoning-gym>=0.1.25'") from error


def create(gym, name: str, seed: int, settings: dict):
    """A dataset of the task; size and seed are ours to say."""
    if taken := {"seed", "size"} & settings.keys():
        raise DataError(f"task gym:{name}: {' and '.join(sorted(taken))} cannot be set here; use the source's own")
    try:
        return gym.create_dataset(name, seed=seed, size=1, **settings)
    except (AssertionError, TypeError, ValueError) as error:
        raise DataError(f"task gym:{name}: settings {settings} are refused: {error}") from error


def written(value: object) -> str:
    """Numbers and dates that JSON lacks, as text; anything else is no data."""
    if isinstance(value, numbers.Number | datetime.date):
        return str(value)
    raise TypeError(f"a {type(value).__name__} is no JSON")


def entry_of(gym, name: str, dataset, index: int, settings: dict) -> dict:
    """Entry `index` as JSON data. Tasks that prepare their `size` entries at once get a dataset of their own for it."""
    try:
        entry = dataset[index]
    except IndexError:
        dataset = create(gym, name, index, settings)
        entry = dataset[0]
    try:
        plain = json.loads(json.dumps(entry, default=written))
    except TypeError as error:
        raise DataError(f"task gym:{name}: its entries are no data ({error}); draw another task") from error
    if dataset.score_answer(entry["answer"], plain) != dataset.score_answer(entry["answer"], entry):
        raise DataError(f"task gym:{name}: its scorer needs more than data (tuples become lists); draw another task")
    return plain
