"""Combinations of axes that contradict each other, refused in one line before anything is loaded."""

from collections.abc import Callable

from r1lab import plugin
from r1lab.errors import RecipeError
from r1lab.objective import mix
from r1lab.objective.objective import Objective
from r1lab.objective.step_credit import ADVANTAGES_OF_STEPS
from r1lab.records import Role


def refuse(objective: Objective, fields: dict, group_size: int) -> None:
    """RecipeError with the first contradiction: the values, and the remedy."""
    for check in (_group_size, _depth, _steps, _demonstrations, _pairs, _partners, _unused):
        check(objective, fields, group_size)


def _group_size(objective: Objective, fields: dict, group_size: int) -> None:
    if objective.advantage.relative and objective.rule.samples and group_size < 2:
        raise RecipeError(
            f"group_size: {group_size} with advantage {fields['advantage']!r}, which compares a group's members; "
            "use group_size >= 2 or advantage: raw"
        )


def _depth(objective: Objective, fields: dict, group_size: int) -> None:
    k = plugin.settings_of(objective.advantage.fn).get("k") if _name(fields["advantage"]) == "pass_at_k" else None
    if k is not None and not 1 <= k < group_size:
        raise RecipeError(
            f"objective.advantage.k: {k} must be from 1 to below group_size {group_size}, of which sets of k are "
            "compared; raise group_size or lower k"
        )


def _steps(objective: Objective, fields: dict, group_size: int) -> None:
    """What steps are compared with has to be a mean: other advantages are of one reward a completion."""
    if objective.step_credit is None:
        return
    if _name(fields["advantage"]) not in ADVANTAGES_OF_STEPS:
        raise RecipeError(
            f"objective.credit: {fields['credit']!r} with advantage {fields['advantage']!r}, which compares whole "
            f"rewards; use advantage: {' or '.join(ADVANTAGES_OF_STEPS)}, or credit: outcome"
        )
    if objective.credit.scale == "batch_std":
        raise RecipeError(
            f"objective.advantage: {fields['advantage']!r} divides by the deviation of whole rewards, and credit "
            f"{fields['credit']!r} has steps; use advantage: zscore, or scale: whiten"
        )


def _demonstrations(objective: Objective, fields: dict, group_size: int) -> None:
    demo = objective.weight.get(Role.DEMO)
    if demo is not None and demo.ratio:
        raise RecipeError(
            f"objective.weight.demo: {fields['weight']['demo']!r} compares with old log-probabilities, which a "
            "demonstration does not have; use one, prob, phi or off_shape"
        )


def _pairs(objective: Objective, fields: dict, group_size: int) -> None:
    pair = objective.weight.get(Role.PAIR)
    makes_pairs = objective.rule.role is Role.PAIR
    if makes_pairs != (pair is not None):
        raise RecipeError(
            f"objective: weights {fields['weight']!r} with group {fields['group']!r}; "
            "weight: {pair: dpo} and group: {select: pairs} go together"
        )
    if makes_pairs != (_name(fields["advantage"]) == "pair"):
        raise RecipeError(
            f"objective.advantage: {fields['advantage']!r} with group {fields['group']!r}; "
            "advantage: pair and group: {select: pairs} go together"
        )
    if makes_pairs and group_size < 2:
        raise RecipeError(f"group_size: {group_size} makes no pair of completions; use at least 2")


def _partners(objective: Objective, fields: dict, group_size: int) -> None:
    """Parts that read what only another part makes."""
    weights = {_name(spec) for spec in fields["weight"].values()}
    _together("weight: {policy: nft}", "nft" in weights, "advantage: nft", _name(fields["advantage"]) == "nft")
    greedy = fields["group"].get("select") == "greedy"
    _together("advantage: remax", "greedy" in objective.advantage.takes, "group: {select: greedy}", greedy)
    if objective.rule.samples and fields["group"].get("select") == "correct_only" and objective.advantage.relative:
        raise RecipeError(
            f"objective.advantage: {fields['advantage']!r} compares rewards, which group: correct_only makes equal; "
            "use advantage: raft or one"
        )


def _unused(objective: Objective, fields: dict, group_size: int) -> None:
    """Parts that would silently do nothing."""
    if not objective.rule.samples:
        for key, is_on in (("kl", objective.kl.coef), ("entropy", objective.entropy.is_on)):
            if is_on:
                raise RecipeError(
                    f"objective.{key}: {fields[key]!r} acts on sampled tokens, and demonstrations have none; "
                    "take it away"
                )
    if _is_mu(objective.mix) and not (objective.rule.samples and objective.rule.demonstrates):
        raise RecipeError(
            f"objective.mix: {fields['mix']!r} with group {fields['group']!r}, which does not put demonstrations "
            "beside samples; use group: {select: with_demonstration}"
        )


def _is_mu(rule: Callable) -> bool:
    return getattr(rule, "func", rule) in (mix.const, mix.cos)


def _together(one: str, has_one: bool, other: str, has_other: bool) -> None:
    if has_one != has_other:
        given, missing = (one, other) if has_one else (other, one)
        raise RecipeError(f"objective: {given} goes with {missing}")


def _name(spec) -> str:
    return spec["use"] if isinstance(spec, dict) else spec
