import math

import pytest
import torch

from r1lab.objective.kl import distance, k1, k2, k3, k3_is

LOGP, REF = torch.tensor([-1.0, -2.0, -0.5], dtype=torch.float64), torch.tensor([-1.5, -1.0, -0.5], dtype=torch.float64)


OLD = LOGP - torch.tensor([0.2, -0.3, 0.0], dtype=torch.float64)


def corrected(*, logp, ref):
    return k3_is(logp=logp, ref=ref, old=OLD[: len(logp)])


ALL = {"k1": k1, "k2": k2, "k3": k3, "k3_is": corrected, "abs": distance}


def weight(estimator, logp, ref):
    """w = -dL/dlogp."""
    logp = logp.clone().requires_grad_()
    estimator(logp=logp, ref=ref).sum().backward()
    return (-logp.grad).tolist()


def test_values_by_hand():
    # logp - ref = 0.5, -1, 0
    assert k1(logp=LOGP, ref=REF).tolist() == [0.5, -1.0, 0.0]
    assert k2(logp=LOGP, ref=REF).tolist() == [0.125, 0.5, 0.0]
    assert k3(logp=LOGP, ref=REF).tolist() == pytest.approx([math.exp(-0.5) - 0.5, math.e - 2, 0.0])


def test_weights_by_hand():
    assert weight(k1, LOGP, REF) == [-1.0, -1.0, -1.0]
    assert weight(k2, LOGP, REF) == [-0.5, 1.0, 0.0]
    assert weight(k3, LOGP, REF) == pytest.approx([-(1 - math.exp(-0.5)), math.e - 1, 0.0])
    # -R (logp - ref), R = e^0.2, e^-0.3, 1
    assert weight(corrected, LOGP, REF) == pytest.approx([-0.5 * math.exp(0.2), math.exp(-0.3), 0.0])
    assert weight(distance, LOGP, REF) == [-1.0, 1.0, 0.0]


def test_r_times_k3_has_the_gradient_of_k2_at_ratio_1():
    def on_policy(*, logp, ref):
        return k3_is(logp=logp, ref=ref, old=LOGP)

    assert weight(on_policy, LOGP, REF) == pytest.approx(weight(k2, LOGP, REF))


@pytest.mark.parametrize("name", ["k1", "k2", "k3", "k3_is"])
def test_weights_are_finite_differences(name):
    h, fn = 1e-6, ALL[name]
    slope = (fn(logp=LOGP + h, ref=REF) - fn(logp=LOGP - h, ref=REF)) / (2 * h)
    assert weight(fn, LOGP, REF) == pytest.approx((-slope).tolist(), abs=1e-9)


def test_k1_and_k3_estimate_and_k2_has_the_gradient_of_the_reverse_kl():
    logits = torch.tensor([0.3, -1.0, 2.0, 0.1], dtype=torch.float64, requires_grad=True)
    logp, ref = logits.log_softmax(0), torch.tensor([0.5, 0.5, -1.0, 0.0], dtype=torch.float64).log_softmax(0)
    p = logp.exp()
    exact = (p * (logp - ref)).sum()
    for estimator in (k1, k3):
        assert (p * estimator(logp=logp, ref=ref)).sum().item() == pytest.approx(exact.item())
    (truth,) = torch.autograd.grad(exact, logits, retain_graph=True)
    (surrogate,) = torch.autograd.grad((p.detach() * k2(logp=logp, ref=ref)).sum(), logits)
    assert surrogate.tolist() == pytest.approx(truth.tolist())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("gap", [-50.0, 50.0])
def test_log_ratios_of_50_stay_finite(name, gap):
    logp = torch.tensor([-60.0])
    assert math.isfinite(ALL[name](logp=logp, ref=logp + gap).item())
    assert all(map(math.isfinite, weight(ALL[name], logp, logp + gap)))
