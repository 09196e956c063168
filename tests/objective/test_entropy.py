import math

import pytest
import torch

from r1lab.errors import RecipeError
from r1lab.objective.entropy import bonus, coefficient


def test_the_bonus_lowers_the_loss_by_coef_times_entropy():
    entropy = torch.tensor([0.0, 2.0], requires_grad=True)
    loss = bonus(entropy=entropy, coef=0.25)
    assert loss.tolist() == [0.0, -0.5]
    loss.sum().backward()
    assert entropy.grad.tolist() == [-0.25, -0.25]


def test_the_coefficient_of_nothing_is_zero():
    assert [coefficient(settings) for settings in (None, {}, {"coef": 0}, {"coef": 0.001})] == [0, 0, 0, 0.001]


@pytest.mark.parametrize("settings", [{"coef": True}, {"coef": "x"}, {"coef": math.nan}, {"coef": math.inf}, {"c": 1}])
def test_what_is_no_finite_number_is_refused(settings):
    with pytest.raises(RecipeError, match=r"^objective\.entropy: .* must be \{coef: finite number\}$"):
        coefficient(settings)
