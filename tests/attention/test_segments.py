"""Attention by segments is a masked softmax over the whole row, in values and gradients."""

import pytest
import torch

from r1lab.attention import segments
from r1lab.attention.parts import row_length, row_positions
from r1lab.records import Segment

ROW = (Segment(7, (4, 0, 9)), Segment(3, ()), Segment(1, (2,)), Segment(5, (0,)))


def inputs(row, heads=4, shared=2, size=8):
    torch.manual_seed(0)
    shapes = [(1, row_length(row), count, size) for count in (heads, shared, shared)]
    return [torch.randn(shape).transpose(1, 2).requires_grad_() for shape in shapes]


def truth(query, key, value, row, window):
    """By a mask of the whole row, in float64."""
    owner = [(place, name) for place, (prompt, sizes) in enumerate(row)
             for name, size in enumerate((prompt, *sizes)) for _ in range(size)]  # fmt: skip
    at = row_positions(row).tolist()
    seen = torch.tensor([
        [j <= i and at[i] - at[j] < window and a == b and other in (0, name) for j, (b, other) in enumerate(owner)]
        for i, (a, name) in enumerate(owner)
    ])  # fmt: skip
    key, value = (each.double().repeat_interleave(query.shape[1] // key.shape[1], dim=1) for each in (key, value))
    scores = (query.double() @ key.transpose(-1, -2) * 0.3).masked_fill(~seen, -torch.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("window", [None, 1, 2, 6, 8, 16])
def test_values_and_gradients_are_those_of_a_mask_of_the_whole_row(window):
    given = inputs(ROW)
    found = segments.attend(*given, ROW, window=window, scale=0.3)
    true = truth(*given, ROW, window or 10**6)
    assert torch.allclose(found.double(), true, atol=1e-6)
    slope = torch.randn_like(found)
    pairs = zip(torch.autograd.grad(found, given, slope), torch.autograd.grad(true, given, slope.double()))
    assert all(torch.allclose(one, other, atol=2e-6) for one, other in pairs)


def test_long_rows_whose_first_keys_are_out_of_sight():
    row = (Segment(580, (10, 30)),)
    given = inputs(row, heads=2, shared=1)
    for window in (None, 40):
        found = segments.attend(*given, row, window=window, scale=0.3)
        assert torch.allclose(found.double(), truth(*given, row, window or 10**6), atol=2e-6)


def test_what_a_segment_holds_changes_no_bit_of_the_others():
    given = inputs(ROW)
    before = segments.attend(*given, ROW, window=None, scale=0.3)
    changed = [each.detach().clone() for each in given]
    for each in changed:
        each[:, :, 7:11] += 1.0  # the first completion of the first prompt
    after = segments.attend(*changed, ROW, window=None, scale=0.3)
    others = [*range(7), *range(11, row_length(ROW))]
    assert torch.equal(before[0, others], after[0, others]) and not torch.equal(before[0, 7:11], after[0, 7:11])


def test_bfloat16_goes_through():
    given = [each.to(torch.bfloat16) for each in inputs(ROW)]
    found = segments.attend(*given, ROW, window=None, scale=0.3)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.double(), truth(*given, ROW, 10**6), atol=0.03)
