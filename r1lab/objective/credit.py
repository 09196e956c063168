"""`objective.advantage`, the part that needs scores or the whole step: KL in the reward, GAE, batch scaling.

Pure functions on float64 arrays: T policy tokens of one completion, N those of the step, B its completions.
"""

import numpy as np


def to_go(per_token: np.ndarray) -> np.ndarray:
    """The sum of what is still to come, this token's included [T]."""
    return np.cumsum(per_token[::-1])[::-1]


def gae(rewards: np.ndarray, values: np.ndarray, *, gamma: float = 1.0, lam: float = 0.95) -> np.ndarray:
    """A_t = sum over k of (gamma lam)^k delta_{t+k}, delta_t = r_t + gamma V_{t+1} - V_t, V after the end 0 [T]
    (arXiv 1506.02438). A + V is the return that the value head learns."""
    following = np.append(values[1:], 0.0)
    delta = rewards + gamma * following - values
    advantages, carried = np.zeros_like(delta), 0.0
    for t in range(len(delta) - 1, -1, -1):
        advantages[t] = carried = delta[t] + gamma * lam * carried
    return advantages


def none(advantages: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    return advantages


def batch_std(advantages: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """A / (std + 1e-6), the std (n - 1) of all rewards [B] of the step (Lite-PPO, arXiv 2508.08221)."""
    return advantages / (rewards.std(ddof=1) + 1e-6) if len(rewards) > 1 else advantages


def whiten(advantages: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """(A - mean) / sqrt(variance + 1e-8) over all tokens [N] of the step (REINFORCE++, arXiv 2501.03262); 0 where all
    are equal."""
    if len(advantages) < 2 or np.ptp(advantages) == 0:
        return np.zeros_like(advantages)
    return (advantages - advantages.mean()) / np.sqrt(advantages.var(ddof=1) + 1e-8)


SCALES = {"none": none, "batch_std": batch_std, "whiten": whiten}
"""How the advantages of a step are scaled: `advantage: {use: ..., scale: NAME}`."""
