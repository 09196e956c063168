"""The arms of a comparison: recipes, crossed with the values of one key, and their controls. Runs nothing
(`r1lab.comparison.jobs`) but, for a control that pays by chance, one evaluation of the base model.

    --sweep data.limit=8,32,128            each recipe at each value; one that lacks the key runs once, for all values
    --controls random,shuffled             of every recipe: the verdict replaced in training, all else the same
    --controls zero:random,format=regex    `RECIPE:` names whose, `=` says of which verifier or at which rate
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

from r1lab.comparison.design import Sweep
from r1lab.errors import RecipeError
from r1lab.recipe import AnyStageConfig, RejectStageConfig, RlStageConfig, load
from r1lab.recipe.base import RESULT, Config, Kind, kind_of
from r1lab.recipe.data import SourceConfig
from r1lab.recipe.load import Plan, parse_yaml
from r1lab.rollout.train_verifier import KINDS
from r1lab_data.names import did_you_mean


@dataclass(frozen=True)
class Arm:
    """A recipe as one regime runs it."""

    name: str
    raw: dict[str, Any] = field(repr=False)
    base: Path
    given: str | Path | dict = field(repr=False)
    """As the recipe was named, and what overrides it: another reader starts from there."""
    overrides: tuple[str, ...] = ()
    recipe: str = ""
    """Name of the recipe, of all values of a sweep."""
    value: str | None = None
    """Of the key that is swept, as it was written; None: the recipe has no such key."""
    controls: str = ""
    """Name of the arm whose control this is."""

    def plan(self) -> Plan:
        return load.resolve(self.raw, self.base)


class ControlArgument(NamedTuple):
    """One entry of `--controls`."""

    text: str
    recipe: str
    """Empty: of every recipe."""
    kind: str
    value: str
    """A rate or a verifier, as it was written; empty: measured, or the kind's own."""


class SweepArgument(NamedTuple):
    """`--sweep key=value,value`."""

    key: str
    values: tuple[str, ...]


def listed(text: str) -> list[str]:
    """Entries between commas; those within brackets and braces part nothing.

    >>> listed("random,format={use: regex, pattern: a}")
    ['random', 'format={use: regex, pattern: a}']
    """
    # "random,shuffled"; not "{use: regex, pattern: a}"
    return [entry.strip() for entry in re.split(r",(?![^\[{]*[\]}])", text)]


def controls_argument(given: str | Sequence[str]) -> list[ControlArgument]:
    """RecipeError for an entry that is none."""
    found = []
    for text in listed(given) if given and isinstance(given, str) else given:
        head, equals, value = text.partition("=")
        recipe, _, kind = head.rpartition(":")
        if kind not in KINDS or (equals and not value):
            raise RecipeError(
                f"--controls {text!r}: give [RECIPE:]KIND[=VALUE], kinds {', '.join(KINDS)}{did_you_mean(kind, KINDS)}"
            )
        if kind == "random" and value and not isinstance(parse_yaml(value, "--controls random"), int | float):
            raise RecipeError(f"--controls {text!r}: random has a rate, a number from 0 to 1")
        found.append(ControlArgument(text, recipe, kind, value))
    return found


def sweep_argument(given: str) -> SweepArgument:
    """RecipeError where it is none, or names one value alone."""
    key, equals, text = given.partition("=")
    values = tuple(dict.fromkeys(listed(text)))
    if not key or not equals or "" in values or len(values) < 2:
        raise RecipeError(
            f"--sweep {given!r} is not key=value,value: one key and two values or more that differ, "
            "such as data.limit=8,32,128"
        )
    return SweepArgument(key, values)


def swept(given: str | Path | dict, overrides: Sequence[str], sweep: SweepArgument | None) -> list[Arm]:
    """A recipe at every value; once where it has no such key."""
    raw, base = load.read(given, overrides)
    plan = load.resolve(raw, base)
    alone = Arm(plan.name, raw, base, given, tuple(overrides), plan.name)
    kind = kind_at(plan, sweep.key) if sweep else None
    if sweep is None or kind is None:
        return [alone]
    if kind is not RESULT:
        raise RecipeError(
            f"--sweep {sweep.key} is of the kind {kind.name} ({kind.value}); sweep a key that changes what is computed"
        )
    arms = []
    for value in sweep.values:
        further = (*overrides, f"{sweep.key}={value}")
        name = f"{plan.name}-{_slug(sweep.key.rpartition('.')[2])}_{_slug(value)}"
        raw, base = load.read(given, further)
        arms.append(replace(alone, name=name, raw={**raw, "name": name}, overrides=further, value=value))
        arms[-1].plan()  # a value that the key does not take
    return arms


def refuse_unknown(sweep: SweepArgument | None, arms: Sequence[Arm]) -> None:
    """RecipeError where no recipe has the key."""
    if sweep is None or any(arm.value is not None for arm in arms):
        return
    plans = [arm.plan() for arm in arms]
    known = {name for plan in plans for stage in plan.stages for name in type(stage).model_fields}
    known |= {f"data.{name}" for name in SourceConfig.model_fields}
    known |= {f"stages.{stage.name}" for plan in plans for stage in plan.stages}
    raise RecipeError(f"--sweep {sweep.key}: no recipe has this key{did_you_mean(sweep.key, known)}")


def kind_at(plan: Plan, key: str) -> Kind | None:
    """What kind of knob a dotted key is in the stages that have it; None where none has. What says which problems are
    trained on is a result: their content is part of a run's identity."""
    path = key.split(".")
    stages: Sequence[AnyStageConfig] = plan.stages
    if path[0] == "stages":
        stages = [each for at, each in enumerate(stages) if len(path) > 2 and path[1] in (each.name, str(at))]
        path = path[2:]
    if not path:
        return None
    kinds = [kind for stage in stages if (kind := _kind_at(type(stage), stage, path)) is not None]
    return next(iter(kinds), None)


def _kind_at(model: type[Config], knobs: Any, path: Sequence[str]) -> Kind | None:
    name = "from_" if path[0] == "from" else path[0]
    if name not in model.model_fields:
        return None
    kind, value, rest = kind_of(model, name), getattr(knobs, name, None), path[1:]
    if not rest:
        return kind
    if isinstance(value, Config):
        return _kind_at(type(value), value, rest)
    if name == "data":
        inner = rest[1:] if rest[0] in (value or ()) else rest
        return kind if not inner or inner[0] in SourceConfig.model_fields else None
    if isinstance(value, dict):
        return kind
    options = [each for each in get_args(model.model_fields[name].annotation) if _is_model(each)]
    return _kind_at(options[0], None, rest) if options else kind


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Config)


def _slug(text: str) -> str:
    # "1e-4", "dapo"; not "{use: noisy}"
    return re.sub(r"[^\w.-]+", "_", text).strip("_")[:40]


def shared(
    arms: Sequence[Arm], identities: Mapping[str, str], sweep: SweepArgument | None
) -> tuple[list[Arm], Sweep | None]:
    """The arms that have to run, and the sweep's cells: arms of one recipe whose runs would be equal, by `identities`,
    are one. RecipeError where no value changes anything."""
    if sweep is None:
        return list(arms), None
    first: dict[tuple[str, str], Arm] = {}
    for arm in arms:
        first.setdefault((arm.recipe, identities[arm.name]), arm)
    if not any(arm.value not in (None, sweep.values[0]) for arm in first.values()):
        raise RecipeError(f"--sweep {sweep.key}: all of {', '.join(sweep.values)} make the same runs")
    regime = {arm.name: first[arm.recipe, identities[arm.name]].name for arm in arms}
    cells = {
        recipe: {
            value: regime[arm.name]
            for value in sweep.values
            for arm in arms
            if arm.recipe == recipe and arm.value in (value, None)
        }
        for recipe in dict.fromkeys(arm.recipe for arm in arms)
    }
    return list(first.values()), Sweep(sweep.key, cells)


def controls_of(arms: Sequence[Arm], wanted: Sequence[ControlArgument], rate_of: Callable[[Arm], float]) -> list[Arm]:
    """The controls of arms, all else the same. RecipeError for one that has no verdict to replace.

    `rate_of` measures the share of right answers of an arm's base model.
    """
    made, rates = [], {}
    for control in wanted:
        chosen = [arm for arm in arms if control.recipe in ("", arm.recipe, arm.name)]
        if not chosen:
            names = list(dict.fromkeys(arm.recipe for arm in arms))
            close = did_you_mean(control.recipe, names)
            raise RecipeError(f"--controls {control.text!r}: no such recipe; of {', '.join(names)}{close}")
        for arm in chosen:
            _refuse_imitation(arm, control, [each.recipe for each in arms if _judged(each.plan())])
            setting: dict[str, Any] = {"use": "control", "kind": control.kind}
            if control.kind != "random":
                setting |= {"of": parse_yaml(control.value, "--controls")} if control.value else {}
            elif control.value:
                setting["rate"] = parse_yaml(control.value, "--controls")
            else:
                if arm.name not in rates:
                    rates[arm.name] = rate_of(arm)
                setting["rate"] = rates[arm.name]
            name = f"{arm.name}-{control.kind}"
            made.append(replace(arm, name=name, raw=_controlled(arm.raw, name, setting), controls=arm.name))
    return made


def _judged(plan: Plan) -> list[AnyStageConfig]:
    """The stages in which a verdict decides what is learned."""
    return [stage for stage in plan.stages if isinstance(stage, RlStageConfig | RejectStageConfig)]


def _refuse_imitation(arm: Arm, control: ControlArgument, others: Sequence[str]) -> None:
    plan = arm.plan()
    judged = _judged(plan)
    if not judged:
        name = next(iter(dict.fromkeys(others)), None)
        remedy = f"name whose it is: --controls {name}:{control.kind}" if name else "leave --controls out"
        raise RecipeError(
            f"--controls {control.text!r}: {arm.name} only imitates ({', '.join(s.kind for s in plan.stages)}), so no "
            f"verdict of it can be replaced; {remedy}"
        )
    if any(getattr(stage, "train_verifier", None) for stage in judged):
        raise RecipeError(
            f"--controls {control.text!r}: {arm.name} has a train_verifier of its own; a control of the recipe without "
            "it says more"
        )


def _controlled(raw: Mapping[str, Any], name: str, setting: Mapping[str, Any]) -> dict[str, Any]:
    return {**raw, "name": name, "train_verifier": dict(setting)}
