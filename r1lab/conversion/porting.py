"""What keys of TRL, verl or OpenRLHF that stand in a recipe are here: lines of a message, with the values of the recipe
that `r1lab convert` writes. Not what one key is called here (`r1lab.conversion.foreign`).
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from r1lab.conversion import openrlhf, trl, verl
from r1lab.conversion.foreign import counterpart
from r1lab.conversion.translation import DEFAULT, NONE, Translation, flow
from r1lab.errors import RecipeError

LIBRARIES: dict[str, Callable[[dict[str, Any], int | None], Translation]] = {
    "TRL": trl.translate, "verl": verl.translate, "OpenRLHF": openrlhf.translate
}  # fmt: skip
GOES_ON = {
    "TRL": "r1lab convert trl CONFIG makes a recipe of it all",
    "verl": "r1lab convert verl OVERRIDES makes a recipe of it all",
    "OpenRLHF": "r1lab train --explain KEY says more of each",
}
OWN = {"name", "model", "data", "verifier", "eval", "engine"}
"""Keys of a recipe for which a library's default says nothing to somebody who writes one."""
LENGTH = {"steps", "epochs", "stop"}
MOST_CHARACTERS = 600
"""Of a value that a line shows."""


def translated(library: str, given: dict[str, Any], processes: int | None = None) -> Translation:
    """A whole config, with a row for each of its keys. RecipeError in one line where a value cannot be."""
    try:
        told = LIBRARIES[library](given, processes)
        told.rest()
    except RecipeError:
        raise
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:  # values of other kinds
        raise RecipeError(f"a value is of another kind than {library.lower()} takes: {error}") from None
    return told


def told(unknown: Mapping[str, Any], stated: Mapping[str, Any]) -> tuple[dict[str, list[str]], list[str]]:
    """(lines of what unknown keys are together, by their paths; what comes last) where they are one library's.

    `stated` is what the recipe has beside them; what stands there is not said again.
    """
    library = _library(unknown)
    if not library:
        return {}, []
    names = {path: _name(library, path) for path in unknown}
    given = {**stated, **{names[path]: value for path, value in unknown.items()}}
    if library == "TRL" and "group_size" in stated:
        given.setdefault("num_generations", stated["group_size"])
    try:
        translation = translated(library, given)
    except RecipeError as error:
        return {}, [str(error)]
    lines: dict[str, list[str]] = {path: [] for path in unknown}
    defaults = []
    length = LENGTH if LENGTH & {*stated, *translation.recipe} - {"epochs"} else set()
    for key, value in translation.ordered().items():
        rows = [row for row in translation.rows if row.here.startswith((f"{key}:", f"{key}."))]
        paths = [path for path in names if any(names[path] in row.keys for row in rows)]
        if paths and key not in stated:
            notes = "; ".join(dict.fromkeys(row.note for row in rows if row.note))
            text = f"{_named(paths, ' is', ':')} `{key}: {_flow(value)}` here{f' ({notes})' * bool(notes)}"
            for path in paths:
                lines[path].append(text)
        elif key not in OWN and key not in length and key not in stated and any(row.kind == DEFAULT for row in rows):
            defaults.append(f"`{key}: {_flow(value)}`")
    for row in translation.rows:
        paths = [path for path in names if row.kind == NONE and row.note and names[path] in row.keys]
        for path in paths:
            lines[path] = lines[path] or [f"{_named(paths, ' has', ' have')} no key here ({row.note})"]
    differing = f"{library}'s defaults that differ here: {', '.join(defaults)}; " if defaults else ""
    return lines, [differing + GOES_ON[library]]


def _flow(value: Any) -> str:
    """On one line, cut."""
    text = " ".join(flow(value).split("\n"))
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} ..."


def _named(paths: list[str], one: str, several: str) -> str:
    return f"`{'`, `'.join(paths)}`{one if len(paths) == 1 else several}"


@cache
def _read(library: str) -> list[str]:
    """The keys that a library's translation reads, those of the fewest parts first."""
    return sorted(LIBRARIES[library]({}, None).read, key=lambda key: (key.count("."), key))


def _library(unknown: Mapping[str, Any]) -> str:
    """Whose keys they are, of which two at least are known; empty where nobody's."""
    known = {path.rpartition(".")[2] for path, value in unknown.items() if counterpart(path, value)}
    counts = {name: len(known & {key.rpartition(".")[2] for key in _read(name)}) for name in LIBRARIES}
    library = max(counts, key=lambda name: counts[name])
    return library if counts[library] > 1 else ""


def _name(library: str, path: str) -> str:
    """A key as the library's translation reads it: `actor_rollout_ref.rollout.n` of `rollout.n`, `beta` of
    `grpo_config.beta`."""
    if library != "verl":
        return path.rpartition(".")[2]
    return next((key for key in _read(library) if f".{key}".endswith(f".{path}")), path)
