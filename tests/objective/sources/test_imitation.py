"""Methods that learn from demonstrations alone, summed over the demonstration's tokens by their number.

SFT: behaviour cloning; DFT arXiv 2508.05629 eq. 7; iw-SFT arXiv 2507.12856 eq. 9; GEM arXiv 2408.16673 eq. 4 with h
linear; one-token rollout arXiv 2509.26313 eq. 5 in expectation; token cleaning arXiv 2502.01968 eq. 3.
"""

import pytest
import torch

from r1lab.objective.weight import WEIGHTS


def token_mean(groups, term):
    members = [m for group in groups for m in group]
    return sum(term(m).sum() for m in members) / sum(len(m.logp) for m in members)


def sft(groups, step):
    return token_mean(groups, lambda m: -m.logp)


def dft(groups, step):
    return token_mean(groups, lambda m: -m.logp.exp().detach() * m.logp)


def iw_sft(groups, step):
    return token_mean(groups, lambda m: -(m.logp - m.ref).mean().exp().clamp(max=16).detach() * m.logp)


def gem(groups, step):
    return token_mean(groups, lambda m: -0.7 * m.logq)


def one_token_rollout(groups, step):
    """One token a of q = softmax(z / 1.3) a position, paid 1 where it is the target y, else -0.1. In expectation the
    logits get [(1 - beta) q_y + beta] (p - onehot) - beta (q - onehot), which `test_what_the_logits_get` sums up."""
    kappa, beta = 1.3, -0.1
    return token_mean(groups, lambda m: -((1 - beta) * m.logq.exp().detach() + beta) * m.logp + beta * kappa * m.logq)


def token_cleaning(groups, step):
    members = [m for group in groups for m in group]
    gain = torch.cat([(m.old - m.ref).detach() for m in members])
    kept = -(-6 * len(gain) // 10)
    least = gain.sort(descending=True).values[kept - 1]
    return sum((-m.logp * ((m.old - m.ref).detach() >= least)).sum() for m in members) / kept


FORMULAS = {
    "sft": sft,
    "dft": dft,
    "iw_sft": iw_sft,
    "gem": gem,
    "one_token_rollout": one_token_rollout,
    "token_cleaning": token_cleaning,
}


@pytest.mark.parametrize("preset", FORMULAS)
def test_the_gradient_is_the_papers(deviates, preset):
    deviates(FORMULAS[preset], preset)


@pytest.mark.parametrize("use, kappa", [("gem", 0.7), ("otr", 1.3)])
def test_what_the_logits_get(use, kappa):
    """dL/dz of GEM and of the expected one-token rollout over a whole vocabulary, not by log-probabilities alone."""
    logits = torch.randn(5, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = torch.arange(5)
    onehot = torch.nn.functional.one_hot(y, 11)
    q = (logits / kappa).softmax(-1)
    if use == "gem":
        expected = q - onehot
    else:  # -sum over tokens a of q_a R(a) log p_a, with q and R fixed
        paid = torch.where(onehot.bool(), 1.0, -0.1).to(torch.float64)
        loss = -(q.detach() * paid * logits.log_softmax(-1)).sum()
        (expected,) = torch.autograd.grad(loss, logits, retain_graph=True)
    logp, logq = logits.log_softmax(-1)[y, y], (logits / kappa).log_softmax(-1)[y, y]
    loss = WEIGHTS[use].fn(logp=logp, old=logp.detach(), advantage=torch.ones(5), logq=logq).sum()
    (found,) = torch.autograd.grad(loss, logits)
    assert torch.allclose(found, expected.to(found.dtype), rtol=0, atol=1e-6 * float(expected.abs().max()))
