"""How weights are changed: AdamW, or an adapter in their place. Part of a stage (`r1lab.recipe`)."""

from typing import Annotated, Literal

from r1lab.recipe.base import RESULT, Above, Amount, Config, Count, Positive, Share


class OptimizerConfig(Config):
    """AdamW."""

    schedule: Annotated[Literal["constant", "linear", "cosine"], RESULT] = "constant"
    """Learning rate after the warm-up, over `schedule_steps`."""
    warmup_updates: Annotated[Count, RESULT] = 10
    """Updates of linear warm-up."""
    beta1: Annotated[Share, RESULT] = 0.9
    """Decay of the first moment."""
    beta2: Annotated[Share, RESULT] = 0.95
    """Decay of the second moment."""
    epsilon: Annotated[Above, RESULT] = 1e-8
    """Added to the root of the second moment."""
    weight_decay: Annotated[Amount, RESULT] = 0.0
    """Decoupled decay of every weight."""
    grad_clip: Annotated[Amount, RESULT] = 1.0
    """Largest gradient norm; 0: off."""


class LoraConfig(Config):
    """A low-rank adapter that is trained in the weights' place.

    vLLM in this process samples from weights and adapter as they are; other engines get one merged into the other.
    """

    rank: Annotated[Positive, RESULT] = 16
    """Columns of its matrices."""
    alpha: Annotated[Above, RESULT] = 32.0
    """It counts alpha / rank times."""
    targets: Annotated[str | tuple[str, ...], RESULT] = "all-linear"
    """Which layers: all-linear (but the output layer), or names such as [q_proj, v_proj]."""
