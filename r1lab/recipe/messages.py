"""What is wrong with a recipe, in its own words: one line with every unknown key and every value that cannot be.

Not the knobs (`r1lab.recipe`), nor what keys of other libraries are called here (`r1lab.conversion.foreign`).
"""

import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from r1lab.conversion import porting
from r1lab.conversion.foreign import CONTAINERS, WHOLE, counterpart
from r1lab.errors import shown
from r1lab.recipe.base import Config, Use, by_name
from r1lab.recipe.data import PromptConfig, SourceConfig
from r1lab.recipe.stages import ObjectiveConfig
from r1lab_data.names import did_you_mean, nearest

BY_NAME = {PromptConfig: "template", ObjectiveConfig: "preset", SourceConfig: "path"}
"""The key of a mapping for which people write its value alone."""
SUCH_AS = {
    "objective.kl": "{{coef: {value}}}",
    "objective.entropy": "{{coef: {value}}}",
    "reward": "{{score: 1.0, length: 0.1}}, parts with their weights, of which score is the verifier",
    "lora": "{{rank: 16}}",
    "optimizer": "{{weight_decay: 0.01}}; AdamW is the only one",
    "eval": "{{every: 10, sets: {{held_out: {{path: test.jsonl}}}}}}",
    "eval.sets": "{{held_out: {{path: test.jsonl}}}}",
}
"""What may stand at keys for which people write another form."""
EVERYWHERE = ("name", "kind", "from", "seed")
"""Keys whose name, found at another place, says nothing of what was meant."""
SHOWN = 12
"""Keys of a mapping that are listed where none is near."""
LIMITS = {"gt": "greater than", "ge": ">=", "lt": "less than", "le": "<="}
Unknown = tuple[str, Any, str]
"""The path of a key that no recipe has, its value, and what is said of it, such as: is `group_size` here."""
NAMED = "a name, a dotted path module:name, or {use: name, ...}"
PLAIN = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}


def keys(model: type[Config]) -> list[str]:
    """What a recipe calls the fields of a model."""
    absent = getattr(model, "absent", ())
    return [field.alias or name for name, field in model.model_fields.items() if name not in absent]


def line(unknown: Sequence[Unknown], wrong: Sequence[str], stated: Mapping[str, Any] = {}) -> str:
    """All that is wrong: unknown keys, each with what is said of it, then values. Where several are another library's,
    each stands in a line of its own, with what they say together and beside what the recipe has `stated`; its defaults
    come last."""
    if len([path for path, value, _ in unknown if counterpart(path, value)]) > 1:
        together, last = porting.told({path: value for path, value, _ in unknown}, stated)
        listed = [text for path, _, hint in unknown for text in together.get(path) or [_of_one(path, hint)]]
        return "\n  ".join([f"{len(unknown)} unknown keys:", *dict.fromkeys(listed), *dict.fromkeys(wrong), *last])
    if len(unknown) == 1:
        path, _, hint = unknown[0]
        told = [f"{path}: unknown key; {'it ' * _is_said_of_it(hint)}{hint}"]
    else:
        told = [_of_one(path, hint) for path, _, hint in unknown]
    start = f"{len(told)} unknown keys: " if len(told) > 1 else ""
    return start + "; ".join([*told, *dict.fromkeys(wrong)])


def _of_one(path: str, hint: str) -> str:
    return f"`{path}`{' ' if _is_said_of_it(hint) else ': '}{hint}"


def _is_said_of_it(hint: str) -> bool:
    return hint.startswith(("is ", "has "))


def told(error: ValidationError, model: type[Config], values: Mapping[str, Any]) -> str:
    """All that is wrong with the values of one model."""
    return line(*faults(error, model, values, {}))


def faults(
    error: ValidationError, model: type[Config], values: Mapping[str, Any], models: Mapping[str, type[Config]]
) -> tuple[list[Unknown], list[str]]:
    """The unknown keys, each with a hint, and the lines of wrong values that a stage's `values` have for its model.

    `models` are those of all kinds of stage, by kind, among whose keys an unknown one may stand.
    """
    unknown, wrong = [], []
    for fault in error.errors():
        place, kind = _place(model, values, fault["loc"])
        where = ".".join(place)
        if fault["type"] == "extra_forbidden":
            owner = next((each for each in options(kind) if is_config(each)), model)
            unknown += unknown_keys(".".join([*place, str(fault["loc"][-1])]), fault["input"], keys(owner), models)
        elif fault["type"] == "missing":
            needs = (
                "every stage needs it, such as data: {path: problems.jsonl}" if where == "data" else "it must be given"
            )
            wrong.append(f"{where}: missing; {needs}")
        elif fault["type"] == "value_error":
            message = fault["msg"].removeprefix("Value error, ")
            wrong.append(f"{where}: {message}" if where else message)
        else:
            wrong.append(_wrong_value(where, kind, fault))
    return unknown, list({each.partition(": ")[0]: each for each in reversed(wrong)}.values())[::-1]


def unknown_keys(path: str, value: Any, known: Iterable[str], models: Mapping[str, type[Config]]) -> list[Unknown]:
    """An unknown key; of a section of another library, each key in it."""
    first, last = path.partition(".")[0], path.rpartition(".")[2]
    if isinstance(value, Mapping) and value and first in CONTAINERS and last not in WHOLE:
        inner = [unknown_keys(f"{path}.{name}", below, (), models) for name, below in value.items()]
        return [each for listed in inner for each in listed]
    return [(path, value, _hint(path, value, list(known), models))]


def _hint(path: str, value: Any, known: Sequence[str], models: Mapping[str, type[Config]]) -> str:
    key = path.rpartition(".")[2]
    if here := counterpart(path, value):
        name, semicolon, note = here.partition("; ")
        return ("has no key here" if name == "no key" else f"is `{name}` here") + (f" ({note})" if semicolon else "")
    owners = [kind for kind, model in models.items() if key in keys(model)]
    if owners and key == path:
        return f"is of stages of kind {' or '.join(owners)}"
    elsewhere = [*([key] if owners and key not in EVERYWHERE else []), *_deeper(key, models.values())]
    if elsewhere:
        return f"is `{'` or `'.join(elsewhere[:3])}` here"
    if close := nearest(key, known):
        return f"did you mean {close!r}?"
    return f"known: {_some(known)}" if known else "nothing here is called so"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _deeper(key: str, models: Iterable[type[Config]]) -> list[str]:
    """Paths of the keys of this name that stand below another one."""
    found: dict[str, None] = {}
    for model in models:
        for name in set(model.model_fields) - set(getattr(model, "absent", ())):
            field = model.model_fields[name]
            inner = next((each for each in options(field.annotation) if is_config(each)), None)
            if inner is not None and key in keys(inner):
                found[f"{field.alias or name}.{key}"] = None
    return sorted(found)


def _place(model: type[Config], values: Any, steps: Sequence[Any]) -> tuple[list[str], Any]:
    """The path of a fault as the recipe has it, without what a validator calls its branches, and the type due there."""
    place: list[str] = []
    kind: Any = model
    given: Any = values
    for step in steps:
        several = options(kind)
        owner = next((each for each in several if is_config(each)), None)
        inner = _container(several, given)
        if owner is not None:
            fields = {field.alias or name: field for name, field in owner.model_fields.items()}
            if step not in fields:
                continue
            kind = whole(fields[step])
        elif inner is None or step == "[key]" or (len(several) > 1 and not _holds(given, step)):
            continue
        elif get_origin(inner) is dict:
            kind = get_args(inner)[1]
            if isinstance(given, list):
                step = list(by_name(given)).index(step)
            elif not _holds(given, step):
                continue  # the one source, whose name is ours
        else:
            kind = get_args(inner)[0]
        place.append(str(step))
        given = _below(given, step)
    return place, kind


def _holds(given: Any, step: Any) -> bool:
    return (isinstance(given, Mapping) and step in given) or (isinstance(given, list) and isinstance(step, int))


def _container(options: Sequence[Any], given: Any) -> Any:
    """Of the types that hold others the one that was given; None where there is none."""
    listed = [each for each in options if get_origin(each) in (tuple, list)]
    mapped = [each for each in options if get_origin(each) is dict]
    return next(iter(listed + mapped if isinstance(given, list) else mapped + listed), None)


def _below(given: Any, step: Any) -> Any:
    if isinstance(given, list):
        return given[step] if isinstance(step, int) and step < len(given) else None
    return given.get(step) if isinstance(given, Mapping) else None


def is_config(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Config)


def whole(field: FieldInfo) -> Any:
    """A field's type with its limits."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def options(kind: Any) -> list[Any]:
    """The types of a union but None; of any other the type itself; limits left out."""
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(bare) in (Union, types.UnionType):
        return [each for option in get_args(bare) for each in options(option) if option is not type(None)]
    return [bare]


def _wrong_value(where: str, kind: Any, fault: Mapping[str, Any]) -> str:
    value = fault["input"]
    if fault["loc"][-1] == "[key]" or fault["type"] == "invalid_key":
        return f"{where}: the key {shown(value)} must be a text".removeprefix(": ")
    hint = ""
    several = options(kind)
    if isinstance(value, str) and not {int, float}.isdisjoint(map(_bare, several)) and _reads_as_number(value):
        hint = "; leave the quotes out"
    elif several == [str] and isinstance(value, Mapping) and isinstance(first := next(iter(value.values()), 0), str):
        hint = f"; such as {where}: {first}"
    elif several == [str] and not isinstance(value, str | None):
        hint = "; put the text in quotes"
    elif where == "stop" and isinstance(value, str | list):
        hint = "; strings that end a completion stand under sampling.stop"
    elif where == "verifier" and isinstance(value, list):
        hint = "; one verifies the answer, others are parts of the reward, such as reward: {score: 1.0, exact: 0.5}"
    elif where in SUCH_AS:
        hint = f"; such as {where}: {SUCH_AS[where].format(value=value if isinstance(value, int | float) else 0.01)}"
    elif isinstance(value, str) and any(get_origin(each) is tuple for each in several):
        hint = f"; such as {where}: [{value}]"
    elif isinstance(value, str) and (choices := [each for option in several for each in _choices(option)]):
        hint = did_you_mean(value, choices)
    elif isinstance(value, str) and several[0] in BY_NAME:
        hint = f"; such as {where}: {{{BY_NAME[several[0]]}: {value}}}"
    return f"{where}: must be {allowed(kind)}, got {shown(value)}{hint}"


def _choices(kind: Any) -> list[str]:
    """The names of which one may stand at a key."""
    return [str(each) for each in get_args(kind)] if get_origin(kind) is Literal else []


def allowed(kind: Any) -> str:
    """What may stand at a key, in words."""
    if get_origin(kind) is Annotated:
        bare, *fields = get_args(kind)
        limits = [limit for field in fields for limit in getattr(field, "metadata", [field])]
        said = [f"{word} {getattr(each, key)}" for each in limits for key, word in LIMITS.items() if hasattr(each, key)]
        return " ".join([allowed(bare), " and ".join(said)]).strip()
    if get_origin(kind) in (Union, types.UnionType):
        several = [each for each in get_args(kind) if each not in get_args(Use)]
        is_use = len(get_args(kind)) - len(several) == len(get_args(Use))
        words = [NAMED, *map(allowed, several)] if is_use else map(allowed, get_args(kind))
        return " or ".join(dict.fromkeys(words))
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is dict:
        return "a mapping of names to values"
    if get_origin(kind) in (tuple, list):
        return f"a list, each {allowed(get_args(kind)[0])}"
    if is_config(kind):
        listed = keys(kind)
        return f"a mapping of keys ({_some(listed)})"
    return PLAIN.get(kind, "another value")


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
