"""Methods on pairs: DPO arXiv 2305.18290 eq. 7; RPO arXiv 2405.16436 eq. 8, whose repository multiplies eta by beta;
IPO and SimPO below."""

import pytest
from torch.nn.functional import logsigmoid


def pairs(groups):
    """(chosen, rejected): the best and the worst of a group whose rewards differ."""
    found = []
    for group in groups:
        best, worst = (pick(group, key=lambda m: m.reward) for pick in (max, min))
        if best.reward > worst.reward and not (best.is_cut or worst.is_cut):
            found.append((best, worst))
    return found


def dpo(groups, step, beta=0.1):
    loss = 0.0
    for chosen, rejected in pairs(groups):
        margin = (chosen.logp - chosen.ref).sum() - (rejected.logp - rejected.ref).sum()
        loss += -logsigmoid(beta * margin)
    return loss / max(1, len(pairs(groups)))


def rpo(groups, step, beta=0.01, eta=0.005):
    """The repository's line: losses -= chosen_logps (a sum) * beta * eta."""
    imitation = sum(-chosen.logp.sum() for chosen, _ in pairs(groups)) / max(1, len(pairs(groups)))
    return dpo(groups, step, beta) + beta * eta * imitation


def ipo(groups, step, beta=0.1):
    """arXiv 2310.12036, eq. 17: (h - 1 / (2 tau))^2."""
    loss = 0.0
    for chosen, rejected in pairs(groups):
        h = (chosen.logp - chosen.ref).sum() - (rejected.logp - rejected.ref).sum()
        loss += (h - 1 / (2 * beta)) ** 2
    return loss / max(1, len(pairs(groups)))


def simpo(groups, step, beta=2.0, gamma=1.0):
    """arXiv 2405.14734, eq. 6."""
    loss = 0.0
    for chosen, rejected in pairs(groups):
        lead = beta / len(chosen.logp) * chosen.logp.sum() - beta / len(rejected.logp) * rejected.logp.sum()
        loss += -logsigmoid(lead - gamma)
    return loss / max(1, len(pairs(groups)))


FORMULAS = {"dpo": dpo, "rpo": rpo, "ipo": ipo, "simpo": simpo}


@pytest.mark.parametrize("preset", FORMULAS)
def test_the_gradient_is_the_papers(deviates, preset):
    deviates(FORMULAS[preset], preset)
