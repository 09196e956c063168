import math

import pytest
import torch

from r1lab.objective.correction import none, tis


def test_tis_is_the_ratio_of_trainer_to_engine_up_to_its_cap():
    old = torch.tensor([-1.0, -1.0, -1.0, -1.0])
    engine = torch.tensor([-1.0, -1.5, -3.0, -0.5])  # rho: 1, e^0.5, e^2 > 2, e^-0.5
    assert tis(old=old, engine=engine).tolist() == pytest.approx([1.0, math.exp(0.5), 2.0, math.exp(-0.5)])
    assert tis(old=old, engine=engine, cap=8.0)[2].item() == pytest.approx(math.exp(2))


def test_tis_of_equal_distributions_is_off():
    logp = -torch.rand(50)
    assert torch.equal(tis(old=logp, engine=logp), none(old=logp, engine=logp))


def test_an_engine_log_probability_that_is_not_finite_gives_zero():
    engine = torch.tensor([math.nan, math.inf, -math.inf])
    assert tis(old=torch.full((3,), -1.0), engine=engine).tolist() == [0.0, 0.0, 0.0]


def test_log_ratios_of_50_stay_finite():
    assert tis(old=torch.tensor([0.0, -50.0]), engine=torch.tensor([-50.0, 0.0])).tolist() == pytest.approx([2.0, 0.0])
