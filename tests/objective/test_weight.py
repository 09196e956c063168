"""Every weight function: its closed form, by float64 autograd and by finite differences, and its edges."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lab.objective import weight as weights
from r1lab.objective.segments import Segments
from r1lab.objective.weight import (
    WEIGHTS,
    dpo,
    gem,
    gspo,
    ipo,
    iw,
    nft,
    one,
    otr,
    ppo,
    prob,
    ratio,
    simpo,
    srft,
    srft_demo,
)


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def slope(fn, logp, **given):
    """w = -dL/dlogp, by autograd."""
    logp = logp.clone().requires_grad_()
    fn(logp=logp, **given).sum().backward()
    return -logp.grad


def differences(fn, logp, *, h=1e-6, **given):
    """w by central differences of the summed loss, one row at a time."""
    steps = torch.eye(len(logp), dtype=torch.float64) * h
    return torch.stack([(fn(logp=logp - s, **given).sum() - fn(logp=logp + s, **given).sum()) / (2 * h) for s in steps])


def one_segment(size):
    return Segments(torch.zeros(size, dtype=torch.int64), torch.ones(size, dtype=torch.bool))


LOGP, ADVANTAGE = f64(-0.1, -1.0, -2.0, -3.0), f64(1.0, -0.5, 2.0, 0.0)
OLD = LOGP - f64(0.1, -0.4, 1.2, 0.3)  # R: e^0.1, e^-0.4, e^1.2, e^0.3
R, P = (LOGP - OLD).exp(), LOGP.exp()
ENTROPY, LOGQ = f64(0.3, 1.5, 0.7, 2.0), f64(-0.05, -0.9, -2.5, -3.5)


def sigma(x):
    return 1 / (1 + (-x).exp())


def clip(a, r, low, high, dual=0.0):
    """A R unless (A > 0, R > 1 + high) or (A < 0, R < 1 - low) or (A < 0, R > dual)."""
    clipped = ((a > 0) & (r > 1 + high)) | ((a < 0) & (r < 1 - low)) | ((a < 0) & (r > dual) & (dual > 1))
    return torch.where(clipped, 0.0, a * r)


TAU = f64(1.0, 1.05, 1.0, 1.05)
SHAPED = ADVANTAGE + torch.minimum(0.4 * ENTROPY, ADVANTAGE.abs() / 2)
CLOSED = {
    "one": ADVANTAGE,
    "nll": torch.ones(4),
    "unclipped": ADVANTAGE * R,
    "ppo": clip(ADVANTAGE, R, 0.2, 0.2),
    "cispo": ADVANTAGE * R.clamp(max=5.0),
    "sapo": ADVANTAGE * R * 4 * sigma(TAU * (R - 1)) * (1 - sigma(TAU * (R - 1))),
    "dppo_tv": ADVANTAGE * R * f64(1, 0, 1, 1),  # p - p_old: 0.09, -0.18, 0.09, 0.01
    "dppo_kl": ADVANTAGE * R * f64(1, 0, 0, 1),  # KL(p_old || p): 0.035, 0.067, 0.0505, 0.003
    "dro": ADVANTAGE - 0.1 * f64(0.3, -0.4, 1.2, -0.2),
    "entropy_advantage": clip(SHAPED, R, 0.2, 0.2),
    "off_shape": ADVANTAGE * 0.1 * P / (P + 0.1) ** 2,
    "prob": ADVANTAGE * P,
    "phi": ADVANTAGE * P * (1 - P),
}
DETACHED = {"cispo", "dppo_tv", "dppo_kl"}  # their value is not the integral of their weight
ENGINE = LOGP - f64(0.3, torch.nan, torch.nan, -0.2)  # of tokens 2 and 3 it is not known: old stands for it


def bound(name):
    more = {"entropy": ENTROPY, "engine": ENGINE}
    return {"old": OLD, "advantage": ADVANTAGE} | {key: more[key] for key in WEIGHTS[name].takes}


@pytest.mark.parametrize("name", CLOSED)
def test_a_weight_is_its_closed_form(name):
    assert slope(WEIGHTS[name].fn, LOGP, **bound(name)).tolist() == pytest.approx(CLOSED[name].tolist(), abs=1e-12)


@pytest.mark.parametrize("name", sorted(set(CLOSED) - DETACHED))
def test_a_weight_is_its_finite_difference(name):
    fn = WEIGHTS[name].fn
    assert differences(fn, LOGP, **bound(name)).tolist() == pytest.approx(
        slope(fn, LOGP, **bound(name)).tolist(), abs=1e-9
    )


def test_every_weight_has_a_test_of_its_closed_form():
    assert set(WEIGHTS) == {
        *CLOSED, "gspo", "gmpo", "vespo", "nft", "srft", "srft_demo", "iw", "gem", "otr", "dpo", "ipo", "simpo"
    }  # fmt: skip


@pytest.mark.parametrize("dual", [0.0, 3.0])
@pytest.mark.parametrize("a", [-1.5, 0.0, 2.0])
@pytest.mark.parametrize("r", [0.3, 0.79, 0.81, 1.0, 1.27, 1.29, 2.9, 3.1, 9.0])
def test_ppo_clips_by_the_sign_of_the_advantage(r, a, dual):
    given = {"old": f64(-1.0 - math.log(r)), "advantage": f64(a), "clip_low": 0.2, "clip_high": 0.28, "dual": dual}
    found = slope(ppo, f64(-1.0), **given)
    assert found.tolist() == pytest.approx(clip(f64(a), f64(r), 0.2, 0.28, dual).tolist())
    assert found.tolist() == pytest.approx(differences(ppo, f64(-1.0), **given).tolist(), abs=1e-7)


def test_ppos_value_is_the_smaller_of_ratio_and_clipped_ratio_times_advantage():
    # R = 1.5, A = 1: clipped at 1.28; R = 1.5, A = -1: not clipped, 1.5; R = 0.5, A = -1: clipped at 0.8
    loss = ppo(logp=f64(*map(math.log, (1.5, 1.5, 0.5))), old=f64(0, 0, 0), advantage=f64(1, -1, -1), clip_high=0.28)
    assert loss.tolist() == pytest.approx([-1.28, 1.5, 0.8])


def test_cispo_has_a_lower_bound_where_one_is_set():
    # R = e^-0.4 = 0.67 is raised to 0.8
    assert slope(weights.cispo, LOGP, old=OLD, advantage=ADVANTAGE, clip_low=0.2, clip_high=0.28).tolist() == (
        pytest.approx([math.exp(0.1), -0.5 * 0.8, 2 * 1.28, 0])
    )


def test_gspo_is_ppo_on_the_sequences_mean_log_ratio():
    # two sequences of two: means (0.1 - 0.4) / 2 and (1.2 + 0.3) / 2; A of a sequence is one number
    ids, a = torch.tensor([4, 4, 9, 9]), f64(-1.0, -1.0, 2.0, 2.0)
    segments = Segments(ids, torch.ones(4, dtype=torch.bool))
    given = {"old": OLD, "advantage": a, "segments": segments, "clip_low": 0.5, "clip_high": 2.0}
    s = f64(-0.15, -0.15, 0.75, 0.75).exp()
    assert gspo(logp=LOGP, **given).tolist() == pytest.approx((-a * s).tolist())
    assert slope(gspo, LOGP, **given).tolist() == pytest.approx((a * s).tolist())
    assert differences(gspo, LOGP, **given).tolist() == pytest.approx((a * s).tolist(), abs=1e-8)
    tight = {**given, "clip_low": 0.1, "clip_high": 0.1}
    assert slope(gspo, LOGP, **tight).tolist() == [0.0] * 4  # s = 0.86 with A < 0, s = 2.1 with A > 0


def test_gmpo_bounds_each_log_ratio_in_the_direction_of_the_advantage():
    given = {"old": OLD, "segments": one_segment(4)}  # log-ratios 0.1, -0.4, 1.2, 0.3
    up = math.exp((0.1 - 0.4 + 0.4 + 0.3) / 4)
    assert slope(weights.gmpo, LOGP, advantage=f64(1, 1, 1, 1), **given).tolist() == pytest.approx([up, up, 0, up])
    down = -math.exp((0.1 - 0.3 + 1.2 + 0.3) / 4)
    found = slope(weights.gmpo, LOGP, advantage=-f64(1, 1, 1, 1), log_low=0.3, **given)
    assert found.tolist() == pytest.approx([down, 0, down, down])


@pytest.mark.parametrize("a, k, lam", [(1.0, 2, 3), (-1.0, 3, 2)])
def test_vespo_is_one_at_ratio_one_and_bounds_a_whole_sequence_softly(a, k, lam):
    def weight(gap):
        given = {"old": LOGP, "engine": LOGP - gap, "advantage": f64(a, a, a, a), "segments": one_segment(4)}
        return slope(weights.vespo, LOGP, **given).tolist()

    assert weight(0.0) == [a] * 4
    for gap in (0.2, -0.3):
        w = math.exp(4 * gap)
        assert weight(gap) == pytest.approx([a * w**k * math.exp(lam * (1 - w))] * 4)
    assert max(map(abs, weight(2.0))) < 1e-9 and max(map(abs, weight(-4.0))) < 1e-9


@pytest.mark.parametrize("omega", ["rate", "root", "one"])
@pytest.mark.parametrize("r", [0.5, 1.0, 1.4, 3.0])
@pytest.mark.parametrize("q", [0.02, 0.3, 0.98])
def test_nft_is_its_closed_form_for_right_and_wrong(q, r, omega):
    o = {"rate": 1 - q, "root": math.sqrt((1 - q) / q), "one": 1.0}[omega]
    negative = -o * (q * r / (1 - q)) / max((1 - q * r) / (1 - q), 1.0)
    given = {"old": f64(-1, -1) - math.log(r), "advantage": f64(1 - q, -q), "omega": omega}
    assert slope(nft, f64(-1, -1), **given).tolist() == pytest.approx([o, negative])
    assert slope(nft, f64(-1, -1), **given, negative=0.0).tolist() == pytest.approx([o, 0.0])  # imitation alone


def test_srft_weighs_right_answers_by_the_exponential_of_their_entropy():
    calm = math.exp(ENTROPY.mean())
    given = {"old": OLD, "entropy": ENTROPY, "segments": one_segment(4)}
    right, wrong = (slope(srft, LOGP, advantage=f64(a, a, a, a), **given).tolist() for a in (1, -1))
    assert right == pytest.approx([0.1 * calm] * 4) and wrong == [-1.0] * 4


def test_srfts_demonstration_has_an_imitation_and_an_off_policy_term():
    given = {"old": OLD, "advantage": ADVANTAGE, "entropy": ENTROPY, "segments": one_segment(4)}
    truth = 0.5 * math.exp(-ENTROPY.mean()) + CLOSED["off_shape"]
    assert slope(srft_demo, LOGP, **given).tolist() == pytest.approx(truth.tolist())
    assert differences(srft_demo, LOGP, **given).tolist() == pytest.approx(truth.tolist(), abs=1e-9)


@pytest.mark.parametrize("gap, factor", [(0.0, 1.0), (0.5, math.exp(0.5)), (-2.0, math.exp(-2)), (9.0, 16.0)])
def test_iw_weighs_a_sequence_by_its_mean_log_ratio_to_the_reference_up_to_its_cap(gap, factor):
    given = {"old": OLD, "advantage": ADVANTAGE, "ref": LOGP - gap + f64(1, -1, 2, -2), "segments": one_segment(4)}
    assert slope(iw, LOGP, **given).tolist() == pytest.approx((factor * ADVANTAGE).tolist())
    if gap == 0.5:
        twice = slope(iw, LOGP, temperature=2.0, **given)
        assert twice.tolist() == pytest.approx((math.e * ADVANTAGE).tolist())


def logits(kappa):
    z = torch.randn(5, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    target = torch.tensor([0, 3, 10, 5, 3])
    rows = torch.arange(5)
    return z, target, z.log_softmax(1)[rows, target], (z / kappa).log_softmax(1)[rows, target]


def by_logits(loss, z):
    (slope,) = torch.autograd.grad(loss.sum(), z)
    return slope


def test_gem_has_the_gradient_of_its_closed_form_by_the_logits():
    z, target, logp, logq = logits(0.7)
    a = f64(1, 1, 0.5, 2, -1)
    found = by_logits(gem(logp=logp, old=logp.detach(), advantage=a, logq=logq, kappa=0.7), z)
    truth = a[:, None] * ((z / 0.7).softmax(1) - torch.nn.functional.one_hot(target, 11))
    assert torch.allclose(found, truth.detach(), atol=1e-12) and found.sum(1).abs().max() < 1e-12


def test_otr_has_the_gradient_of_its_exact_expectation_by_the_logits():
    z, target, logp, logq = logits(1.3)
    found = by_logits(otr(logp=logp, old=logp.detach(), advantage=torch.ones(5), logq=logq), z)
    q, p, hot = (z / 1.3).softmax(1), z.softmax(1), torch.nn.functional.one_hot(target, 11)
    c = 1.1 * q.gather(1, target[:, None]) - 0.1
    truth = c * (p - hot) + 0.1 * (q - hot)
    assert torch.allclose(found, truth.detach(), atol=1e-12) and found.sum(1).abs().max() < 1e-12


def test_otr_is_the_expected_policy_gradient_of_one_token_drawn_at_kappa():
    # L = -sum over a of q(a) r(a) log p(a), r = 1 at the target and beta elsewhere, q detached
    z, target, logp, logq = logits(1.3)
    found = by_logits(otr(logp=logp, old=logp.detach(), advantage=torch.ones(5), logq=logq), z)
    reward = torch.full((5, 11), -0.1, dtype=torch.float64).scatter(1, target[:, None], 1.0)
    z2 = z.detach().requires_grad_()
    truth = by_logits(-((z.detach() / 1.3).softmax(1) * reward * z2.log_softmax(1)), z2)
    assert torch.allclose(found, truth, atol=1e-12)


def test_gem_at_kappa_1_is_sft_and_otr_at_kappa_1_is_dft_but_for_a_factor():
    z, _, logp, logq = logits(1.0)
    given = {"logp": logp, "old": logp.detach(), "advantage": torch.ones(5)}
    sft, dft = (torch.autograd.grad(fn(**given).sum(), z, retain_graph=True)[0] for fn in (one, prob))
    gem_1 = torch.autograd.grad(gem(**given, logq=logq, kappa=1.0).sum(), z, retain_graph=True)[0]
    otr_1 = torch.autograd.grad(otr(**given, logq=logq, kappa=1.0, beta=-0.1).sum(), z)[0]
    assert torch.allclose(gem_1, sft, atol=1e-12) and torch.allclose(otr_1, 1.1 * dft, atol=1e-12)


def pair_of(chosen, rejected):
    size = chosen + rejected
    sign = f64(*([1.0] * chosen + [-1.0] * rejected))
    return sign, one_segment(size)


def test_dpo_pays_beta_sigma_of_minus_the_margin_on_every_token_of_a_pair():
    sign, pairs = pair_of(3, 1)
    given = {"old": LOGP, "advantage": sign, "ref": LOGP - f64(0.3, 0.1, -0.2, 0.5), "pairs": pairs, "beta": 0.4}
    margin = 0.4 * (0.3 + 0.1 - 0.2 - 0.5)
    w = 0.4 / (1 + math.exp(margin))
    assert dpo(logp=LOGP, **given).sum().item() == pytest.approx(math.log1p(math.exp(-margin)))
    assert slope(dpo, LOGP, **given).tolist() == pytest.approx((w * sign).tolist())
    assert differences(dpo, LOGP, **given).tolist() == pytest.approx((w * sign).tolist(), abs=1e-9)


def test_dpo_begins_at_half_of_beta():
    sign, pairs = pair_of(2, 2)
    given = {"old": LOGP, "advantage": sign, "ref": LOGP, "pairs": pairs}
    assert slope(dpo, LOGP, **given).tolist() == pytest.approx([0.05, 0.05, -0.05, -0.05])


def test_ipo_pays_twice_what_the_lead_lacks_of_its_length():
    sign, pairs = pair_of(3, 1)
    given = {"old": LOGP, "advantage": sign, "ref": LOGP - f64(0.3, 0.1, -0.2, 0.5), "pairs": pairs, "beta": 0.4}
    lacking = 1 / 0.8 - (0.3 + 0.1 - 0.2 - 0.5)
    assert ipo(logp=LOGP, **given).sum().item() == pytest.approx(lacking**2)
    assert slope(ipo, LOGP, **given).tolist() == pytest.approx((2 * lacking * sign).tolist())
    assert differences(ipo, LOGP, **given).tolist() == pytest.approx((2 * lacking * sign).tolist(), abs=1e-6)


def test_simpo_pays_each_completion_by_its_length():
    sign, pairs = pair_of(3, 1)
    segments = Segments(torch.tensor([0, 0, 0, 1]), torch.ones(4, dtype=torch.bool))
    given = {"old": LOGP, "advantage": sign, "segments": segments, "pairs": pairs, "beta": 2.0, "gamma": 0.5}
    margin = 2.0 * (-3.1 / 3 + 3.0) - 0.5
    w = 2.0 / (1 + math.exp(margin)) * sign / f64(3, 3, 3, 1)
    assert simpo(logp=LOGP, **given).sum().item() == pytest.approx(math.log1p(math.exp(-margin)))
    assert slope(simpo, LOGP, **given).tolist() == pytest.approx(w.tolist())
    assert differences(simpo, LOGP, **given).tolist() == pytest.approx(w.tolist(), abs=1e-8)


def test_pairs_do_not_read_each_other():
    ids = torch.tensor([1, 1, 2, 2])
    pairs = Segments(ids, torch.ones(4, dtype=torch.bool))
    given = {"old": LOGP, "advantage": f64(1, -1, 1, -1), "ref": LOGP - 1, "pairs": pairs}
    first, second = (slope(dpo, LOGP + shift, **given)[:2].tolist() for shift in (torch.zeros(4), f64(0, 0, 3.0, -2.0)))
    assert first == second


@pytest.mark.parametrize("name", [
    "ppo", "unclipped", "cispo", "sapo", "nft", "gspo", "entropy_advantage", "dppo_tv", "dppo_kl", "gmpo", "vespo",
    "dro",
])  # fmt: skip
@pytest.mark.parametrize("a", [-0.5, 0.5])
def test_at_ratio_1_every_policy_gradient_is_reinforce(name, a):
    extra = {"segments": one_segment(4), "entropy": torch.zeros(4), "engine": LOGP}
    fn = partial(WEIGHTS[name].fn, **{key: extra[key] for key in WEIGHTS[name].takes})
    assert slope(fn, LOGP, old=LOGP, advantage=f64(a, a, a, a)).tolist() == pytest.approx([a] * 4)


def test_entropy_advantage_with_alpha_0_is_ppo():
    given = {"old": OLD, "advantage": ADVANTAGE}
    fn = partial(weights.entropy_advantage, entropy=ENTROPY, alpha=0.0)
    assert torch.equal(slope(fn, LOGP, **given), slope(ppo, LOGP, **given))


@pytest.mark.parametrize("name", sorted(WEIGHTS))
@pytest.mark.parametrize("gap", [-50.0, 50.0, 1e4])
@pytest.mark.parametrize("a", [-1.0, 0.0, 1.0])
def test_log_ratios_of_50_stay_finite(name, gap, a):
    logp = torch.tensor([-60.0, -0.5])
    given = {"old": logp - gap, "advantage": torch.tensor([a, a])}
    extra = {"ref": logp - gap, "entropy": torch.tensor([5.0, 0.0]), "logq": logp, "segments": one_segment(2)}
    extra |= {"pairs": extra["segments"], "engine": logp - gap}
    given |= {key: extra[key] for key in WEIGHTS[name].takes}
    assert WEIGHTS[name].fn(logp=logp, **given).isfinite().all()
    assert name == "gem" or slope(WEIGHTS[name].fn, logp, **given).isfinite().all()


def test_the_ratio_is_bounded():
    logp = torch.tensor([-60.0])
    for gap in (-50.0, 50.0, 1e4):
        assert ratio(logp, logp - gap).item() == pytest.approx(math.exp(max(-20, min(20, gap))), rel=1e-5)


@settings(derandomize=True)
@given(st.floats(-8, -1e-3), st.floats(-1.5, 1.5), st.floats(-3, 3))
def test_every_token_local_weight_is_its_finite_difference_anywhere(logp, gap, a):
    given = {"old": f64(logp - gap), "advantage": f64(a)}
    for name in ("unclipped", "sapo", "off_shape", "prob", "phi"):
        fn = WEIGHTS[name].fn
        found, truth = slope(fn, f64(logp), **given).item(), differences(fn, f64(logp), **given).item()
        assert found == pytest.approx(truth, abs=1e-6, rel=1e-6), name
