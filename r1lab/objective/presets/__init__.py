"""Every method as the fields of `objective:` in which it differs from COMMON. Not code: a method adds a row."""

from r1lab.objective.presets.fields import COMMON, Preset
from r1lab.objective.presets.imitation import DEMONSTRATIONS, HYBRIDS, PREFERENCES
from r1lab.objective.presets.reinforcement import GROUP_RELATIVE, POLICY_GRADIENT
from r1lab.objective.presets.systems import SYSTEMS

__all__ = ["COMMON", "PRESETS", "Preset"]

PRESETS = {
    "default": Preset("2503.20783 + 2503.14476",
        "A = r - mean; clip 0.2/0.28; mean over all tokens; groups of equal rewards left out, none redrawn",
        {"group": {"select": "drop_zero_variance", "by": "reward"}},
        note="group: {select: all} keeps groups of equal rewards in the mean, as TRL and verl do"),
    **DEMONSTRATIONS,
    **POLICY_GRADIENT,
    **GROUP_RELATIVE,
    **HYBRIDS,
    **PREFERENCES,
    **SYSTEMS,
}  # fmt: skip
