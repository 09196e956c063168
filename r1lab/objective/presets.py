"""Every method as the fields of `objective:` in which it differs from `default`. Not code: a method adds a row."""

from dataclasses import dataclass, field
from typing import Any

DEFAULT: dict[str, Any] = {
    "group": {"select": "all"},
    "advantage": "mean",
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
    """Keys of `objective:` that differ from DEFAULT; None takes a key away."""


NO_CLIP = {"clip_low": None, "clip_high": None}

PRESETS = {
    "default": Preset("2503.20783 + 2503.14476", "A = r - mean; clip 0.2/0.28; mean over all tokens"),
    "sft": Preset(
        "behaviour cloning",
        "-log p of the demonstration, mean over all tokens",
        {"group": {"select": "demonstrations"}, "advantage": "one", "weight": {"demo": "one"}, "correction": "none"}
        | NO_CLIP,
    ),
    "reinforce": Preset(
        "Williams 1992",
        "A = r; -A log p summed over a sequence",
        {"advantage": "raw", "weight": {"policy": "one", "demo": "one"}, "aggregate": "seq_token_sum"} | NO_CLIP,
    ),
    "rloo": Preset(
        "2402.14740",
        "A = r - mean of the others; -A log p summed over a sequence",
        {"advantage": "rloo", "weight": {"policy": "one", "demo": "one"}, "aggregate": "seq_token_sum"} | NO_CLIP,
    ),
    "grpo": Preset(
        "2402.03300",
        "A = (r - mean) / std; clip 0.2; mean of each sequence; 0.04 k3",
        {
            "advantage": "zscore",
            "clip_high": 0.2,
            "aggregate": "seq_token_mean",
            "kl": {"estimator": "k3", "coef": 0.04},
        },
    ),
    "dr_grpo": Preset(
        "2503.20783",
        "A = r - mean; clip 0.2; sum / max_new_tokens",
        {"clip_high": 0.2, "aggregate": "const"},
    ),
    "dapo": Preset(
        "2503.14476",
        "A = (r - mean) / std; clip 0.2/0.28; mean over all tokens; groups of equal rewards drawn again",
        {"advantage": "zscore", "group": {"select": "drop_zero_variance", "refill": {"max_draws": 3}}},
    ),
}
