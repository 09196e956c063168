"""Methods that bound a policy's distance to what sampled, and advantages of sets and parts.

DPPO arXiv 2602.04879 (binary TV and KL, its scripts' bounds 0.15 and 0.05); GMPO arXiv 2507.20673 eq. 4; VESPO arXiv
2602.10693; DRO arXiv 2405.19107 and Kimi k1.5 arXiv 2501.12599; sequence masks of TRL (`sequence_mask`) and SkyRL
(geometric); RLEP arXiv 2507.07451; pass@k training arXiv 2508.10751; GDPO arXiv 2601.05242 eq. 4-7.
"""

from itertools import combinations

import numpy as np
import pytest
import torch


def live(groups):
    return [m for group in groups for m in group if not m.is_cut]


def num_tokens(groups):
    return max(1, sum(len(m.logp) for m in live(groups)))


def scored(values):
    return (values - values.mean()) / (values.std(ddof=1) + 1e-6)


def zscored(group):
    return scored(np.array([m.reward for m in group], float))


def terms(groups, advantages, term):
    """(completion, its tokens' losses), those that are masked left out."""
    for group in groups:
        for m, a in zip(group, advantages(group), strict=True):
            if not m.is_cut:
                yield m, term(m, float(a))


def token_mean(groups, advantages, term):
    return sum(each.sum() for _, each in terms(groups, advantages, term)) / num_tokens(groups)


def clear(m, a, low=0.2, high=0.2):
    return -torch.minimum(m.ratio * a, m.ratio.clamp(1 - low, 1 + high) * a)


def dppo(m, a, is_outside):
    return -a * m.ratio.clamp(max=20).detach() * torch.where(is_outside, 0.0, m.logp) * m.rho


def dppo_tv(groups, step):
    def term(m, a):
        moved = m.logp.detach().exp() - m.old.exp()
        return dppo(m, a, (moved > 0.15) if a > 0 else (moved < -0.15))

    return token_mean(groups, zscored, term)


def dppo_kl(groups, step):
    def term(m, a):
        p, q = m.logp.detach().exp(), m.old.exp()
        divergence = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
        return dppo(m, a, (divergence > 0.05) & ((p > q) if a > 0 else (p < q)))

    return token_mean(groups, zscored, term)


def gmpo(groups, step):
    """The geometric mean over a completion of its bounded ratios, raised in the direction of A alone."""

    def term(m, a):
        low, high = (0.0, np.exp(0.4)) if a > 0 else (np.exp(-0.4), np.inf)
        return -a * m.ratio.clamp(low, high).prod() ** (1 / len(m.logp)) * m.rho.mean()

    return sum(each for _, each in terms(groups, zscored, term)) / max(1, len(live(groups)))


def vespo(groups, step):
    def term(m, a):
        k, lam = (2, 3) if a >= 0 else (3, 2)
        w = (m.logp - m.engine).detach().exp().prod()
        return -a * w**k * torch.exp(lam * (1 - w)) * m.logp

    return token_mean(groups, zscored, term)


def dro(groups, step):
    def centred(group):
        rewards = np.array([m.reward for m in group])
        return rewards - rewards.mean()

    losses = terms(groups, centred, lambda m, a: -a * m.logp + 0.05 * (m.logp - m.engine) ** 2)
    return sum(each.sum() for _, each in losses) / max(1, len(live(groups)))


def seq_mis(groups, step):
    def term(m, a):
        w = (m.old - m.engine).exp().prod()
        return clear(m, a) * (w if 0.5 <= w <= 2 else 0.0)

    return token_mean(groups, zscored, term)


def geo_mask(groups, step):
    def term(m, a):
        w = (m.old - m.engine).mean().exp()
        return clear(m, a) * m.rho * float(0.9 <= w <= 1.05)

    return token_mean(groups, zscored, term)


def pass_at_k(k):
    """By brute force over all sets of k."""

    def advantages(group):
        sets = list(combinations(range(len(group)), k))
        paid = np.array([float(any(group[i].score >= 1 for i in chosen)) for chosen in sets])
        if paid.std() == 0:
            return np.zeros(len(group))
        compared = (paid - paid.mean()) / paid.std()
        return [np.mean([a for a, chosen in zip(compared, sets) if i in chosen]) for i in range(len(group))]

    return lambda groups, step: token_mean(groups, advantages, lambda m, a: clear(m, a, 0.2, 0.28) * m.rho)


def gdpo(weights):
    def advantages(group):
        return sum(w * scored(np.array([m.parts[name] for m in group])) for name, w in weights.items())

    def formula(groups, step):
        of_step = [(m, a) for group in step for m, a in zip(group, advantages(group)) if not m.is_cut]
        flat = np.concatenate([np.full(len(m.logp), a) for m, a in of_step])
        spread = np.sqrt(flat.var(ddof=1) + 1e-8)
        return token_mean(groups, advantages, lambda m, a: clear(m, (a - flat.mean()) / spread) * m.rho)

    return formula


def rlep(groups, step):
    """Of a first step, which has nothing to replay."""
    return token_mean(groups, zscored, lambda m, a: clear(m, a, 0.2, 0.28) * m.rho)


FORMULAS = {
    "dppo_tv": (dppo_tv, {}),
    "dppo_kl": (dppo_kl, {}),
    "gmpo": (gmpo, {}),
    "vespo": (vespo, {}),
    "dro": (dro, {}),
    "seq_mis": (seq_mis, {}),
    "geo_mask": (geo_mask, {"correction": [{"use": "within", "low": 0.9, "high": 1.05, "level": "seq_mean"}, "tis"]}),
    "pass_at_k": (pass_at_k(2), {}),
    "rlep": (rlep, {}),
    "gdpo": (gdpo({"score": 1, "rest": 1}), {}),
}


@pytest.mark.parametrize("preset", FORMULAS)
def test_the_gradient_is_the_papers(deviates, preset):
    formula, knobs = FORMULAS[preset]
    deviates(formula, preset, **knobs)


@pytest.mark.parametrize("k", [1, 3, 4, 7])
def test_pass_at_k_is_the_mean_over_all_sets_for_every_k(deviates, k):
    deviates(pass_at_k(k), "pass_at_k", advantage={"use": "pass_at_k", "k": k})


def test_parts_of_a_reward_are_weighed_after_they_are_normalised(deviates):
    weights = {"score": 1.0, "rest": 0.25}
    deviates(gdpo(weights), "gdpo", advantage={"use": "gdpo", "scale": "whiten", "weights": {"rest": 0.25}})


def test_several_corrections_are_one_product(deviates):
    def both(groups, step):
        def term(m, a):
            rho = (m.old - m.engine).exp()
            return clear(m, a) * m.rho * torch.where((rho >= 0.8) & (rho <= 1.5), 1.0, 0.0)

        return token_mean(groups, zscored, term)

    corrections = ["tis", {"use": "within", "low": 0.8, "high": 1.5}]
    deviates(both, "icepop", correction=corrections)
    deviates(both, "icepop", correction=corrections[::-1])
