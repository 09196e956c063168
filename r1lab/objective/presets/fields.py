"""The class of a preset, and fields that presets share. The presets stand in `imitation` and `reinforcement`."""

from dataclasses import dataclass, field
from typing import Any

COMMON: dict[str, Any] = {  # what presets overlay; preset `default` too
    "group": {"select": "all"},
    "advantage": "mean",
    "credit": "outcome",
    "weight": {"policy": "ppo", "demo": "one"},
    "clip_low": 0.2,
    "clip_high": 0.28,
    "mask": "none",
    "kl": {"estimator": "k3", "coef": 0.0},
    "entropy": {"coef": 0.0},
    "correction": {"use": "tis", "cap": 2.0},
    "aggregate": "token_mean",
    "mix": "none",
}


@dataclass(frozen=True)
class Preset:
    """One method."""

    paper: str
    """arXiv id or citation."""
    formula: str
    fields: dict[str, Any] = field(default_factory=dict)
    """Keys of `objective:` that differ from COMMON; None takes a key away."""
    note: str = ""
    """What a user has to know beside the fields."""


NO_CLIP = {"clip_low": None, "clip_high": None}
CLIP = {"clip_low": 0.2, "clip_high": 0.2}
IMITATION = {"group": {"select": "demonstrations"}, "advantage": "one", "correction": "none"} | NO_CLIP
GRPO = {"advantage": "zscore", "aggregate": "seq_token_mean"}
PAIRS = {"advantage": "pair", "aggregate": "seq_token_sum", "correction": "none"} | NO_CLIP
REINFORCE = {"weight": {"policy": "one", "demo": "one"}, "aggregate": "seq_token_sum"} | NO_CLIP
DAPO = {"advantage": "zscore", "group": {"select": "drop_zero_variance", "by": "score", "refill": {"max_draws": 3}}}
BESIDE = {"group": {"select": "with_demonstration"}}
BONUS = {"entropy": {"coef": 0.001}}


def k2(coef: float) -> dict[str, Any]:
    """KL to the reference as a term of the loss, whose gradient is the reverse KL's on policy."""
    return {"kl": {"estimator": "k2", "coef": coef}}


def k3(coef: float) -> dict[str, Any]:
    """KL to the reference as a term of the loss."""
    return {"kl": {"estimator": "k3", "coef": coef}}


K1_IN_REWARD = {"kl": {"estimator": "k1", "coef": 0.001, "where": "reward"}}
