"""Methods whose advantage compares the completions of one problem. Completions cut at the limit where those are masked
stay in the baseline and leave every sum of the loss (`live`).

GRPO arXiv 2402.03300 eq. 3-4; Dr. GRPO arXiv 2503.20783 eq. 2-3; DAPO arXiv 2503.14476 eq. 8-9, 11; Lite-PPO arXiv
2508.08221 section 5; GSPO arXiv 2507.18071 eq. 5-7; CISPO arXiv 2506.13585 eq. 4-5; SAPO arXiv 2511.20347 eq. 5-8; NFT
arXiv 2505.18116 eq. 8-10; Clip-Cov and KL-Cov arXiv 2505.22617 eq. 10-13; entropy advantage arXiv 2506.14758 eq. 5-6;
GFPO arXiv 2508.09726 algorithm 1; PODS arXiv 2504.13818 algorithm 2; the mask of DeepSeek-V3.2 arXiv 2512.02556 eq. 9;
LUSPO arXiv 2602.05261; the 80/20 rule arXiv 2506.01939 eq. 6; SEED-GRPO arXiv 2505.12346 eq. 6; MaxRL arXiv 2602.02710;
IcePop arXiv 2510.18855. What whole systems run stands at the end.
"""

from itertools import combinations

import numpy as np
import pytest
import torch

LENGTH = 16


def live(groups):
    return [m for group in groups for m in group if not m.is_cut]


def num_tokens(groups):
    return sum(len(m.logp) for m in live(groups))


def centred(group):
    """Dr. GRPO: r - mean."""
    rewards = np.array([m.reward for m in group])
    return dict(zip(map(id, group), rewards - rewards.mean()))


def zscored(group):
    """GRPO: (r - mean) / std."""
    rewards = np.array([m.reward for m in group])
    return dict(zip(map(id, group), (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6)))


def clipped(m, advantage, low=0.2, high=0.2):
    return -torch.minimum(m.ratio * advantage, m.ratio.clamp(1 - low, 1 + high) * advantage) * m.rho


def k3(m):
    return (m.ref - m.logp).exp() - (m.ref - m.logp) - 1


def mixed(groups):
    """DAPO's dynamic sampling: neither all right nor all wrong."""
    return [group for group in groups if len({m.score for m in group}) > 1]


def token_mean(groups, advantages, term):
    """The sum of `term(m, A)` over all tokens by their number."""
    loss = sum(term(m, advantages(group)[id(m)]).sum() for group in groups for m in live([group]))
    return loss / max(1, num_tokens(groups))


def sequence_mean(groups, advantages, term):
    """The mean over completions of the mean over tokens."""
    loss = sum(term(m, advantages(group)[id(m)]).mean() for group in groups for m in live([group]))
    return loss / max(1, len(live(groups)))


def constant(groups, advantages, term):
    """Dr. GRPO: the sum over tokens by completions times the longest length."""
    loss = sum(term(m, advantages(group)[id(m)]).sum() for group in groups for m in live([group]))
    return loss / (max(1, len(live(groups))) * LENGTH)


def informative(groups):
    """Groups of equal rewards leave the mean (Olmo 3 RL-Zero, ScaleRL)."""
    return [group for group in groups if len({m.reward for m in group}) > 1]


def default(groups, step):
    return token_mean(informative(groups), centred, lambda m, a: clipped(m, a, 0.2, 0.28))


def grpo(groups, step):
    return sequence_mean(groups, zscored, lambda m, a: clipped(m, a) + 0.04 * k3(m))


def dr_grpo(groups, step):
    return constant(groups, centred, clipped)


def lite_ppo(groups, step):
    std = np.std([m.reward for m in live(step)], ddof=1)
    return token_mean(groups, centred, lambda m, a: clipped(m, a / (std + 1e-6)))


def dapo(groups, step):
    return token_mean(mixed(groups), zscored, lambda m, a: clipped(m, a, 0.2, 0.28))


def srl(groups, step):
    differ = [group for group in groups if len({m.reward for m in group}) > 1]
    return token_mean(differ, zscored, lambda m, a: clipped(m, a, 0.2, 0.28))


def gspo(groups, step):
    def term(m, a):
        s = (m.logp - m.old).mean().exp()
        return -torch.minimum(s * a, s.clamp(1 - 3e-4, 1 + 4e-4) * a) * m.rho

    return sequence_mean(groups, zscored, term)


def cispo(groups, step):
    return token_mean(groups, zscored, lambda m, a: -m.ratio.clamp(0, 5).detach() * a * m.logp * m.rho)


def sapo(groups, step):
    def term(m, a):
        tau = 1.0 if a > 0 else 1.05
        return -torch.sigmoid(tau * (m.ratio - 1)) * (4 / tau) * a * m.rho

    return sequence_mean(groups, zscored, term)


def nft(groups, step):
    def term(m, q):
        if m.score >= 1:
            return -(1 - q) * m.logp * m.rho
        implicit = (1 - q * m.ratio) / (1 - q)
        floored = implicit.detach().clamp(min=1.0)
        return -(1 - q) * (floored.log() + (implicit - implicit.detach()) / floored) * m.rho

    def solved(group):
        rate = np.clip(np.mean([m.score >= 1 for m in group]), 0.02, 0.98)
        return {id(m): rate for m in group}

    return constant(mixed(groups), solved, term)


def covariances(groups):
    """Eq. 10: (log p - mean)(A - mean) over the update's tokens, by completion."""
    advantages = {key: value for group in groups for key, value in zscored(group).items()}
    logp = np.concatenate([m.old.detach().numpy() for m in live(groups)])
    spread = np.concatenate([np.full(len(m.logp), advantages[id(m)]) for m in live(groups)])
    flat = (logp - logp.mean()) * (spread - spread.mean())
    cuts = np.cumsum([len(m.logp) for m in live(groups)])[:-1]
    return {id(m): torch.from_numpy(part) for m, part in zip(live(groups), np.split(flat, cuts))}


def clip_cov(groups, step):
    """With share 1: every token with a covariance between 1 and 5, not a random choice of them."""
    if not live(mixed(groups)):
        return 0.0
    found = covariances(mixed(groups))

    def term(m, a):
        kept = ~((found[id(m)] > 1) & (found[id(m)] < 5))
        return clipped(m, a, 1.0, 1.0) * kept

    return token_mean(mixed(groups), zscored, term)


def kl_cov(groups, step):
    if not live(mixed(groups)):
        return 0.0
    found = covariances(mixed(groups))
    flat = torch.cat(list(found.values()))
    least = flat.sort(descending=True).values[max(1, int(0.002 * len(flat))) - 1]

    def term(m, a):
        gap = (m.logp - m.old).abs()
        penalty = torch.where((found[id(m)] >= least) & (gap > 0), gap, 0.0)
        return -m.ratio * a * m.rho + penalty

    return token_mean(mixed(groups), zscored, term)


def entropy_advantage(groups, step):
    def term(m, a):
        shaped = a + torch.minimum(0.4 * m.entropy.detach(), torch.full_like(m.entropy, abs(a) / 2))
        return clipped(m, shaped, 0.2, 0.28)

    return token_mean(groups, zscored, term)


def gfpo(groups, step):
    shortest = [sorted(group, key=lambda m: len(m.logp))[:4] for group in groups]
    return token_mean(shortest, zscored, clipped)


def pods(groups, step):
    def widest(group):
        """Any subset of largest variance has the same rewards; the lab's choice among equal ones is its own."""
        rewards = [m.reward for m in group]
        return max(np.var([rewards[i] for i in chosen]) for chosen in combinations(range(len(group)), 4))

    kept = []
    for group in groups:
        order = sorted(range(len(group)), key=lambda i: -group[i].reward)
        options = [sorted(order[:i] + order[len(order) - (4 - i) :]) for i in range(5)]
        spread = [np.var([group[i].reward for i in option]) for option in options]
        best = max(range(5), key=lambda i: (spread[i], -abs(2 * i - 4)))
        assert spread[best] == pytest.approx(widest(group))
        kept.append([group[i] for i in options[best]])
    return sequence_mean(kept, zscored, clipped)


def v3_2_mask(groups, step):
    def term(m, a):
        is_dropped = a < 0 and float((m.engine - m.logp).detach().mean()) > 0.1
        return clipped(m, a, 0.2, 0.28) * (not is_dropped)

    return token_mean(informative(groups), centred, term)


def gspo_on_uncertain_tokens(groups, step):
    """GSPO's ratio is of the whole completion, also where only its most uncertain tokens are learned from."""
    entropies = torch.cat([m.entropy.detach() for m in live(groups)])
    count = int(np.ceil(0.2 * len(entropies) - 1e-9))
    least = entropies.sort(descending=True).values[count - 1]

    def term(m, a):
        s = (m.logp - m.old).mean().exp()
        loss = -torch.minimum(s * a, s.clamp(1 - 3e-4, 1 + 4e-4) * a) * m.rho
        return loss * (m.entropy.detach() >= least)

    return sequence_mean(groups, zscored, term)


def luspo(groups, step):
    """GSPO with each sequence's objective times its length."""

    def term(m, a):
        s = (m.logp - m.old).mean().exp()
        return -torch.minimum(s * a, s.clamp(1 - 2e-3, 1 + 2.5e-3) * a) * m.rho * len(m.logp)

    return sequence_mean(groups, zscored, term)


def most_uncertain(groups):
    """The fifth of the update's tokens with the largest entropy, by completion."""
    entropies = torch.cat([m.entropy.detach() for m in live(groups)])
    least = entropies.sort(descending=True).values[int(np.ceil(0.2 * len(entropies) - 1e-9)) - 1]
    return {id(m): m.entropy.detach() >= least for m in live(groups)}


def high_entropy(groups, step):
    if not live(mixed(groups)):
        return 0.0
    chosen = most_uncertain(mixed(groups))
    return token_mean(mixed(groups), zscored, lambda m, a: clipped(m, a, 0.2, 0.28) * chosen[id(m)])


def seed_grpo(groups, step):
    def advantages(group):
        shares = np.array([sum(m.answer == each for m in group) for each in {m.answer for m in group}]) / len(group)
        uncertainty = -(shares * np.log(shares)).sum() / np.log(len(group))
        return {key: a * (1 - 0.5 * uncertainty) for key, a in centred(group).items()}

    return token_mean(groups, advantages, clipped)


def max_rl(groups, step):
    def advantages(group):
        average = np.mean([m.reward for m in group])
        return {key: a / (average + 1e-6) if average > 0 else 0.0 for key, a in centred(group).items()}

    return token_mean(groups, advantages, clipped)


def popped(m, advantage, low=0.2, high=0.2):
    """IcePop: the token's importance ratio where it lies between 0.5 and 5, else nothing of it."""
    rho = (m.old - m.engine).exp()
    clear = -torch.minimum(m.ratio * advantage, m.ratio.clamp(1 - low, 1 + high) * advantage)
    return clear * torch.where((rho >= 0.5) & (rho <= 5.0), rho, 0.0)


def icepop(groups, step):
    return token_mean(groups, zscored, popped)


def olmo3_zero(groups, step):
    return token_mean(informative(groups), centred, lambda m, a: clipped(m, a, 0.2, 0.272))


def whitened(step):
    """(A - mean) / std of r - mean over all tokens of the step's groups that have signal."""
    advantages = {key: value for group in informative(step) for key, value in centred(group).items()}
    flat = np.concatenate([np.full(len(m.logp), advantages[id(m)]) for m in live(informative(step))])
    return lambda a: (a - flat.mean()) / np.sqrt(flat.var(ddof=1) + 1e-8)


def magistral(groups, step):
    scale = whitened(step)
    return token_mean(informative(groups), centred, lambda m, a: clipped(m, scale(a), 0.2, 0.28))


def prorl_v2(groups, step):
    scale = whitened(step)

    def term(m, a):
        return popped(m, scale(a), 0.2, 0.27) + 1e-4 * 0.5 * (m.logp - m.ref) ** 2

    return token_mean(informative(groups), centred, term)


def skywork_or1(groups, step):
    """The steered bonus does not act before an entropy was measured."""
    return token_mean(informative(groups), zscored, clipped)


def deepseek_v3_2(groups, step):
    def term(m, a):
        is_dropped = a < 0 and float((m.engine - m.logp).detach().mean()) > 0.5
        return clipped(m, a) * (not is_dropped) + 0.001 * m.ratio * k3(m)

    return sequence_mean(groups, centred, term)


def scale_rl(groups, step):
    std = np.std([m.reward for m in live(informative(step))], ddof=1)
    loss, prompts = 0.0, [group for group in informative(groups) if live([group])]
    for group in prompts:
        advantages = centred(group)
        terms = [
            m.ratio.clamp(0, 5).detach() * advantages[id(m)] / (std + 1e-6) * m.logp * m.rho for m in live([group])
        ]
        loss -= sum(each.sum() for each in terms) / num_tokens([group]) / len(prompts)
    return loss


FORMULAS = {
    "default": default,
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "lite_ppo": lite_ppo,
    "dapo": dapo,
    "srl": srl,
    "gspo": gspo,
    "cispo": cispo,
    "sapo": sapo,
    "nft": nft,
    "clip_cov": clip_cov,
    "kl_cov": kl_cov,
    "entropy_advantage": entropy_advantage,
    "gfpo": gfpo,
    "pods": pods,
    "luspo": luspo,
    "high_entropy": high_entropy,
    "seed_grpo": seed_grpo,
    "max_rl": max_rl,
    "icepop": icepop,
    "olmo3_zero": olmo3_zero,
    "magistral": magistral,
    "prorl_v2": prorl_v2,
    "skywork_or1": skywork_or1,
    "deepseek_v3_2": deepseek_v3_2,
    "scale_rl": scale_rl,
}
KNOBS = {"clip_cov": {"mask": {"use": "clip_cov", "share": 1.0, "low": 1.0, "high": 5.0}}}


@pytest.mark.parametrize("preset", FORMULAS)
def test_the_gradient_is_the_papers(deviates, preset):
    deviates(FORMULAS[preset], preset, **KNOBS.get(preset, {}))


def test_masks_beside_presets(deviates):
    deviates(v3_2_mask, "default", mask={"use": "off_policy", "delta": 0.1})
    deviates(gspo_on_uncertain_tokens, "gspo", mask={"use": "top_entropy", "share": 0.2})
