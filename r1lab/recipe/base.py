"""The base of every recipe model, and the three kinds of knob. Which knobs there are stands in `r1lab.recipe`.

A field's kind is metadata of its type: `learning_rate: Annotated[Above, RESULT]`.
"""

import hashlib
import json
from enum import Enum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Above = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Nucleus = Annotated[float, Field(gt=0, le=1, strict=True)]
Use = str | dict[str, Any]
"""A name, a dotted path `package.module:name`, or `{use: name, **settings}`."""


class Kind(Enum):
    """What a knob may change."""

    RESULT = "changes what is computed: part of the run's hash"
    ROUNDING = "the same mathematics in another order of additions"
    FREE = "leaves the bytes of the metrics as they are"


RESULT, ROUNDING, FREE = Kind


class Config(BaseModel):
    """Frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True)


def by_name(sources: Any) -> Any:
    """One source, a list or a mapping, as a mapping; an unnamed source has its task's name, or `data`."""
    if isinstance(sources, dict) and sources and all(isinstance(source, dict) for source in sources.values()):
        return sources
    named: dict[str, Any] = {}
    for source in sources if isinstance(sources, (list, tuple)) else [sources]:
        base = str(source.get("task") or "data") if isinstance(source, dict) else "data"
        named[base if base not in named else f"{base}-{len(named)}"] = source
    return named


def without_absent(model: type[Config], given: Any) -> Any:
    """What is given for a kind of stage, without the keys that it does not have where they are at their defaults: so a
    run's folder says them, whose recipe is read again."""
    absent: set[str] = set(getattr(model, "absent", ()))
    if not isinstance(given, dict) or not absent & given.keys():
        return given
    plain = model.model_construct().model_dump(mode="json", by_alias=True, include=absent)
    return {key: value for key, value in given.items() if key not in absent or value != plain.get(key)}


def kind_of(model: type[Config], field: str) -> Kind:
    """The kind that the field's type carries; every knob has one."""
    return next(each for each in model.model_fields[field].metadata if isinstance(each, Kind))


def select(knobs: Config, kind: Kind) -> dict[str, Any]:
    """The values of one kind as plain data, nested as in the recipe; knobs inside knobs go by their own kind."""
    kept: dict[str, Any] = {}
    for name in type(knobs).model_fields:
        value = _select(getattr(knobs, name), kind, kind_of(type(knobs), name) == kind)
        if value is not None:
            kept[name.rstrip("_")] = value
    return kept


def _select(value: Any, kind: Kind, matches: bool) -> Any:
    """None where nothing of the kind is in it."""
    if isinstance(value, Config):
        return select(value, kind) or None
    if isinstance(value, dict) and any(isinstance(item, Config) for item in value.values()):
        return {key: _select(item, kind, matches) for key, item in value.items()} if matches else None
    if isinstance(value, tuple) and any(isinstance(item, Config) for item in value):
        return [_select(item, kind, matches) for item in value] if matches else None
    if not matches:
        return None
    return "none" if value is None else list(value) if isinstance(value, tuple) else value


def digest(value: Any) -> str:
    """Twelve hexadecimal digits of a plain value, for folder names and comparisons."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True, default=str).encode(), digest_size=6).hexdigest()
