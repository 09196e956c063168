import pytest
import torch

from r1lab.objective.segments import Segments

IDS, LIVE = torch.tensor([5, 5, 2, 5, 2]), torch.tensor([True, True, True, False, False])
VALUES = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])


def test_sums_and_means_are_over_the_live_rows_and_given_to_every_row():
    segments = Segments(IDS, LIVE)
    assert segments.total(VALUES).tolist() == [3, 3, 4, 3, 4]
    assert segments.mean(VALUES).tolist() == [1.5, 1.5, 4, 1.5, 4]
    assert segments.count(VALUES).tolist() == [2, 2, 1, 2, 1]


def test_what_stands_on_dead_rows_is_never_read():
    values = VALUES.masked_fill(~LIVE, float("nan")).requires_grad_()
    total = Segments(IDS, LIVE).total(values)
    total[LIVE].sum().backward()
    assert total.tolist() == [3, 3, 4, 3, 4]
    assert values.grad.tolist() == [2, 2, 1, 0, 0]  # each live row stands in the sums of its segment's live rows


def test_a_segment_without_a_live_row_has_mean_zero():
    assert Segments(IDS, torch.zeros(5, dtype=torch.bool)).mean(VALUES).tolist() == [0.0] * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_keeps_the_precision(dtype):
    assert Segments(IDS, LIVE).mean(VALUES.to(dtype)).dtype == dtype
