import math

import numpy as np
import pytest
import torch

from r1lab.objective.mask import (
    Tokens,
    clip_cov,
    kl_cov,
    off_policy,
    token_cleaning,
    token_mask,
    top_entropy,
    update_masks,
)
from r1lab.objective.segments import Segments
from r1lab.objective.term import Term
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


def tokens(**fields):
    """Ten policy tokens of two sequences; fields are lists."""
    given = {
        "role": np.full(10, Role.POLICY, np.int8), "counted": np.ones(10, bool), "sequence": np.repeat([0, 1], 5),
        "advantage": np.array([2.0] * 5 + [-2.0] * 5), "logp": None, "ref": None, "entropy": None,
        "random": np.random.default_rng(0),
    }  # fmt: skip
    return Tokens(**{**given, **{key: np.asarray(value) for key, value in fields.items() if key != "random"}})


RISING = np.arange(10) / 10


def test_top_entropy_learns_from_the_most_uncertain_and_keeps_all_in_z():
    mask = top_entropy(tokens(entropy=RISING), share=0.2)
    assert np.flatnonzero(mask.trained).tolist() == [8, 9] and mask.counted.all()
    each = top_entropy(tokens(entropy=RISING), share=0.2, per="sequence")
    assert np.flatnonzero(each.trained).tolist() == [4, 9]
    assert top_entropy(tokens(entropy=RISING), share=1.0).trained.all()


def test_top_entropy_of_one_role_leaves_the_others_alone_and_of_one_token_one():
    role = [Role.PREFIX] + [Role.POLICY] * 9
    mask = top_entropy(tokens(role=role, entropy=RISING), role="prefix", per="sequence")
    assert mask.trained.all()


def test_token_cleaning_takes_the_least_gained_out_of_z_too():
    demo, ref = [Role.DEMO] * 10, np.full(10, -2.0)
    mask = token_cleaning(tokens(role=demo, logp=ref + RISING, ref=ref), keep=0.6)
    assert np.flatnonzero(mask.counted).tolist() == [4, 5, 6, 7, 8, 9] and (mask.trained == mask.counted).all()


def test_token_cleaning_keeps_all_while_nothing_was_gained_and_touches_demonstrations_alone():
    ref = np.full(10, -2.0)
    assert token_cleaning(tokens(role=[Role.DEMO] * 10, logp=ref + 1e-6, ref=ref)).counted.all()
    assert token_cleaning(tokens(logp=ref + RISING, ref=ref)).counted.all()


def covariant():
    # logp - mean and A - mean: the covariance is 2 (logp - mean) on the first five, -2 (...) on the others
    return tokens(logp=np.array([1, 2, 3, 4, 5, 1, 2, 3, 4, 5.0]))  # covariances -4 -2 0 2 4 4 2 0 -2 -4


def test_clip_cov_masks_a_few_of_those_within_its_interval():
    for share, count in ((2e-4, 1), (0.3, 3), (1.0, 4)):
        mask = clip_cov(covariant(), share=share, low=1.0, high=5.0)
        dropped = set(np.flatnonzero(~mask.trained).tolist())
        assert len(dropped) == count and dropped <= {3, 4, 5, 6} and mask.counted.all()
    assert clip_cov(covariant(), low=9.0, high=10.0).trained.all()  # nothing stands there


def test_kl_cov_penalises_the_largest():
    mask = kl_cov(covariant(), share=0.2, coef=0.5)
    assert np.flatnonzero(mask.penalty).tolist() == [4, 5] and mask.penalty.max() == 0.5 and mask.trained.all()
    assert (kl_cov(covariant(), share=1e-6).penalty > 0).sum() == 1


def test_what_does_not_count_is_in_no_mean_and_no_share():
    counted = np.array([True] * 4 + [False] * 6)
    mask = top_entropy(tokens(entropy=RISING, counted=counted), share=0.25)
    assert np.flatnonzero(mask.trained & counted).tolist() == [3]


def test_off_policy_drops_drifted_sequences_of_negative_advantage():
    logp = torch.tensor([-2.0, -2.0, -2.0, -1.0], requires_grad=True)
    given = {"old": torch.tensor([-1.0, -1.2, -1.0, -1.0]), "advantage": torch.tensor([-1.0, -1.0, 1.0, -1.0])}
    segments = Segments(torch.tensor([0, 0, 1, 2]), torch.ones(4, dtype=torch.bool))
    unknown = torch.full((4,), math.nan)
    found = off_policy(logp=logp, engine=unknown, segments=segments, **given)
    assert found.tolist() == [0.0, 0.0, 1.0, 1.0] and not found.requires_grad
    assert off_policy(logp=logp, engine=unknown, segments=segments, delta=2.0, **given).tolist() == [1.0] * 4


def test_off_policy_measures_from_what_sampled():
    logp = torch.full((4,), -2.0)
    given = {"old": logp, "advantage": -torch.ones(4), "segments": Segments(torch.tensor([0, 0, 1, 1]), logp < 0)}
    engine = torch.tensor([-1.0, -1.0, -2.0, math.nan])
    assert off_policy(logp=logp, engine=engine, **given).tolist() == [0.0, 0.0, 1.0, 1.0]


def test_the_masks_of_an_update_are_cut_back_to_its_samples(make_rollout):
    rollouts = [make_rollout((3,), range(5, 5 + size), index=size) for size in (4, 6)]
    ones = [np.ones(len(r.role), np.float32) for r in rollouts]
    samples = [Sample(r, r.role, one, one, entropy=one * k) for k, (r, one) in enumerate(zip(rollouts, ones))]
    masks = [token_mask(each) for each in samples]
    found = update_masks(samples, masks, [Term(top_entropy, scope="batch")])
    assert [each.trained.sum() for each in found] == [0, 2] and [each.counted.sum() for each in found] == [4, 6]
    assert update_masks(samples, masks, []) == masks and update_masks([], [], [Term(top_entropy, scope="batch")]) == []
