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
    """A = r - mean (Dr. GRPO, arXiv 2503.20783): the length and difficulty biases of dividing by std are absent.

    Exactly 0 where all rewards are equal, which r - mean is not in floating point (three times 0.1).
    """
    return np.zeros_like(rewards) if np.ptp(rewards) == 0 else rewards - rewards.mean()


def zscore(rewards: np.ndarray, *, epsilon: float = 1e-6) -> np.ndarray:
    """A = (r - mean) / (std + epsilon), std with n - 1 (GRPO, arXiv 2402.03300); 0 where all rewards are equal."""
    centred = mean(rewards)
    return centred / (rewards.std(ddof=1) + epsilon) if centred.any() else centred


def rloo(rewards: np.ndarray) -> np.ndarray:
    """A = r - mean of the others = G / (G - 1) (r - mean) (arXiv 2402.14740)."""
    return mean(rewards) * len(rewards) / (len(rewards) - 1)


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
