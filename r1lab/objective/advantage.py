"""`objective.advantage`: from the rewards of a group to its advantages. What needs scores of the
policy stands in `credit`.

Every function takes rewards float64 [K] of one group and returns advantages float64 [K]; a completion's advantage
stands on each of its tokens. Beside the rewards a function gets what its Term `takes`: `scores` float64 [K],
the verifier's (who asks what was right reads these), `lengths` int64 [K], `greedy`, the reward of the problem's greedy
completion, `answers`, what the verifier extracted, `is_demo` bool [K], and `parts`, by name float64 [K], what each part
of the reward paid. Shaping by entropy reads the current policy and is a weight. Formulas and sources:
`r1lab/objective/README.md`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import comb

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


def max_rl(rewards: np.ndarray, *, epsilon: float = 1e-6) -> np.ndarray:
    """A = (r - mean) / (mean + epsilon), of rewards from 0 on: the gradient of log p(right) (arXiv 2602.02710)."""
    return mean(rewards) / (rewards.mean() + epsilon) if rewards.mean() > 0 else np.zeros_like(rewards)


def var(rewards: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
    """A = softmax(r / temperature) over the group: the optimal policy's share of each (VAR, arXiv 2502.11026), what was
    sampled standing for the reference's probability."""
    weight = np.exp((rewards - rewards.max()) / temperature)
    return weight / weight.sum()


def rloo(rewards: np.ndarray) -> np.ndarray:
    """A = r - mean of the others = G / (G - 1) (r - mean) (arXiv 2402.14740)."""
    return mean(rewards) * len(rewards) / (len(rewards) - 1)


def opo(rewards: np.ndarray, *, lengths: np.ndarray) -> np.ndarray:
    """A = r - sum(length r) / sum(length), the baseline of least variance (arXiv 2505.23585); 0 where all are equal."""
    if np.ptp(rewards) == 0:
        return np.zeros_like(rewards)
    return rewards - (lengths * rewards).sum() / max(1, lengths.sum())


def remax(rewards: np.ndarray, *, greedy: float) -> np.ndarray:
    """A = r - r(greedy completion of the same prompt) (arXiv 2310.10505)."""
    return rewards - greedy


def raft(rewards: np.ndarray) -> np.ndarray:
    """A = max(r, 0): learn from what was right (arXiv 2504.11343)."""
    return np.maximum(rewards, 0.0)


def reinforce_rej(rewards: np.ndarray) -> np.ndarray:
    """A = r, or 0 where all rewards are equal (arXiv 2504.11343)."""
    return np.zeros_like(rewards) if np.ptp(rewards) == 0 else rewards


def psr(rewards: np.ndarray, *, scores: np.ndarray, right: float = 1.0) -> np.ndarray:
    """A = 1 where the score is at least `right`, else 0: positive samples alone (arXiv 2506.01347)."""
    return (scores >= right).astype(np.float64)


def nsr(rewards: np.ndarray, *, scores: np.ndarray, right: float = 1.0) -> np.ndarray:
    """A = -1 where the score is below `right`, else 0: negative samples alone (arXiv 2506.01347)."""
    return -(scores < right).astype(np.float64)


def w_reinforce(rewards: np.ndarray, *, scores: np.ndarray, right: float = 1.0, positive: float = 0.1) -> np.ndarray:
    """A = `positive` where right, -1 where wrong (arXiv 2506.01347); with 1 the sum of psr and nsr."""
    return positive * psr(rewards, scores=scores, right=right) + nsr(rewards, scores=scores, right=right)


def nft(rewards: np.ndarray, *, scores: np.ndarray, right: float = 1.0, least: float = 0.02) -> np.ndarray:
    """A = 1[right] - q with q the share that is right, kept in [least, 1 - least]: what the weight `nft` reads q from
    (arXiv 2505.18116)."""
    solved = psr(rewards, scores=scores, right=right)
    return solved - solved.mean().clip(least, 1 - least)


def pass_at_k(rewards: np.ndarray, *, scores: np.ndarray, k: int = 4, right: float = 1.0) -> np.ndarray:
    """A = the mean of (R - mean) / std over the sets of k completions that one is in, R = 1 where any of them is right
    (arXiv 2508.10751, its closed form); 0 where all sets are paid alike."""
    is_right = scores >= right
    size, wrong, k = len(scores), int((~is_right).sum()), min(k, len(scores))
    paid = 1 - comb(wrong, k) / comb(size, k)
    spread = np.sqrt(paid * (1 - paid))
    if not spread:
        return np.zeros_like(rewards)
    of_wrong = 1 - comb(wrong - 1, k - 1) / comb(size - 1, k - 1)
    return (np.where(is_right, 1.0, of_wrong) - paid) / spread


def gdpo(
    rewards: np.ndarray, *, parts: Mapping[str, np.ndarray], weights: Mapping[str, float] | None = None
) -> np.ndarray:
    """A = the sum of the zscore of each part of the reward, whatever its size, times its weight in `weights`, else 1
    (arXiv 2601.05242, which whitens over the step then: `scale: whiten`)."""
    shares = dict.fromkeys(parts, 1.0) | dict(weights or {})
    return np.sum([shares[name] * zscore(parts[name]) for name in parts] or [np.zeros_like(rewards)], axis=0)


def seed(rewards: np.ndarray, *, answers: Sequence[str | None], alpha: float = 0.5) -> np.ndarray:
    """A = (r - mean) (1 - alpha SE / log K), SE the entropy of the answers: sure groups count more (arXiv 2505.12346).

    The paper leaves the decreasing function open; this is its linear one.
    """
    counts = np.array(list(Counter(answers).values()), np.float64)
    share = counts / counts.sum()
    return mean(rewards) * (1 + alpha * (share * np.log(share)).sum() / np.log(max(2, len(rewards))))


def srft(rewards: np.ndarray, *, scores: np.ndarray, is_demo: np.ndarray, right: float = 1.0) -> np.ndarray:
    """A = 1 where right, -1 where wrong, and r - mean of all on the demonstration (arXiv 2506.19767)."""
    return np.where(is_demo, mean(rewards), w_reinforce(rewards, scores=scores, right=right, positive=1.0))


def pair(rewards: np.ndarray) -> np.ndarray:
    """A = 1 on the best and -1 on every other: chosen and rejected (DPO, arXiv 2305.18290)."""
    return np.where(np.arange(len(rewards)) == rewards.argmax(), 1.0, -1.0)


def one(rewards: np.ndarray) -> np.ndarray:
    """A = 1: demonstrations."""
    return np.ones_like(rewards)


def gae(rewards: np.ndarray) -> np.ndarray:
    """A = r for now: the reward is paid at the last token and `credit.gae` spreads it (arXiv 1506.02438)."""
    return rewards


ADVANTAGES = {
    "raw": Term(raw),
    "mean": Term(mean, relative=True),
    "zscore": Term(zscore, relative=True),
    "max_rl": Term(max_rl, relative=True),
    "var": Term(var),
    "rloo": Term(rloo, relative=True),
    "opo": Term(opo, relative=True, takes=("lengths",)),
    "remax": Term(remax, takes=("greedy",)),
    "raft": Term(raft),
    "reinforce_rej": Term(reinforce_rej),
    "psr": Term(psr, takes=("scores",)),
    "nsr": Term(nsr, takes=("scores",)),
    "w_reinforce": Term(w_reinforce, takes=("scores",)),
    "nft": Term(nft, takes=("scores",)),
    "pass_at_k": Term(pass_at_k, relative=True, takes=("scores",)),
    "gdpo": Term(gdpo, relative=True, takes=("parts",)),
    "seed": Term(seed, relative=True, takes=("answers",)),
    "srft": Term(srft, takes=("scores", "is_demo")),
    "pair": Term(pair),
    "one": Term(one),
    "gae": Term(gae, needs=frozenset({"values"})),
}
