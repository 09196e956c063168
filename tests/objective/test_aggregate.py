from functools import partial

import numpy as np
import pytest

from r1lab.objective.aggregate import AGGREGATES, const, prompt_mean, scales, seq_token_mean, seq_token_sum, token_mean
from r1lab.objective.mask import TokenMask, token_mask
from r1lab.objective.mix import none
from r1lab.objective.term import Term
from r1lab.records import Role, Sample

COUNTS = np.array([4, 1, 0, 5])  # 10 tokens in 3 sequences that count


@pytest.fixture
def four(make_rollout):
    """Samples of 4, 1, 2 and 5 tokens, the third cut at the limit."""
    made = []
    for index, (size, finish) in enumerate([(4, "eos"), (1, "eos"), (2, "length"), (5, "stop")]):
        rollout = make_rollout((3,), range(10, 10 + size), index=index, finish=finish)
        made.append(Sample(rollout, rollout.role, np.ones(size, np.float32), np.zeros(size, np.float32)))
    return made


def as_term(aggregate):
    return aggregate if isinstance(aggregate, Term) else Term(aggregate)


def scaled(samples, aggregate, truncated="mask", mix=none, step=0):
    masks = [token_mask(sample, truncated=truncated) for sample in samples]
    return [s.scale.tolist() for s in scales(samples, masks, aggregate=as_term(aggregate), mix=mix, step=step)]


def test_denominators_by_hand():
    assert token_mean(COUNTS).tolist() == [10, 10, 10, 10]
    assert seq_token_mean(COUNTS).tolist() == [12, 3, 0, 15]
    assert seq_token_sum(COUNTS).tolist() == [3, 3, 3, 3]
    assert const(COUNTS, length=7).tolist() == [21, 21, 21, 21]
    assert prompt_mean(COUNTS, prompts=np.array([8, 8, 3, 3])).tolist() == [10, 10, 10, 10]
    assert prompt_mean(COUNTS, prompts=np.array([8, 3, 5, 8])).tolist() == [18, 2, 0, 18]


def test_scales_by_hand_where_a_truncated_completion_is_out_of_z(four):
    def each(*values):
        return [pytest.approx([v] * n) for v, n in zip(values, (4, 1, 2, 5))]

    assert scaled(four, token_mean) == each(1 / 10, 1 / 10, 0, 1 / 10)
    assert scaled(four, seq_token_mean) == each(1 / 12, 1 / 3, 0, 1 / 15)
    assert scaled(four, seq_token_sum) == each(1 / 3, 1 / 3, 0, 1 / 3)
    assert scaled(four, partial(const, length=7)) == each(1 / 21, 1 / 21, 0, 1 / 21)


def test_scored_as_it_is_a_truncated_completion_stays_in_z(four):
    assert scaled(four, token_mean, truncated="score")[2] == pytest.approx([1 / 12] * 2)
    assert scaled(four, seq_token_sum, truncated="zero")[2] == pytest.approx([1 / 4] * 2)


def test_means_sum_to_one_over_the_update(four):
    for name in ("token_mean", "seq_token_mean", "prompt_mean"):
        assert sum(map(sum, scaled(four, AGGREGATES[name]))) == pytest.approx(1.0)


def test_mask_and_mixing_weight_multiply_on_the_token_and_leave_z_alone(four):
    masks = [token_mask(sample) for sample in four]
    masks[0] = TokenMask(counted=masks[0].counted, trained=np.array([True, False, True, False]))
    half = scales(four, masks, aggregate=Term(token_mean), mix=lambda role, step: 0.5 * step, step=1)
    assert half[0].scale.tolist() == pytest.approx([0.5 / 12, 0, 0.5 / 12, 0])
    assert half[3].scale.tolist() == pytest.approx([0.5 / 12] * 5)


def test_without_a_mix_all_roles_share_one_z(four, make_rollout):
    demo = make_rollout((3,), (10, 11, 12), role=Role.DEMO)
    sample = Sample(demo, demo.role, np.ones(3, np.float32), np.zeros(3, np.float32))
    found = scaled([*four, sample], token_mean)
    assert found == [pytest.approx([z] * n) for z, n in zip((1 / 13, 1 / 13, 0, 1 / 13, 1 / 13), (4, 1, 2, 5, 3))]


def test_an_update_of_nothing_that_counts_has_scale_zero_and_an_empty_one_is_empty(four):
    for term in AGGREGATES.values():
        assert scaled(four[2:3], term) == [[0.0, 0.0]]
        assert scaled([], term) == []


def demo_and_pair(make_rollout):
    """A demonstration of 5 tokens and a pair of 2 and 3."""
    made = []
    for index, (size, role, unit) in enumerate([(5, Role.DEMO, 0), (2, Role.PAIR, 7), (3, Role.PAIR, 7)]):
        rollout = make_rollout((3,), range(10, 10 + size), index=index, role=role)
        made.append(Sample(rollout, rollout.role, np.ones(size, np.float32), np.zeros(size, np.float32), unit=unit))
    return made


def test_with_a_mix_each_role_has_a_denominator_and_a_weight_of_its_own(four, make_rollout):
    samples = [*four, *demo_and_pair(make_rollout)]
    masks = [token_mask(sample) for sample in samples]
    weights = {Role.POLICY: 0.25, Role.DEMO: 0.5, Role.PAIR: 2.0}
    found = scales(
        samples, masks, aggregate=Term(token_mean), mix=lambda role, _: weights.get(role, 0.0), step=1, is_joint=False
    )
    assert [sample.scale[0] for sample in found] == pytest.approx([0.25 / 12] * 4 + [0.5 / 5] + [2 / 5] * 2)


def test_a_pair_counts_as_one_sequence(make_rollout):
    _, *pair = demo_and_pair(make_rollout)
    assert scaled(pair, seq_token_sum) == [[1.0] * 2, [1.0] * 3]
    assert scaled(pair, seq_token_mean) == [pytest.approx([1 / 5] * n) for n in (2, 3)]


def test_a_sample_of_two_roles_has_two_denominators(make_rollout):
    rollout = make_rollout((3,), (4, 5, 6), role=[Role.PREFIX, Role.POLICY, Role.POLICY])
    sample = Sample(rollout, rollout.role, np.ones(3, np.float32), np.zeros(3, np.float32))
    (found,) = scales(
        [sample], [token_mask(sample)], aggregate=Term(token_mean), mix=lambda *_: 1.0, step=1, is_joint=False
    )
    assert found.scale.tolist() == [1.0, 0.5, 0.5]
