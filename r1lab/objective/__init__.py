"""The objective of a stage: eight axes, one file each, put together here. Its methods are rows of `presets`.

Not the loss head (`r1lab.kernels`), which never learns a method's name: it gets `row_loss` and differentiates it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from r1lab import plugin
from r1lab.errors import RecipeError
from r1lab.objective import entropy as entropy_axis
from r1lab.objective import group as group_axis
from r1lab.objective.advantage import ADVANTAGES
from r1lab.objective.aggregate import AGGREGATES, scales
from r1lab.objective.correction import CORRECTIONS
from r1lab.objective.kl import ESTIMATORS
from r1lab.objective.mask import token_mask
from r1lab.objective.mix import MIXES
from r1lab.objective.presets import DEFAULT, PRESETS, Preset
from r1lab.objective.term import Term, lookup
from r1lab.objective.weight import WEIGHTS
from r1lab.recipe import Objective as ObjectiveKnobs
from r1lab.records import Group, PackedBatch, Role, Sample

CLIPS = ("clip_low", "clip_high")


@dataclass(frozen=True)
class Objective:
    """What a stage learns from a block of groups."""

    rule: group_axis.All | group_axis.Demonstrations
    max_draws: int
    advantage: Term
    weight: Mapping[Role, Term]
    clip: tuple[float, float] | None
    """(low, high), or None where no weight clips."""
    kl: Term
    kl_coef: float
    ref_refresh_steps: int
    """0: the reference stays the model the stage began with."""
    entropy_coef: float
    correction: Term
    aggregate: Term
    mix: Callable[[Role, int], float]
    truncated: str

    @property
    def needs(self) -> frozenset[str]:
        """What `policy.score` computes before an update."""
        kl = frozenset({"ref"}) if self.kl_coef else frozenset()
        return frozenset().union(kl, *(term.needs for term in self.weight.values()))

    def samples(self, group: Group) -> list[Sample]:
        """The members of a kept group with their advantages; `scale` comes from `scaled`, over the whole update."""
        rewards = np.array([member.reward for member in group.members], np.float64)
        advantages = np.asarray(self.advantage.fn(rewards), np.float64)
        if advantages.shape != rewards.shape or not np.isfinite(advantages).all():
            raise RecipeError(f"objective.advantage: must return one finite number a completion, got {advantages!r}")
        made = []
        for member, advantage in zip(group.members, advantages, strict=True):
            rollout = member.rollout
            on_token = np.where(rollout.role == Role.DEMO, 1.0, advantage).astype(np.float32)
            made.append(Sample(rollout, rollout.role, on_token, np.zeros(len(on_token), np.float32)))
        return made

    def scaled(self, samples: list[Sample], step: int) -> list[Sample]:
        """The samples of one update with their scales."""
        masks = [token_mask(sample, truncated=self.truncated) for sample in samples]
        return scales(samples, masks, aggregate=self.aggregate.fn, mix=self.mix, step=step)

    def weightless(self, sample: Sample) -> str:
        """Why the sample's gradient is identically zero, or an empty text where it is not."""
        if not sample.scale.any():
            return "masked"
        regularised = (self.kl_coef or self.entropy_coef) and (sample.role == Role.POLICY).any()
        return "" if regularised or (sample.advantage * sample.scale).any() else "zero_advantage"

    def row_loss(self, rows: PackedBatch, logp: Tensor, entropy: Tensor, at: slice) -> Tensor:
        """Loss [n] of the rows `at` from their current log-probability and entropy [n], differentiable in both."""
        old = logp.detach() if rows.old is None else rows.old[at]
        advantage, role, engine = rows.advantage[at], rows.role[at], rows.engine[at]
        is_policy = role == Role.POLICY
        loss = torch.zeros_like(logp)
        # An `old` that is not finite stands on rows of scale 0, and 0 times NaN is NaN.
        finite_old = torch.where(is_policy & old.isfinite(), old, logp.detach())
        for kind, term in self.weight.items():
            value = term.fn(logp=logp, old=finite_old, advantage=advantage)
            if kind is Role.POLICY:
                value = value * self.correction.fn(old=old, engine=engine)
            loss = torch.where(role == kind, value, loss)
        if self.kl_coef:
            loss = loss + torch.where(is_policy, self.kl_coef * self.kl.fn(logp=logp, ref=rows.ref[at]), 0.0)
        if self.entropy_coef:
            loss = loss + torch.where(is_policy, entropy_axis.bonus(entropy=entropy, coef=self.entropy_coef), 0.0)
        return loss * rows.scale[at]


def build(knobs: ObjectiveKnobs, *, max_new_tokens: int, truncated: str = "score", group_size: int = 1) -> Objective:
    """The objective that a stage's knobs describe. RecipeError for an unknown name or a contradiction."""
    fields = filled(knobs)
    rule, max_draws = group_axis.build(fields["group"])
    weight, clip = _weights(fields, stated=[key for key in CLIPS if getattr(knobs, key) is not None])
    advantage = lookup(ADVANTAGES, fields["advantage"], "objective.advantage")
    if advantage.relative and rule.samples and group_size < 2:
        raise RecipeError(
            f"group_size: {group_size} with advantage {fields['advantage']!r}, which compares a group's members; "
            "use group_size >= 2 or advantage: raw"
        )
    if fields["mask"] != "none":
        raise RecipeError(f"objective.mask: {fields['mask']!r} is unknown; use none")
    kl, coef, refresh = _kl(fields["kl"])
    aggregate = lookup(AGGREGATES, fields["aggregate"], "objective.aggregate", length=max_new_tokens)
    if not (np.asarray(aggregate.fn(np.array([1]))) > 0).all():
        raise RecipeError(f"objective.aggregate: {fields['aggregate']!r} gives a denominator that is not above 0")
    return Objective(
        rule=rule,
        max_draws=max_draws,
        advantage=advantage,
        weight=weight,
        clip=clip,
        kl=kl,
        kl_coef=coef,
        ref_refresh_steps=refresh,
        entropy_coef=entropy_axis.coefficient(fields["entropy"]),
        correction=lookup(CORRECTIONS, fields["correction"], "objective.correction"),
        aggregate=aggregate,
        mix=lookup(MIXES, fields["mix"], "objective.mix").fn,
        truncated=truncated,
    )


def filled(knobs: ObjectiveKnobs) -> dict:
    """DEFAULT, overlaid by the preset's fields, overlaid by what the recipe states.

    A mapping is overlaid key by key (`kl: {coef: 0.1}` keeps the estimator), one that names a function replaced.
    """
    preset = plugin.find(PRESETS, knobs.preset or "default", "objective.preset")
    if not isinstance(preset, Preset):
        raise RecipeError(f"objective.preset: {knobs.preset!r} is {preset!r}, which is no Preset")
    fields = {**DEFAULT, **preset.fields}
    for key, value in knobs.model_dump(exclude={"preset"}, exclude_none=True).items():
        merged = isinstance(value, dict) and isinstance(fields[key], dict) and not {"use", "select"} & set(value)
        fields[key] = {**fields[key], **value} if merged else value
    return fields


def _weights(fields: dict, stated: list[str]) -> tuple[dict[Role, Term], tuple[float, float] | None]:
    """The weight of each role, and (clip_low, clip_high) of the first that clips."""
    clips = {key: fields[key] for key in CLIPS if fields[key] is not None}
    weight: dict[Role, Term] = {}
    for role, spec in fields["weight"].items():
        if role not in ("policy", "demo", "prefix", "pair"):
            raise RecipeError(f"objective.weight: role {role!r} must be policy, demo, prefix or pair")
        weight[Role[role.upper()]] = lookup(WEIGHTS, spec, f"objective.weight.{role}", **clips)
    clipping = [plugin.settings_of(term.fn) for term in weight.values()]
    clipping = [settings for settings in clipping if any(key in settings for key in CLIPS)]
    unused = [key for key in stated if not any(key in settings for settings in clipping)]
    if unused:
        raise RecipeError(
            f"objective: {', '.join(unused)} with weights that do not clip ({fields['weight']!r}); "
            "take the clip away or use weight: {policy: ppo}"
        )
    return weight, tuple(clipping[0].get(key, math.inf) for key in CLIPS) if clipping else None


def _kl(settings: dict) -> tuple[Term, float, int]:
    unknown = set(settings) - {"estimator", "coef", "ref_refresh_steps"}
    coef, refresh = settings.get("coef", 0.0), settings.get("ref_refresh_steps", 0)
    is_number = type(coef) in (int, float) and 0 <= coef < math.inf
    if unknown or not is_number or type(refresh) is not int or refresh < 0:
        raise RecipeError(f"objective.kl: {settings!r} must be {{estimator, coef >= 0, ref_refresh_steps}}")
    return lookup(ESTIMATORS, settings.get("estimator", "k3"), "objective.kl.estimator"), float(coef), refresh
