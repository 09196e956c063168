"""Build a stage's objective from its recipe: eight axes, one file each. Contradictions are refused in one line.

Named methods are rows of `presets`. Not the loss head (`r1lab.kernels`).
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from r1lab import plugin
from r1lab.errors import RecipeError
from r1lab.objective import rules, step_credit
from r1lab.objective.advantage import ADVANTAGES
from r1lab.objective.aggregate import AGGREGATES
from r1lab.objective.contradictions import refuse
from r1lab.objective.correction import CORRECTIONS
from r1lab.objective.credit import SCALES
from r1lab.objective.entropy import Coefficient
from r1lab.objective.kl import DEFAULTS, ESTIMATORS
from r1lab.objective.mask import MASKS
from r1lab.objective.mix import MIXES
from r1lab.objective.objective import Credit, KlTerm, Objective
from r1lab.objective.presets import COMMON, PRESETS, Preset
from r1lab.objective.term import Term, lookup
from r1lab.objective.weight import WEIGHTS
from r1lab.recipe import ObjectiveConfig
from r1lab.records import Role

CLIPS = ("clip_low", "clip_high")
GAE_ONLY = ("gamma", "lam", "value_coef", "value_rate")
__all__ = ["Objective", "build", "filled"]


def build(knobs: ObjectiveConfig, *, max_new_tokens: int, truncated: str = "score", group_size: int = 1) -> Objective:
    """The objective that a stage's knobs describe. RecipeError for an unknown name or a contradiction."""
    fields = filled(knobs)
    rule, max_draws = rules.build(fields["group"], group_size)
    weight, clip, clipped = _weights(fields, stated=[key for key in CLIPS if getattr(knobs, key) is not None])
    advantage, credit = _advantage(fields["advantage"])
    aggregate = lookup(AGGREGATES, fields["aggregate"], "objective.aggregate", length=max_new_tokens)
    one = {name: np.array([1]) for name in aggregate.takes}
    if not (np.asarray(aggregate.fn(np.array([1]), **one)) > 0).all():
        raise RecipeError(f"objective.aggregate: {fields['aggregate']!r} gives a denominator that is not above 0")
    built = Objective(
        rule=rule,
        max_draws=max_draws,
        advantage=advantage,
        credit=credit,
        step_credit=step_credit.build(fields["credit"]),
        weight=weight,
        clip=clip,
        clips_sequences=clipped == "sequence",
        masks=_masks(fields["mask"]),
        kl=_kl(fields["kl"]),
        entropy=Coefficient(**fields["entropy"]),
        corrections=tuple(_each(CORRECTIONS, fields["correction"], "objective.correction")),
        aggregate=aggregate,
        mix=lookup(MIXES, fields["mix"], "objective.mix").fn,
        truncated=truncated,
    )
    refuse(built, fields, group_size)
    return built


def filled(knobs: ObjectiveConfig) -> dict:
    """COMMON, overlaid by the preset's fields, overlaid by what the recipe states.

    A mapping is overlaid key by key (`kl: {coef: 0.1}` keeps the estimator), one that names a function replaced.
    """
    preset = plugin.find(PRESETS, knobs.preset or "default", "objective.preset")
    if not isinstance(preset, Preset):
        raise RecipeError(f"objective.preset: {knobs.preset!r} is {preset!r}, which is no Preset")
    fields = {**COMMON, **preset.fields}
    if knobs.preset in (None, "default") and not _equal_teaches_nothing(knobs):
        fields["group"] = COMMON["group"]
    for key, value in knobs.model_dump(exclude={"preset"}, exclude_none=True).items():
        merged = isinstance(value, dict) and isinstance(fields[key], dict) and not {"use", "select"} & set(value)
        fields[key] = {**fields[key], **value} if merged else value
    return fields


def _equal_teaches_nothing(knobs: ObjectiveConfig) -> bool:
    """Whether groups of equal rewards have no advantages, so that the default may leave them out: not where a recipe
    states an advantage that looks at each reward alone, pays for KL in the reward, or credits steps."""
    name, _ = plugin.split(knobs.advantage or COMMON["advantage"], "objective.advantage")
    in_reward = knobs.kl is not None and knobs.kl.where == "reward"
    by_steps = knobs.credit is not None and plugin.split(knobs.credit, "objective.credit")[0] != "outcome"
    return name in ADVANTAGES and ADVANTAGES[name].relative and not in_reward and not by_steps


def _advantage(spec: Any) -> tuple[Term, Credit]:
    """The advantage and what is done with it once the step is scored, whose settings stand beside it."""
    name, settings = plugin.split(spec, "objective.advantage")
    of_credit = plugin.settings_of(Credit)
    own = {key: value for key, value in settings.items() if key not in of_credit}
    term = lookup(ADVANTAGES, {"use": name, **own}, "objective.advantage")
    given = {key: value for key, value in settings.items() if key in of_credit}
    stray = [key for key in given if key in GAE_ONLY and "values" not in term.needs]
    if stray:
        raise RecipeError(f"objective.advantage: {stray[0]} with {name!r}; it belongs to advantage: {{use: gae}}")
    credit = plugin.bind(Credit, given, "objective.advantage")()
    plugin.find(SCALES, credit.scale, "objective.advantage.scale")
    outside = [key for key in ("gamma", "lam") if not 0 <= getattr(credit, key) <= 1]
    outside += [key for key in ("value_coef", "value_rate") if getattr(credit, key) < 0]
    if outside:
        raise RecipeError(
            f"objective.advantage.{outside[0]}: {getattr(credit, outside[0])!r} must be "
            f"{'from 0 to 1' if outside[0] in ('gamma', 'lam') else 'at least 0'}"
        )
    return term, credit


def _weights(fields: dict, stated: list[str]) -> tuple[dict[Role, Term], tuple[float, float] | None, str]:
    """The weight of each role; (clip_low, clip_high) of the first that clips a ratio, and whose: token or sequence."""
    clips = {key: fields[key] for key in CLIPS if fields[key] is not None}
    weight: dict[Role, Term] = {}
    for role, spec in fields["weight"].items():
        weight[Role[role.upper()]] = lookup(WEIGHTS, spec, f"objective.weight.{role}", **clips)
    settings = [(term.scope, plugin.settings_of(term.fn)) for term in weight.values()]
    unused = [key for key in stated if not any(key in keywords for _, keywords in settings)]
    if unused:
        raise RecipeError(
            f"objective: {', '.join(unused)} with weights that do not clip ({fields['weight']!r}); "
            "take the clip away or use weight: {policy: ppo}"
        )
    clipping = [(scope, keywords) for scope, keywords in settings if any(key in keywords for key in CLIPS)]
    if not clipping:
        return weight, None, ""
    scope, keywords = clipping[0]
    return weight, tuple(keywords.get(key, math.inf) for key in CLIPS), scope


def _each(table: Mapping[str, Term], spec: Any, what: str) -> list[Term]:
    """The terms of one spec or a list of several; none of `none`."""
    specs = spec if isinstance(spec, list | tuple) else [spec]
    return [lookup(table, each, what) for each in specs if each != "none"]


def _masks(spec: Any) -> tuple[Term, ...]:
    """A function of a user's own sees the tokens of the whole update (`mask.Tokens`)."""
    terms = _each(MASKS, spec, "objective.mask")
    return tuple(replace(term, scope="batch") if term.scope == "token" else term for term in terms)


def _kl(settings: dict) -> KlTerm:
    given = {**DEFAULTS, **settings}
    coef, where = float(given["coef"]), given["where"]
    term = lookup(ESTIMATORS, given["estimator"], "objective.kl.estimator")
    if coef and where == "loss" and term.fn is ESTIMATORS["k1"].fn:
        raise RecipeError(
            "objective.kl: k1 as a loss has a gradient of mean zero and teaches nothing; use estimator: k2 or k3, "
            "or where: reward"
        )
    return KlTerm(term, coef, where, given["to_go"], given["ref_refresh_steps"])
