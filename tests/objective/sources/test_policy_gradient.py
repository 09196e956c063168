"""Methods without a relative, normalised advantage: each formula as its paper has it, with the lab's default correction
rho where old log-probabilities exist at the sampler. `live` leaves out completions cut at the limit where those are
masked, which stay in baselines.

Williams 1992; RLOO arXiv 2402.14740 eq. 6-7; ReMax arXiv 2310.10505 eq. 5; REINFORCE++ arXiv 2501.03262 (v9) eq. 3-8;
OPO arXiv 2505.23585 eq. 10; RAFT, RAFT++ and Reinforce-Rej arXiv 2504.11343 section 2; PPO arXiv 1707.06347 eq. 7 with
GAE arXiv 1506.02438 eq. 16; on-policy distillation arXiv 2306.13649, as RL by Thinking Machines 2025; PSR, NSR and
W-REINFORCE arXiv 2506.01347 eq. 4-6.
"""

import math

import pytest
import torch


def live(groups):
    return [m for group in groups for m in group if not m.is_cut and not m.is_greedy]


def num_tokens(members):
    return sum(len(m.logp) for m in members)


def k3(m):
    return (m.ref - m.logp).exp() - (m.ref - m.logp) - 1


def clipped(m, advantage, low=0.2, high=0.2):
    """PPO eq. 7, as a loss."""
    return -torch.minimum(m.ratio * advantage, m.ratio.clamp(1 - low, 1 + high) * advantage) * m.rho


def mean_of(rewards):
    return sum(rewards) / len(rewards)


def raft(groups, step):
    right = [m for m in live(groups) if m.score >= 1]
    return sum((-max(m.reward, 0) * m.logp * m.rho).sum() for m in right) / max(1, num_tokens(right))


def gvm(groups, step):
    """Each problem's right completions by their own mean, the problems by theirs."""
    right = [[m for m in live([group]) if m.score >= 1] for group in groups]
    kept = [group for group in right if group]
    loss = sum(sum((-max(m.reward, 0) * m.logp * m.rho).sum() for m in group) / num_tokens(group) for group in kept)
    return loss / max(1, len(kept))


def raft_pp(groups, step):
    right = [m for m in live(groups) if m.score >= 1]
    loss = sum((clipped(m, max(m.reward, 0)) + 0.001 * k3(m)).sum() for m in right)
    return loss / max(1, num_tokens(right))


def reinforce(groups, step):
    return sum((-m.reward * m.logp * m.rho).sum() for m in live(groups)) / len(live(groups))


def var(groups, step):
    """The variational form with samples of the policy in the reference's place: each sequence imitated in its share."""
    loss = 0.0
    for group in groups:
        z = sum(math.exp(m.reward) for m in group)
        loss += sum((-math.exp(m.reward) / z * m.logp * m.rho).sum() for m in live([group]))
    return loss / len(live(groups))


def rloo(groups, step):
    loss = 0.0
    for group in groups:
        for m in live([group]):
            others = [other.reward for other in group if other is not m]
            loss += (-(m.reward - mean_of(others)) * m.logp * m.rho).sum()
    return loss / len(live(groups))


def speed_rloo(groups, step):
    """RLOO on the groups that their first two completions let go on."""
    return (
        rloo([group for group in groups if len({m.score for m in group[:2]}) > 1], step)
        if live([group for group in groups if len({m.score for m in group[:2]}) > 1])
        else 0.0
    )


def remax(groups, step):
    loss = 0.0
    for group in groups:
        (greedy,) = [m.reward for m in group if m.is_greedy]
        loss += sum((-(m.reward - greedy) * m.logp * m.rho).sum() for m in live([group]))
    return loss / len(live(groups))


def reinforce_pp(groups, step):
    def advantage(m):  # eq. 3: r minus beta times the KL (k1) still to come
        return m.reward - 0.001 * (m.old - m.ref).flip(0).cumsum(0).flip(0)

    vectors = [advantage(m) for m in live(step)]
    flat = torch.cat(vectors)
    centre, scale = flat.mean(), (flat.var() + 1e-8).sqrt()
    loss = sum(clipped(m, (advantage(m) - centre) / scale).sum() for m in live(groups))
    return loss / num_tokens(live(groups))


def reinforce_pp_baseline(groups, step):
    centred = {id(m): m.reward - mean_of([each.reward for each in group]) for group in step for m in group}
    flat = torch.cat([torch.full_like(m.logp, centred[id(m)]) for m in live(step)]).detach()
    centre, scale = flat.mean(), (flat.var() + 1e-8).sqrt()
    loss = sum(
        (clipped(m, (centred[id(m)] - centre) / scale) + 1e-5 * 0.5 * (m.logp - m.ref) ** 2).sum() for m in live(groups)
    )
    return loss / num_tokens(live(groups))


def opo(groups, step):
    loss = 0.0
    for group in groups:
        lengths = [len(m.logp) for m in group]
        baseline = sum(length * m.reward for length, m in zip(lengths, group)) / sum(lengths)
        loss += sum((-(m.reward - baseline) * m.logp * m.rho).sum() for m in live([group]))
    return loss / len(live(groups))


def reinforce_rej(groups, step):
    kept = [group for group in groups if len({m.reward for m in group}) > 1]
    loss = sum((clipped(m, m.reward) + 0.001 * k3(m)).sum() for m in live(kept))
    return loss / max(1, num_tokens(live(kept)))


def ppo(groups, step):
    def rewards(m):
        paid = -0.001 * (m.old - m.ref)
        paid[-1] += m.reward
        return paid

    def gae(m, gamma=1.0, lam=0.95):  # eq. 16 of GAE: sum over l of (gamma lam)^l delta_{t+l}
        paid, values = rewards(m).detach(), m.values.detach()
        following = torch.cat([values[1:], torch.zeros(1, dtype=values.dtype)])
        delta = paid + gamma * following - values
        size = len(delta)
        powers = [[(gamma * lam) ** (k - t) if k >= t else 0.0 for k in range(size)] for t in range(size)]
        return torch.tensor(powers, dtype=delta.dtype) @ delta

    flat = torch.cat([gae(m) for m in live(step)])
    centre, scale = flat.mean(), (flat.var() + 1e-8).sqrt()
    loss = 0.0
    for m in live(groups):
        returns = gae(m) + m.values.detach()
        loss += (clipped(m, (gae(m) - centre) / scale) + 0.5 * 0.5 * (m.values - returns) ** 2).sum()
    return loss / num_tokens(live(groups))


def on_policy_distillation(groups, step):
    """The reverse KL of each sampled token as its advantage, with nothing of what follows; beside it the reward."""
    members = live(groups)
    return sum((-(m.reward + m.ref - m.old) * m.logp * m.rho).sum() for m in members) / num_tokens(members)


def weighed(right, wrong):
    def formula(groups, step):
        loss = sum(clipped(m, right if m.score >= 1 else wrong).sum() for m in live(groups))
        return loss / num_tokens(live(groups))

    return formula


FORMULAS = {
    "raft": raft,
    "raft_pp": raft_pp,
    "gvm": gvm,
    "reinforce": reinforce,
    "var": var,
    "rloo": rloo,
    "speed_rloo": speed_rloo,
    "remax": remax,
    "reinforce_pp": reinforce_pp,
    "reinforce_pp_baseline": reinforce_pp_baseline,
    "opo": opo,
    "reinforce_rej": reinforce_rej,
    "ppo": ppo,
    "on_policy_distillation": on_policy_distillation,
    "psr": weighed(right=1.0, wrong=0.0),
    "nsr": weighed(right=0.0, wrong=-1.0),
    "w_reinforce": weighed(right=0.1, wrong=-1.0),
}


@pytest.mark.parametrize("preset", FORMULAS)
def test_the_gradient_is_the_papers(deviates, preset):
    deviates(FORMULAS[preset], preset)
