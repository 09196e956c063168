from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from r1lab.attention.parts import row_length
from r1lab.policy.packing import balanced_bins, pack, sample_tokens
from r1lab.records import Role, Sample, Segment

CPU = torch.device("cpu")


@pytest.fixture
def three(make_rollout):
    """Samples of 2 + 3, 1 + 1 and 4 + 2 tokens."""
    made = []
    for index, (prompt, completion) in enumerate([((5, 6), (7, 8, 9)), ((5,), (7,)), ((5, 6, 7, 8), (9, 10))]):
        rollout = make_rollout(prompt, completion, index=index, engine=-0.5 - index)
        size = len(completion)
        made.append(Sample(rollout, rollout.role, np.full(size, index + 1.0), np.full(size, 0.25)))
    return made


def test_rows_by_hand(three):
    (batch,) = pack(three, micro_batch_tokens=100, device=CPU)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9, 10], [5, 6, 7, 8, 9, 0], [5, 7, 0, 0, 0, 0]]  # longest first
    # row 0: prompt of 4, so positions 3 and 4 predict; row 1 from 6: 7, 8, 9; row 2 from 12: 12
    assert batch.hidden_index.tolist() == [3, 4, 7, 8, 9, 12]
    assert batch.target.tolist() == [9, 10, 7, 8, 9, 7]
    assert batch.sequence.tolist() == [2, 2, 0, 0, 0, 1]
    assert batch.advantage.tolist() == [3, 3, 1, 1, 1, 2] and batch.engine.tolist() == [-2.5] * 2 + [-0.5] * 3 + [-1.5]
    assert batch.scale.tolist() == [0.25] * 6 and batch.role.tolist() == [Role.POLICY] * 6
    assert batch.old is None and batch.ref is None
    assert (batch.target.dtype, batch.advantage.dtype) == (torch.int64, torch.float32)


@pytest.mark.parametrize("shared", [False, True])
def test_what_an_environment_said_is_read_and_has_no_row(make_rollout, shared):
    role = np.array([0, Role.CONTEXT, Role.CONTEXT, 0], np.int8)
    rollout, numbers = make_rollout((5, 6), (7, 20, 21, 8), role=role), np.arange(4.0)
    (batch,) = pack([Sample(rollout, role, numbers, numbers)], micro_batch_tokens=100, device=CPU, shared=shared)
    assert batch.input_ids.flatten().tolist() == [5, 6, 7, 20, 21, 8][: 5 if shared else 6]
    assert batch.target.tolist() == [7, 8] and batch.hidden_index.tolist() == [1, 4]
    assert batch.advantage.tolist() == [0, 3] and batch.sequence.tolist() == [0, 0]


def test_the_position_before_a_target_is_the_one_that_predicts_it(make_samples):
    for batch in pack(make_samples(20), micro_batch_tokens=40, device=CPU):
        assert torch.equal(batch.input_ids.flatten()[batch.hidden_index + 1], batch.target)


@pytest.mark.parametrize("tokens", [1, 10, 25, 64, 10_000])
def test_every_sample_stands_in_one_micro_batch_of_at_most_that_many_padded_tokens(make_samples, tokens):
    samples = make_samples(30)
    batches = pack(samples, micro_batch_tokens=tokens, device=CPU)
    assert all(batch.input_ids.numel() <= tokens or len(batch.input_ids) == 1 for batch in batches)
    owners = [owner for batch in batches for owner in batch.sequence.unique().tolist()]
    assert sorted(owners) == list(range(30))
    assert sum(len(batch.target) for batch in batches) == sum(len(s.rollout.completion_ids) for s in samples)


@pytest.fixture
def siblings(make_rollout):
    """Four completions of one prompt of 40 tokens, two of them equal, and one of another prompt."""
    prompt = tuple(range(10, 50))
    pairs = [(prompt, (7, 8, 9)), (prompt, (7,)), ((5, 6), (3, 4)), (prompt, (8, 8)), (prompt, (7, 8, 9))]
    made = [make_rollout(*pair, index=index) for index, pair in enumerate(pairs)]
    return [Sample(r, r.role, np.ones(len(r.completion_ids)), np.ones(len(r.completion_ids))) for r in made]


def packed(samples, tokens=100):
    return pack(samples, micro_batch_tokens=tokens, device=CPU, shared=True)


def test_completions_of_one_prompt_stand_behind_it_once_and_equal_ones_once(siblings):
    (batch,) = packed(siblings)
    # Of 7 8 9, of 7 and of 8 8 the last token is not forwarded; nor is that of 3 4.
    assert batch.input_ids[0, 40:].tolist() == [7, 8, 8, 5, 6, 3] and batch.input_ids.shape == (1, 46)
    assert batch.segments == (Segment(40, (2, 0, 1)), Segment(2, (1,)))
    assert batch.position_ids[0, 39:].tolist() == [39, 40, 41, 40, 0, 1, 2]
    # The prompt's last token predicts each first one.
    assert batch.hidden_index.tolist() == [39, 40, 41] * 2 + [39, 39, 42, 44, 45]
    assert batch.target.tolist() == [7, 8, 9] * 2 + [7, 8, 8, 3, 4]
    assert batch.sequence.tolist() == [0, 0, 0, 4, 4, 4, 1, 3, 3, 2, 2]


def test_a_prompt_with_more_completions_than_fit_is_forwarded_again(siblings):
    batches = packed(siblings, tokens=44)
    assert [batch.input_ids.shape[1] <= 44 for batch in batches] == [True] * len(batches)
    assert sorted(o for batch in batches for o in batch.sequence.unique().tolist()) == [0, 1, 2, 3, 4]
    assert sum(segment.prompt == 40 for batch in batches for segment in batch.segments) == 2


@pytest.mark.parametrize("tokens", [1, 25, 64, 10_000])
def test_every_sample_stands_in_one_packed_row_of_at_most_that_many_tokens(make_samples, tokens):
    samples = make_samples(30)
    batches = packed(samples, tokens)
    assert all(batch.input_ids.numel() <= tokens or len(batch.sequence.unique()) == 1 for batch in batches)
    assert sorted(owner for batch in batches for owner in batch.sequence.unique().tolist()) == list(range(30))
    sizes = [batch.input_ids.numel() for batch in batches]
    assert all(batch.input_ids.numel() == row_length(batch.segments) for batch in batches)
    assert tokens != 64 or max(sizes) - min(sizes) <= 12  # no sample is longer than 17


def test_old_and_reference_log_probabilities_go_along(three):
    given = [replace(s, old=-s.advantage, ref=-2 * s.advantage) for s in three]
    (batch,) = pack(given, micro_batch_tokens=100, device=CPU)
    assert batch.old.tolist() == [-3, -3, -1, -1, -1, -2] and batch.ref.tolist() == [-6, -6, -2, -2, -2, -4]


def test_nothing_makes_no_micro_batch(three):
    assert packed([]) == pack([], micro_batch_tokens=10, device=CPU) == []
    assert [sample_tokens(sample) for sample in three] == [5, 2, 6]


def test_bins_by_hand():
    # First fit needs two: 5 + 4 + 1 and 3 + 3; evenly they are 4 + 3 + 1 and 5 + 3.
    assert balanced_bins([3, 5, 1, 4, 3], 10) == [[0, 2, 3], [1, 4]]
    assert balanced_bins([], 10) == []


def test_where_even_shares_do_not_fit_first_fit_stays():
    # 6 + 4 and 5 + 3 + 2: evenly 6 + 3, then 5 + 4 + 2 = 11, is too much.
    assert balanced_bins([6, 5, 4, 3, 2], 10) == [[0, 2], [1, 3, 4]]


@pytest.mark.parametrize("most", [1, 7, 50])
@given(sizes=st.lists(st.integers(0, 30), max_size=40))
def test_everything_once_within_the_limit_or_alone(sizes, most):
    bins = balanced_bins(sizes, most)
    assert sorted(index for one in bins for index in one) == list(range(len(sizes)))
    for one in bins:
        heavy = [index for index in one if sizes[index]]
        assert one and (sum(sizes[index] for index in one) <= most or len(heavy) == 1)
