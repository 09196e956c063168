"""One knob explained: what it does, its default, what it may change, what other libraries call it. Reads no recipe
(`r1lab.recipe.load`)."""

import re
import textwrap
from collections.abc import Container, Iterator
from functools import cache
from typing import get_args, get_origin

from pydantic.fields import FieldInfo

from r1lab.conversion.foreign import KEYS, PATHS, counterpart
from r1lab.errors import RecipeError
from r1lab.recipe import AnyStageConfig
from r1lab.recipe.base import Config, kind_of
from r1lab.recipe.messages import allowed, is_config, options, whole
from r1lab.recipe.scorers import SCORERS
from r1lab_data.names import did_you_mean

WIDTH = 100
"""Columns of the text."""


def explain(key: str) -> str:
    """Every knob of that path, such as `optimizer.weight_decay`, or of that last name; a name of TRL's or verl's leads
    to ours. RecipeError where nothing is called so."""
    knobs = _knobs()
    named = {end for path, *_ in knobs for end in _ends(path)}
    said = "" if any(key == path for path, *_ in knobs) else counterpart(key)
    wanted = {key, _path(said, named)}
    found: dict[str, list[str]] = {}
    for path, model, field, stage_kind in knobs:
        if wanted & {*_ends(path)}:
            found.setdefault(_told(path, model, field), []).append(stage_kind)
    here, _, note = said.partition("; ")
    lines = [f"{key}: {here}" + f" ({note})" * bool(note)] if said else []
    lines += [_kinds()[key]] if key in _kinds() else []
    lines += [told.replace("\n", f"  (stages of kind {', '.join(kinds)})\n", 1) for told, kinds in found.items()]
    if lines:
        return "\n".join(lines)
    raise RecipeError(f"--explain: {key!r} is no key{did_you_mean(key, sorted(named | _kinds().keys()))}")


@cache
def _knobs() -> tuple[tuple[str, type[Config], str, str], ...]:
    """(path, model, field, kind of stage) of every knob of a stage, and of the learned parts of its reward."""
    stages = get_args(AnyStageConfig)
    of_stages = [(*found, stage.model_fields["kind"].default) for stage in stages for found in _below("", stage)]
    of_parts = [(*found, "rl") for scorer in SCORERS.values() for found in _below("reward.<name>.", scorer)]
    return (*of_stages, *of_parts)


@cache
def _kinds() -> dict[str, str]:
    """What each kind of stage, and of learned part of a reward, is."""
    stages = {stage.model_fields["kind"].default: stage for stage in get_args(AnyStageConfig)}
    told: dict[str, str] = {}
    for what, models in (("kind", stages), ("reward.<name>.use", SCORERS)):
        for name, model in models.items():
            line = f"{what}: {name}\n  {' '.join((model.__doc__ or '').split())}"
            told[name] = f"{told[name]}\n{line}" if name in told else line
    return told


def _below(above: str, model: type[Config]) -> Iterator[tuple[str, type[Config], str]]:
    for name, field in model.model_fields.items():
        if name in getattr(model, "absent", ()):
            continue
        path = above + (field.alias or name)
        yield path, model, name
        for kind in options(field.annotation):
            inner = get_args(kind)[1] if get_origin(kind) is dict else kind
            if is_config(inner):
                yield from _below(f"{path}.<name>." if inner is not kind else f"{path}.", inner)


@cache
def _ends(path: str) -> list[str]:
    """`a.b.c`, `b.c`, `c`; a name that a user chooses left out."""
    parts = [part for part in path.split(".") if part != "<name>"]
    return [".".join(parts[start:]) for start in range(len(parts))]


def _path(here: str, named: Container[str]) -> str:
    """The knob that a counterpart stands at: `objective.kl` of `objective.kl: {coef}; a note`, or one above it."""
    path = re.split("[;:]", here)[0].strip()  # "updates_per_step; counted in updates", "engine.kind: vllm"
    while path and path not in named:
        path = path.rpartition(".")[0]
    return path


@cache
def _told(path: str, model: type[Config], name: str) -> str:
    field, kind = model.model_fields[name], kind_of(model, name)
    ends = _ends(path)
    elsewhere = ", ".join(each for each, here in (KEYS | PATHS).items() if _path(here, ends))
    lines = [
        field.description or "",
        f"{allowed(whole(field))}; {_default(field)}",
        f"{kind.name.lower()}: {kind.value}",
        f"elsewhere: {elsewhere}" if elsewhere else "",
    ]
    fold = textwrap.TextWrapper(WIDTH, initial_indent="  ", subsequent_indent="    ").fill
    return "\n".join([path, *(fold(" ".join(each.split())) for each in lines if each)])


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return "must be given"
    return "default: its own keys' defaults" if isinstance(value, Config) else f"default {value!r}"
