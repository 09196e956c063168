"""How weights are changed: AdamW, or an adapter in their place. Part of a stage (`r1lab.recipe`)."""

from typing import Literal

from r1lab.recipe.base import Above, Amount, Config, Count, Positive, Share


class OptimizerConfig(Config):
    """AdamW."""

    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Learning rate after the warm-up, over `schedule_steps`. Result."""
    warmup_updates: Count = 10
    """Updates of linear warm-up. Result."""
    beta1: Share = 0.9
    """Decay of the first moment. Result."""
    beta2: Share = 0.95
    """Decay of the second moment. Result."""
    epsilon: Above = 1e-8
    """Added to the root of the second moment. Result."""
    weight_decay: Amount = 0.0
    """Decoupled decay of every weight. Result."""
    grad_clip: Amount = 1.0
    """Largest gradient norm; 0: off. Result."""


class LoraConfig(Config):
    """A low-rank adapter that is trained in the weights' place.

    vLLM in this process samples from weights and adapter as they are; other engines get one merged into the other.
    """

    rank: Positive = 16
    """Columns of its matrices. Result."""
    alpha: Above = 32.0
    """It counts alpha / rank times. Result."""
    targets: str | tuple[str, ...] = "all-linear"
    """Which layers: all-linear (but the output layer), or names such as [q_proj, v_proj]. Result."""
