"""Every method as the fields of `objective:` in which it differs from COMMON. Not code: a method adds a row."""

from r1lab.objective.presets.fields import COMMON, Preset
from r1lab.objective.presets.imitation import DEMONSTRATIONS, HYBRIDS, PREFERENCES
from r1lab.objective.presets.reinforcement import GROUP_RELATIVE, POLICY_GRADIENT
from r1lab.objective.presets.systems import SYSTEMS

__all__ = ["COMMON", "OUT", "PRESETS", "Preset"]

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
OUT = {
    "amft": ("2508.06944", "mu of imitation and reinforcement learned from a validation loss: it takes gradients of "
             "both and of a validation batch apart, three backward passes every few steps, and a state of mu; with a "
             "given mu it is chord_mu"),
    "fisher_sft": ("2505.14826", "a choice of demonstrations before any training, by the log determinant of their last "
                   "hidden states: it takes a command that reads those states and writes a dataset of the chosen"),
    "condor": ("2501.12273", "writes questions and answers with a large model: a generator of data"),
    "auto_context": ("Quan 2025", "writes contexts for questions with a large model: a generator of data"),
    "data_mixing": ("2508.11953", "weights of sources learned from a validation loss: an outer loop over runs"),
}  # fmt: skip
"""Methods of the surveys that no preset can be: (source, why)."""
