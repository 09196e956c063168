import math

import pytest
import torch

from r1lab.objective.weight import one, ppo, ratio


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def weight(fn, logp, old, advantage, **settings):
    """w = -dL/dlogp, by autograd."""
    logp = logp.clone().requires_grad_()
    fn(logp=logp, old=old, advantage=advantage, **settings).sum().backward()
    return -logp.grad


LOGP, ADVANTAGE = f64(-0.1, -1.0, -2.0, -3.0), f64(1.0, -0.5, 2.0, 0.0)


def test_one_is_the_log_likelihood_weighted_by_the_advantage():
    assert one(logp=LOGP, old=LOGP, advantage=ADVANTAGE).tolist() == pytest.approx([0.1, -0.5, 4.0, 0.0])
    assert weight(one, LOGP, LOGP - 3, ADVANTAGE).tolist() == ADVANTAGE.tolist()


def test_ppo_has_the_gradient_of_reinforce_at_ratio_1():
    assert weight(ppo, LOGP, LOGP, ADVANTAGE).tolist() == pytest.approx(weight(one, LOGP, LOGP, ADVANTAGE).tolist())


def closed_form(r, a, low, high, dual=0.0):
    """METHODS 2.2: A R unless (A > 0, R > 1 + high) or (A < 0, R < 1 - low) or (A < 0, R > dual)."""
    clipped = (a > 0 and r > 1 + high) or (a < 0 and r < 1 - low) or (dual > 1 and a < 0 and r > dual)
    return 0.0 if clipped else a * r


@pytest.mark.parametrize("dual", [0.0, 3.0])
@pytest.mark.parametrize("a", [-1.5, 0.0, 2.0])
@pytest.mark.parametrize("r", [0.3, 0.79, 0.81, 1.0, 1.27, 1.29, 2.9, 3.1, 9.0])
def test_ppo_is_its_closed_form_and_its_finite_difference(r, a, dual):
    settings = {"clip_low": 0.2, "clip_high": 0.28, "dual": dual}
    logp, old, advantage = f64(-1.0), f64(-1.0 - math.log(r)), f64(a)
    found = weight(ppo, logp, old, advantage, **settings).item()
    assert found == pytest.approx(closed_form(r, a, 0.2, 0.28, dual))
    h = 1e-6
    up, down = (ppo(logp=logp + d, old=old, advantage=advantage, **settings).item() for d in (h, -h))
    assert found == pytest.approx(-(up - down) / (2 * h), abs=1e-7)


def test_ppos_value_is_the_smaller_of_ratio_and_clipped_ratio_times_advantage():
    # R = 1.5, A = 1: clipped at 1.28; R = 1.5, A = -1: not clipped, 1.5; R = 0.5, A = -1: clipped at 0.8
    loss = ppo(logp=f64(*map(math.log, (1.5, 1.5, 0.5))), old=f64(0, 0, 0), advantage=f64(1, -1, -1), clip_high=0.28)
    assert loss.tolist() == pytest.approx([-1.28, 1.5, 0.8])


@pytest.mark.parametrize("gap", [-50.0, 50.0, 1e4])
@pytest.mark.parametrize("a", [-1.0, 0.0, 1.0])
def test_log_ratios_of_50_stay_finite(gap, a):
    logp, old = torch.tensor([-60.0]), torch.tensor([-60.0 - gap])
    assert math.isfinite(ppo(logp=logp, old=old, advantage=torch.tensor([a])).item())
    assert math.isfinite(weight(ppo, logp, old, torch.tensor([a])).item())
    assert ratio(logp, old).item() == pytest.approx(math.exp(max(-20, min(20, gap))), rel=1e-5)
