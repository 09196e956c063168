import torch

from r1lab.objective.entropy import Coefficient, bonus


def test_the_bonus_lowers_the_loss_by_coef_times_entropy():
    entropy = torch.tensor([0.0, 2.0], requires_grad=True)
    loss = bonus(entropy=entropy, coef=0.25)
    assert loss.tolist() == [0.0, -0.5]
    loss.sum().backward()
    assert entropy.grad.tolist() == [-0.25, -0.25]


def test_the_coefficient_of_nothing_is_zero():
    given = ({}, {"coef": 0}, {"coef": 0.001}, {"coef": -0.1})
    assert [Coefficient(**settings).value for settings in given] == [0, 0, 0.001, -0.1]


def test_without_a_target_it_stays():
    fixed = Coefficient(**{"coef": 0.01})
    fixed.observe(5.0)
    assert fixed.value == 0.01


def test_with_a_target_it_rises_where_the_entropy_is_low_and_acts_there_alone():
    steered = Coefficient(**{"coef": 0.01, "target": 0.5, "delta": 0.005})
    assert steered.value == 0.0  # nothing was measured yet
    seen = []
    for entropy in (0.4, 0.5, 0.6, None, 0.6, 0.6, 0.6, 0.3):
        steered.observe(entropy)
        seen.append((round(steered.coef, 6), round(steered.value, 6)))
    assert seen == [(0.015, 0.015), (0.02, 0.02), (0.015, 0), (0.015, 0), (0.01, 0), (0.005, 0), (0, 0), (0.005, 0.005)]


def test_a_steered_coefficient_is_resumed_as_it_was():
    first, second = Coefficient(0.0, 0.5), Coefficient(0.0, 0.5)
    first.observe(0.1)
    second.load_state_dict(first.state_dict())
    assert second.value == first.value == 0.005
