import math

import pytest
import torch

from r1lab.objective.correction import icepop, none, tis, within
from r1lab.objective.segments import Segments

OLD = torch.tensor([-1.0, -1.0, -1.0, -1.0])
ENGINE = torch.tensor([-1.0, -1.5, -3.0, -0.5])  # rho: 1, e^0.5, e^2, e^-0.5


def token(fn, old, engine, **settings):
    return fn(old=old, engine=engine, segments=None, **settings)


def sequence(fn, old, engine, ids, **settings):
    return fn(old=old, engine=engine, segments=Segments(torch.tensor(ids), engine.isfinite()), **settings)


def test_tis_is_the_ratio_of_trainer_to_engine_up_to_its_cap():
    assert token(tis, OLD, ENGINE).tolist() == pytest.approx([1.0, math.exp(0.5), 2.0, math.exp(-0.5)])
    assert token(tis, OLD, ENGINE, cap=8.0)[2].item() == pytest.approx(math.exp(2))


def test_icepop_leaves_ratios_outside_its_interval_out():
    assert token(icepop, OLD, ENGINE).tolist() == pytest.approx([1.0, math.exp(0.5), 0.0, math.exp(-0.5)])
    assert token(icepop, OLD, ENGINE, low=0.9, high=8.0).tolist() == pytest.approx(
        [1.0, math.exp(0.5), math.exp(2), 0.0]
    )


def test_within_is_a_mask_alone():
    assert token(within, OLD, ENGINE).tolist() == [1.0, 1.0, 0.0, 1.0]
    assert sequence(within, OLD, ENGINE, [7, 7, 3, 3], low=0.9, high=1.5, level="seq_mean").tolist() == [1, 1, 0, 0]
    assert token(within, OLD, torch.tensor([math.nan, math.inf, -math.inf, -1.0])).tolist() == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("fn", [tis, icepop, within])
def test_of_equal_distributions_it_is_off(fn):
    logp = -torch.rand(50)
    off = none(old=logp, engine=logp)
    assert torch.equal(token(fn, logp, logp), off)
    for level in ("seq_mean", "seq_sum"):
        assert torch.equal(sequence(fn, logp, logp, [0] * 25 + [1] * 25, level=level), off)


def test_over_a_sequence_it_is_one_factor_of_the_mean_or_the_sum():
    # gaps 0, 0.5 | 2, -0.5: means 0.25 and 0.75, sums 0.5 and 1.5
    ids = [7, 7, 3, 3]
    mean, total = (sequence(tis, OLD, ENGINE, ids, cap=9.0, level=level) for level in ("seq_mean", "seq_sum"))
    assert mean.tolist() == pytest.approx([math.exp(0.25)] * 2 + [math.exp(0.75)] * 2)
    assert total.tolist() == pytest.approx([math.exp(0.5)] * 2 + [math.exp(1.5)] * 2)
    assert sequence(icepop, OLD, ENGINE, ids, high=4.0, level="seq_sum").tolist() == pytest.approx(
        [math.exp(0.5)] * 2 + [0.0] * 2
    )


@pytest.mark.parametrize("fn", [tis, icepop])
def test_an_engine_log_probability_that_is_not_finite_gives_zero_and_is_in_no_mean(fn):
    engine = torch.tensor([math.nan, math.inf, -math.inf, -1.25])
    assert token(fn, OLD, engine).tolist() == [0.0, 0.0, 0.0, pytest.approx(math.exp(0.25))]
    assert sequence(fn, OLD, engine, [0] * 4, level="seq_mean")[3].item() == pytest.approx(math.exp(0.25))


def test_log_ratios_of_50_stay_finite():
    old, engine = torch.tensor([0.0, -50.0]), torch.tensor([-50.0, 0.0])
    assert token(tis, old, engine).tolist() == pytest.approx([2.0, 0.0])
    assert token(icepop, old, engine).tolist() == [0.0, 0.0]
    assert sequence(tis, old, engine, [0, 0], level="seq_sum").tolist() == [1.0, 1.0]
