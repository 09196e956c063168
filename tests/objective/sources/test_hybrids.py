"""Methods that learn from demonstrations beside or instead of samples. `live`: what is in the sums of the loss.

LUFFY arXiv 2504.14945 eq. 7-9; SRFT arXiv 2506.19767 eq. 7-13; HPT arXiv 2509.04419 eq. 9-11 (its scripts run without a
clip); ReLIFT arXiv 2506.07527; DyME arXiv 2506.23061 section 3; CHORD arXiv 2508.11408 eq. 5-8; UFT arXiv 2505.16984
eq. 2-3; Prefix-RFT arXiv 2507.01679 section 3; BREAD arXiv 2506.17211 algorithm 1.
"""

import math

import numpy as np
import pytest
import torch

LENGTH = 16


def live(members):
    return [m for m in members if not m.is_cut]


def sampled(groups):
    return [m for group in groups for m in group if not m.is_demo]


def shown(groups):
    return [m for group in groups for m in group if m.is_demo]


def centred(members):
    rewards = np.array([m.reward for m in members])
    return dict(zip(map(id, members), rewards - rewards.mean()))


def zscored(members):
    rewards = np.array([m.reward for m in members])
    return dict(zip(map(id, members), (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6)))


def clipped(m, advantage, low=0.2, high=0.2):
    return -torch.minimum(m.ratio * advantage, m.ratio.clamp(1 - low, 1 + high) * advantage) * m.rho


def k3(m):
    return (m.ref - m.logp).exp() - (m.ref - m.logp) - 1


def num_tokens(members):
    return max(1, sum(len(m.logp) for m in members))


def luffy(groups, step):
    loss, members = 0.0, live([m for group in groups for m in group])
    for group in groups:
        advantages = centred(group)
        for m in live(group):
            a, p = advantages[id(m)], m.logp.exp()
            loss += (-a * p / (p + 0.1) if m.is_demo else -a * m.ratio * m.rho - 0.001 * m.entropy).sum()
    return loss / (len(members) * LENGTH)


def srft(groups, step):
    on_policy = demonstrated = 0.0
    for group in groups:
        advantages = centred(group)
        for m in live(group):
            entropy, p = m.entropy.mean().detach(), m.logp.exp()
            if m.is_demo:
                imitation = -0.5 * (-entropy).exp() * m.logp
                demonstrated += (imitation - advantages[id(m)] * p / (p + 0.1)).sum()
            else:
                policy = -0.1 * entropy.exp() * m.logp if m.score >= 1 else m.logp
                on_policy += (policy * m.rho - 0.001 * m.entropy).sum()
    return on_policy / num_tokens(live(sampled(groups))) + demonstrated / num_tokens(shown(groups))


def gated(groups):
    """HPT's and DyME's gate: the samples where any is right, else the demonstration."""
    kept = []
    for group in groups:
        solved = any(m.score >= 1 for m in group if not m.is_demo)
        kept.append([m for m in group if m.is_demo != solved])
    return kept


def hpt(groups, step):
    loss, kept = 0.0, gated(groups)
    for group in kept:
        advantages = centred(group)
        for m in live(group):
            loss += (-m.logp if m.is_demo else -advantages[id(m)] * m.ratio * m.rho - 0.001 * m.entropy).sum()
    return loss / (len(live([m for group in kept for m in group])) * LENGTH)


def relift(groups, step):
    """Its update of samples; demonstrations wait for one of their own."""
    loss, members = 0.0, live(sampled(groups))
    for group in groups:
        advantages = centred(sampled([group]))
        loss += sum((-advantages[id(m)] * m.ratio * m.rho - 0.001 * m.entropy).sum() for m in live(sampled([group])))
    return loss / (len(members) * LENGTH)


def dyme(groups, step):
    loss, kept = 0.0, gated(groups)
    for group in kept:
        advantages = zscored(group) if len(group) > 1 else {}
        for m in live(group):
            loss += (-m.logp if m.is_demo else clipped(m, advantages[id(m)])).mean()
    return loss / len(live([m for group in kept for m in group]))


def chord(mu, imitate):
    def formula(groups, step):
        policy = 0.0
        for group in groups:
            samples = [m for m in group if not m.is_demo]
            policy += sum(clipped(m, zscored(samples)[id(m)]).sum() for m in live(samples))
        imitation = sum(imitate(m).sum() for m in shown(groups)) / num_tokens(shown(groups))
        return (1 - mu) * policy / num_tokens(live(sampled(groups))) + mu * imitation

    return formula


def phi(m):
    """w = p (1 - p), not differentiated."""
    p = m.logp.exp().detach()
    return -p * (1 - p) * m.logp


def uft(groups, step):
    policy = hints = 0.0
    kept = live([m for group in groups for m in group])
    for group in groups:
        advantages = zscored(group)
        for m in live(group):
            policy += (clipped(m, advantages[id(m)]) + 0.001 * k3(m))[m.prefix :].sum()
            hints += -m.logp[: m.prefix].sum()
    num_hints = max(1, sum(m.prefix for m in kept))
    return policy / max(1, sum(len(m.logp) - m.prefix for m in kept)) + 0.001 * hints / num_hints


def prefix_rft(groups, step):
    loss, kept = 0.0, live([m for group in groups for m in group])
    for group in groups:
        advantages = centred(group)
        for m in live(group):
            a = advantages[id(m)]
            loss += clipped(m, a)[m.prefix :].sum()
            if m.prefix:
                entropy = m.entropy.detach()[: m.prefix]
                count = math.ceil(0.2 * m.prefix - 1e-9)
                taught = entropy >= entropy.sort(descending=True).values[count - 1]
                loss += (-a * m.logp[: m.prefix] * taught).sum()
    return loss / (len(kept) * LENGTH)


def bread(groups, step):
    loss, num_kept = 0.0, 0
    for group in groups:
        branches = {}
        for m in group:
            if not m.is_demo:
                branches.setdefault(m.prefix, []).append(m)
        unhelped = branches[0]
        if any(m.score >= 1 for m in unhelped):
            branch = unhelped
        else:
            branch = next((b for b in branches.values() if 0 < sum(m.score >= 1 for m in b) < len(b)), [])
        num_kept += len(live(branch))
        loss += sum(clipped(m, zscored(branch)[id(m)])[m.prefix :].mean() for m in live(branch))
    return loss / max(1, num_kept)


FORMULAS = {
    "luffy": luffy,
    "srft": srft,
    "hpt": hpt,
    "dyme": dyme,
    "relift": relift,
    "chord_mu": chord(0.05 + 0.85 * 0.5 * (1 + math.cos(math.pi * 2 / 200)), lambda m: -m.logp),  # step 3: 2 steps done
    "chord_phi": chord(0.1, phi),
    "uft": uft,
    "prefix_rft": prefix_rft,
    "bread": bread,
}


@pytest.mark.parametrize("preset", FORMULAS)
def test_the_gradient_is_the_papers(deviates, preset):
    deviates(FORMULAS[preset], preset)
