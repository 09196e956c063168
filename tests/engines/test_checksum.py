"""Two ends agree where every bit does, and nowhere else."""

import pytest
import torch

from r1lab.engines.checksum import BLOCK_WORDS, Checksum


def digest(weights):
    checksum = Checksum()
    list(checksum.over(weights))
    return checksum.digest()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [1, 7, 2 * BLOCK_WORDS, 5 * BLOCK_WORDS + 3])
def test_one_bit_anywhere_is_seen(dtype, size):
    torch.manual_seed(0)
    tensor = torch.randn(size).to(dtype)
    changed = tensor.clone()
    changed[-1] = torch.nextafter(changed[-1], torch.tensor(9.0, dtype=dtype))
    assert digest([("w", tensor)]) == digest([("w", tensor.clone())]) != digest([("w", changed)])


def test_names_shapes_order_and_places_count():
    one, two = torch.arange(6.0), torch.arange(6.0) + 6
    whole = digest([("a", one), ("b", two)])
    assert whole not in (digest([("b", one), ("a", two)]), digest([("b", two), ("a", one)]), digest([("a", one)]))
    assert digest([("a", one)]) != digest([("a", one.view(2, 3))])
    blocks = torch.arange(4.0 * BLOCK_WORDS).view(2, -1)
    assert digest([("a", blocks)]) != digest([("a", blocks.flip(0))])


def test_a_view_at_any_offset_counts_as_its_values():
    base = torch.arange(3.0 * BLOCK_WORDS)
    assert digest([("w", base[1:])]) == digest([("w", base[1:].clone())])
    assert digest([("w", base.view(3, -1).T)]) == digest([("w", base.view(3, -1).T.contiguous())])
