import pytest

from r1lab.objective.mix import const, cos, none, roles
from r1lab.records import Role


def test_without_a_mix_every_role_weighs_1():
    assert {none(role, step) for role in Role for step in (1, 9)} == {1.0}


def test_const_gives_mu_to_demonstrations_and_the_rest_to_the_rest():
    assert [const(role, 5, mu=0.3) for role in (Role.DEMO, Role.POLICY)] == [0.3, 0.7]


def test_cos_falls_from_its_peak_at_the_first_step_to_its_valley():
    settings = {"warmup": 0, "decay": 4, "peak": 0.9, "valley": 0.1}
    mu = [cos(Role.DEMO, step, **settings) for step in range(1, 8)]
    assert mu == pytest.approx([0.9, 0.5 + 0.4 * 0.5**0.5, 0.5, 0.5 - 0.4 * 0.5**0.5, 0.1, 0.1, 0.1])
    assert cos(Role.POLICY, 1, **settings) == pytest.approx(0.1)
    assert cos(Role.DEMO, 1, **{**settings, "warmup": 2}) == pytest.approx(0.45)


def test_roles_have_their_own_constants_and_context_none():
    assert [roles(role, 1, prefix=0.001, demo=0.5) for role in Role] == [1.0, 0.5, 0.001, 1.0, 0.0]
