"""Axis 3: from the rewards of a group to its advantages. Not shaping by entropy (that reads the current policy).

Every function takes rewards float64 [K] of one group and returns advantages float64 [K]; a completion's advantage
stands on each of its tokens. Formulas and sources: METHODS 2.1.
"""

import numpy as np

from r1lab.objective.term import Term


def raw(rewards: np.ndarray) -> np.ndarray:
    """A = r (REINFORCE, Williams 1992)."""
    return rewards


def mean(rewards: np.ndarray) -> np.ndarray:
    """A = r - mean (Dr. GRPO, arXiv 2503.20783): the length and difficulty biases of dividing by std are absent."""
    return rewards - rewards.mean()


def zscore(rewards: np.ndarray, *, epsilon: float = 1e-6) -> np.ndarray:
    """A = (r - mean) / (std + epsilon), std with n - 1 (GRPO, arXiv 2402.03300); 0 where all rewards are equal."""
    if np.ptp(rewards) == 0:
        return np.zeros_like(rewards)
    return (rewards - rewards.mean()) / (rewards.std(ddof=1) + epsilon)


def rloo(rewards: np.ndarray) -> np.ndarray:
    """A = r - mean of the others = G / (G - 1) (r - mean) (arXiv 2402.14740)."""
    return (rewards - rewards.mean()) * len(rewards) / (len(rewards) - 1)


def one(rewards: np.ndarray) -> np.ndarray:
    """A = 1: demonstrations."""
    return np.ones_like(rewards)


ADVANTAGES = {
    "raw": Term(raw),
    "mean": Term(mean, relative=True),
    "zscore": Term(zscore, relative=True),
    "rloo": Term(rloo, relative=True),
    "one": Term(one),
}
