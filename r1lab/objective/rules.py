"""The table of group rules; build the one that a recipe's `group:` names. The rules stand in `group` and `prefix`."""

from dataclasses import fields, is_dataclass

from r1lab import plugin
from r1lab.errors import RecipeError
from r1lab.objective import budget, group, prefix, replay, set_aside

GROUPS = {
    "all": group.All,
    "drop_zero_variance": group.DropZeroVariance,
    "speed": group.Speed,
    "correct_only": group.CorrectOnly,
    "pods": group.Pods,
    "gfpo": group.Gfpo,
    "greedy": group.Greedy,
    "pairs": group.Pairs,
    "demonstrations": group.Demonstrations,
    "with_demonstration": group.WithDemonstration,
    "gate": group.Gate,
    "hint": prefix.Hint,
    "one_prefix": prefix.OnePrefix,
    "bisect": prefix.Bisect,
    "replay": replay.Replay,
    "gvm": budget.Gvm,
    "set_aside": set_aside.SetAside,
}


def build(settings: dict, group_size: int = 1) -> tuple[group.All, int]:
    """The rule of `group: {select, refill: {max_draws}, **settings}`, and how often a step's problems may be drawn."""
    rule_settings = dict(settings)
    name, refill = rule_settings.pop("select", "all"), rule_settings.pop("refill", None) or {}
    max_draws = refill.get("max_draws", 3 if refill else 1) if isinstance(refill, dict) else None
    if isinstance(max_draws, bool) or not isinstance(max_draws, int) or max_draws < 1 or set(refill) - {"max_draws"}:
        raise RecipeError(f"objective.group.refill: {refill!r} must be {{max_draws: whole number >= 1}}")
    cls = plugin.find(GROUPS, name, "objective.group.select")
    try:
        rule = cls(**rule_settings)
    except TypeError as error:
        said = str(error).partition("() ")[2] or str(
            error
        )  # "All.__init__() got an unexpected keyword argument 'keep'"
        known = ", ".join(["refill", *(setting.name for setting in fields(cls))] if is_dataclass(cls) else ["refill"])
        raise RecipeError(f"objective.group: {name} {said}; its settings: {known}") from None
    _check_numbers(rule, rule_settings)
    if hasattr(rule, "check"):
        rule.check(group_size)
    return rule, max_draws


def _check_numbers(rule: group.All, settings: dict) -> None:
    """RecipeError where a setting is of another kind than its default."""
    for setting in fields(rule):
        value, kind = settings.get(setting.name, setting.default), type(setting.default)
        is_number = kind is float and type(value) is int
        if type(value) is not kind and not is_number:
            raise RecipeError(f"objective.group.{setting.name}: {value!r} must be {kind.__name__}")
