import math

import numpy as np
import pytest

from r1lab.objective.mask import token_mask
from r1lab.records import Role, Sample


def sample(rollout, role=None):
    return Sample(rollout, rollout.role if role is None else role, np.ones(len(rollout.role)), np.zeros(0))


def test_a_plain_completion_is_all_counted_and_trained(make_rollout):
    mask = token_mask(sample(make_rollout((3,), (4, 5))))
    assert mask.counted.tolist() == mask.trained.tolist() == [True, True]


def test_context_tokens_are_out_of_both(make_rollout):
    rollout = make_rollout((3,), (4, 5, 6), role=[Role.CONTEXT, Role.POLICY, Role.PREFIX])
    assert token_mask(sample(rollout)).counted.tolist() == [False, True, True]


def test_a_role_that_the_group_rule_set_wins(make_rollout):
    rollout = make_rollout((3,), (4, 5))
    assert token_mask(sample(rollout, np.array([Role.POLICY, Role.CONTEXT], np.int8))).counted.tolist() == [True, False]


def test_engine_log_probabilities_that_are_not_finite_are_out_of_both_on_policy_tokens_alone(make_rollout):
    engine = [math.nan, math.inf, -math.inf, -0.5]
    mask = token_mask(sample(make_rollout((3,), (4, 5, 6, 7), engine=engine)))
    assert mask.counted.tolist() == mask.trained.tolist() == [False, False, False, True]
    assert token_mask(sample(make_rollout((3,), (4, 5), role=Role.DEMO))).counted.all()


@pytest.mark.parametrize("truncated, counted", [("score", 2), ("zero", 2), ("mask", 0)])
def test_a_completion_cut_at_the_limit_is_out_of_both_under_mask(make_rollout, truncated, counted):
    cut, whole = (make_rollout((3,), (4, 5), finish=finish) for finish in ("length", "eos"))
    assert token_mask(sample(cut), truncated=truncated).counted.sum() == counted
    assert token_mask(sample(whole), truncated=truncated).counted.sum() == 2


def test_the_samples_own_roles_are_not_written_to(make_rollout):
    rollout = make_rollout((3,), (4, 5), engine=[math.inf, -1.0])
    token_mask(sample(rollout), truncated="mask")
    assert rollout.role.tolist() == [Role.POLICY, Role.POLICY]
