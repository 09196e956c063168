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
    "srl": ("2510.25992", "a problem for each step of a solution, and a verifier of similarity to the expert's step: "
            "the data can be made so (one row a step) and such a verifier plugged in; neither ships"),
    "gvm": ("2505.02391", "group sizes by gradient norms of each problem: the loss head would have to return them"),
    "fisher_sft": ("2505.14826", "a choice of demonstrations by their last hidden states, before any training: a "
                   "selection of data, for which there is no stage"),
    "condor": ("2501.12273", "writes questions and answers with a large model: a generator of data"),
    "auto_context": ("Quan 2025", "writes contexts for questions with a large model: a generator of data"),
    "data_mixing": ("2508.11953", "weights of sources learned from a validation loss: an outer loop over runs"),
}  # fmt: skip
"""Methods of the surveys that no preset can be: (source, why)."""
