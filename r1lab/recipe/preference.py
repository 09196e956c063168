"""Knobs of a `preference` stage: a policy that learns from pairs of completions that the data holds (DPO and its kin).

    kind: preference
    model: Qwen/Qwen2.5-0.5B
    data: {path: org/preferences}                       # prompt, chosen, rejected (`r1lab_data.labelled`)
    objective: {preset: simpo}                          # dpo by default; rpo, ipo

The reference is the model that the stage begins with. Pairs of the policy's own completions are `kind: rl` with the
same presets.
"""

from typing import Annotated, Literal

from r1lab.recipe.base import RESULT
from r1lab.recipe.stages import DataStageConfig


class PreferenceStageConfig(DataStageConfig):
    """Learning from preference pairs."""

    kind: Annotated[Literal["preference"], RESULT] = "preference"
    """Learns from pairs."""
