"""FlexAttention and attention by segments compute the same values; on a CPU it is uncompiled and has no gradients."""

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

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


ROWS = [
    ROW,
    (Segment(100, (130, 7)), Segment(60, (1, 300))),
    (Segment(256, (256, 128)), Segment(128, ())),
    (Segment(1, (1,)),),
    (Segment(0, (140,)), Segment(129, (0, 127))),
    (Segment(500, (90,) * 5),),
]


@pytest.mark.parametrize("window", [None, 1, 5, 90, 4096])
@pytest.mark.parametrize("row", ROWS)
def test_blocks_are_those_of_a_mask_of_the_whole_row(row, window):
    made = flex.block_mask(row, window, torch.device("cpu"))
    size = row_length(row)
    truth = create_block_mask(made.mask_mod, None, None, size, size, device="cpu")
    assert made.shape == truth.shape and made.BLOCK_SIZE == truth.BLOCK_SIZE
    names = ("kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices", "q_num_blocks", "q_indices",
             "full_q_num_blocks", "full_q_indices")  # fmt: skip
    for name in names:
        one, other = getattr(made, name), getattr(truth, name)
        assert one.dtype == other.dtype and torch.equal(one, other), name


def test_a_row_of_sixty_thousand_tokens_has_its_blocks_without_a_mask_of_the_row():
    made = flex.block_mask((Segment(512, (7500,) * 8),), None, torch.device("cpu"))
    blocks = (made.kv_num_blocks + made.full_kv_num_blocks).sum()
    # 8 completions of 59 blocks see half of their own and the prompt's 4
    assert blocks == pytest.approx(8 * (59 * 60 / 2 + 59 * 4), rel=0.1)


def test_the_compiled_kernel_fails_loudly_past_its_graphs(monkeypatch):
    seen = []

    def compiled(*_, **options):
        return lambda: seen.append((flex.dynamo.recompile_limit, flex.dynamo.fail_on_recompile_limit_hit, options))

    monkeypatch.setattr(torch, "compile", compiled)
    before = flex.dynamo.recompile_limit
    flex._kernel.__wrapped__("cuda")()
    assert seen == [(32, True, {"dynamic": True})] and flex.dynamo.recompile_limit == before


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 90])
@pytest.mark.parametrize("dtype, most", [(torch.float32, 1e-3), (torch.bfloat16, 3e-2)])
def test_values_and_gradients_on_a_gpu_are_those_of_segments_on_a_cpu(window, dtype, most):
    # Rows of 128 tokens and more, and heads of no power of two a key: shorter ones take the kernel of decoding.
    torch.manual_seed(0)
    row = (Segment(100, (130, 7)), Segment(60, (1, 300)))
    given = [torch.randn(1, heads, row_length(row), 64, requires_grad=True) for heads in (12, 2, 2)]
    there = [each.detach().to("cuda", dtype).requires_grad_() for each in given]
    found, truth = (
        path.attend(*each, row, window=window, scale=0.125) for path, each in ((flex, there), (segments, given))
    )
    slope = torch.randn_like(truth)
    gradients = torch.autograd.grad(found, there, slope.to("cuda", dtype))
    exact = torch.autograd.grad(truth, given, slope)
    for one, other in zip((found, *gradients), (truth, *exact)):
        assert (one.cpu().float() - other).norm() <= most * other.norm()
