"""Every method as the fields of `objective:` in which it differs from `default`. Not code: a method adds a row."""

from r1lab.objective.presets.fields import DEFAULT, Preset
from r1lab.objective.presets.imitation import DEMONSTRATIONS, HYBRIDS, PREFERENCES
from r1lab.objective.presets.reinforcement import GROUP_RELATIVE, POLICY_GRADIENT

__all__ = ["DEFAULT", "PRESETS", "Preset"]

PRESETS = {
    "default": Preset("2503.20783 + 2503.14476", "A = r - mean; clip 0.2/0.28; mean over all tokens"),
    **DEMONSTRATIONS,
    **POLICY_GRADIENT,
    **GROUP_RELATIVE,
    **HYBRIDS,
    **PREFERENCES,
}
