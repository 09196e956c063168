"""Texts about the presets: a table, one explained by formula, fields, paper and needs, and in what an objective differs
from it. Not what they compute."""

from collections.abc import Iterator
from typing import Any

from r1lab import plugin
from r1lab.errors import RecipeError
from r1lab.objective import build, filled
from r1lab.objective.advantage import ADVANTAGES
from r1lab.objective.aggregate import AGGREGATES
from r1lab.objective.correction import CORRECTIONS
from r1lab.objective.kl import DEFAULTS, ESTIMATORS
from r1lab.objective.mask import MASKS
from r1lab.objective.mix import MIXES
from r1lab.objective.objective import Objective
from r1lab.objective.presets import COMMON, OUT, PRESETS
from r1lab.objective.rules import GROUPS
from r1lab.objective.weight import WEIGHTS
from r1lab.recipe import ObjectiveConfig
from r1lab.recipe.load import shipped_names
from r1lab.records import Role

TABLES = {
    "group": GROUPS, "advantage": ADVANTAGES, "weight": WEIGHTS, "mask": MASKS, "correction": CORRECTIONS,
    "aggregate": AGGREGATES, "mix": MIXES,
}  # fmt: skip
GROUP_SIZE = 8


def table() -> str:
    """One line a preset: name, source, formula; then those that are none, and why."""
    name = max(map(len, PRESETS))
    paper = max(len(preset.paper) for preset in PRESETS.values())
    lines = [f"{key:{name}}  {preset.paper:{paper}}  {preset.formula}" for key, preset in PRESETS.items()]
    out = [f"{key:{name}}  {source:{paper}}  {why}" for key, (source, why) in OUT.items()]
    return "\n".join([*lines, "", "not here:", *out])


def explain(name: str) -> str:
    """A preset's formula, paper, fields (those that differ from the default marked) and needs.

    RecipeError names the nearest preset.
    """
    if name in OUT:
        return f"{name}  ({OUT[name][0]})\n  not here: {OUT[name][1]}"
    if name not in PRESETS and name in shipped_names():
        raise RecipeError(
            f"methods: {name!r} is a recipe, not a preset; r1lab train {name} --dry-run says what it does"
        )
    preset = plugin.find(PRESETS, name, "methods")
    fields, default = {**COMMON, **preset.fields}, {**COMMON, **PRESETS["default"].fields}
    lines = [f"{name}  ({preset.paper})", f"  {preset.formula}", "", "objective:  (* differs from the default)"]
    for key, value in fields.items():
        mark = "*" if value != default[key] else " "
        lines += [f"{mark} {key}: {written(value)}", *(f"      {each}" for each in _docstrings(key, value))]
    lines += ["", *(f"needs {need}" for need in _needs(fields))]
    lines += [f"note: {preset.note}"] if preset.note else []
    return "\n".join([*lines, f"use:  objective: {{preset: {name}}}"])


def changes(knobs: ObjectiveConfig) -> list[tuple[str, Any, Any]]:
    """(key, value in force, the preset's) of each field in which an objective differs from its preset; what is stated
    as the preset has it does not."""
    now, own = filled(knobs), filled(ObjectiveConfig(preset=knobs.preset))
    told: list[tuple[str, Any, Any]] = []
    for key, value in now.items():
        one, other = _whole(key, value), _whole(key, own[key])
        if one == other:
            continue
        if key in ("kl", "entropy", "weight"):
            names = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
            here, there = (value, own[key]) if key == "weight" else (one, other)
            told += [(f"{key}.{name}", here.get(name), there.get(name)) for name in names]
        else:
            told.append((key, value, own[key]))
    return told


def _whole(key: str, value: Any) -> Any:
    """A field with the settings that it does not state."""
    if key == "kl":
        return {**DEFAULTS, **value}
    if key == "weight":
        return {role: _term(key, spec) for role, spec in value.items()}
    if isinstance(value, list | tuple):
        return [_term(key, spec) for spec in value]
    return _term(key, value)


def _term(key: str, spec: Any) -> Any:
    """A function's name with all its settings; any other value as it is."""
    table, name = TABLES.get(key, {}), spec.get("use") if isinstance(spec, dict) else spec
    if key == "group" or not isinstance(name, str) or name not in table:
        return spec
    own = plugin.settings_of(getattr(table[name], "fn", table[name]))
    return {"use": name, **own, **(spec if isinstance(spec, dict) else {})}


def _docstrings(key: str, value: Any) -> Iterator[str]:
    """The first line of the docstring of each function that a field names."""
    if key == "kl":
        value = value["estimator"] if value.get("coef") else "none"
    elif key == "group":
        value = value["select"]
    specs = value.values() if key == "weight" else value if isinstance(value, list) else [value]
    for spec in specs:
        named = spec if isinstance(spec, str) else spec.get("use", "") if isinstance(spec, dict) else ""
        found = (ESTIMATORS if key == "kl" else TABLES.get(key, {})).get(named)
        text = (getattr(found, "fn", found).__doc__ or "") if found else ""
        if text and named != "none":
            yield f"{named}: {' '.join(text.split())}"


def _needs(fields: dict) -> Iterator[str]:
    built = build(ObjectiveConfig(**fields), max_new_tokens=512, group_size=GROUP_SIZE)
    yield f"a stage of kind {'rl' if built.rule.samples else 'sft'}"
    yield from (text for is_needed, text in _parts(built) if is_needed)
    head, how = ("loss", "row by row") if built.is_local else ("two-phase", "whole sequences first")
    yield f"the {head} head, which is chosen by itself: {how}"


def _parts(built: Objective) -> list[tuple[bool, str]]:
    pairs_or_relative = built.advantage.relative or built.rule.role is Role.PAIR
    return [
        (built.rule.samples and pairs_or_relative, "group_size of at least 2"),
        (built.rule.demonstrates, "a solution of every problem (columns.solution)"),
        ("ref" in built.needs, "a reference model, the one the stage begins with: its memory, one forward pass more"),
        ("old" in built.needs, "log-probabilities before the update: one forward pass more"),
        ("entropy" in built.needs, "entropies before the update: one forward pass more"),
        (built.has_values, "a value head, made and kept in the checkpoint"),
        (built.kappa is not None, f"a second softmax at temperature {built.kappa}, which the head computes"),
    ]


def written(value: Any) -> str:
    """A value as a recipe has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {None: "none", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
