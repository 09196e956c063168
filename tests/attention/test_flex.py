"""FlexAttention and attention by segments compute the same values; on a CPU it is uncompiled and has no gradients."""

import pytest
import torch

from r1lab.attention import flex, segments
from r1lab.attention.parts import row_length
from r1lab.records import Segment

ROW = (Segment(7, (4, 0, 9)), Segment(3, ()), Segment(5, (2,)))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [None, 5])
def test_values_are_those_of_segments(window):
    torch.manual_seed(0)
    given = [torch.randn(1, heads, row_length(ROW), 16) for heads in (4, 2, 2)]
    found, truth = (path.attend(*given, ROW, window=window, scale=0.3) for path in (flex, segments))
    assert torch.allclose(found, truth, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 5])
def test_gradients_on_a_gpu_are_those_of_segments_on_a_cpu(window):
    torch.manual_seed(0)
    given = [torch.randn(1, heads, row_length(ROW), 16, requires_grad=True) for heads in (4, 2, 2)]
    found = flex.attend(*(each.cuda() for each in given), ROW, window=window, scale=0.3)
    truth = segments.attend(*given, ROW, window=window, scale=0.3)
    slope = torch.randn_like(truth)
    pairs = zip(torch.autograd.grad(found, given, slope.cuda()), torch.autograd.grad(truth, given, slope))
    assert all(torch.allclose(one.cpu(), other, atol=1e-2) for one, other in pairs)
