"""What is the torch head's own: chunks, blocks, memory, exponentials that stay normal numbers, the probe."""

import time

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from r1lab.kernels import products, token_logps, torch_head
from r1lab.kernels.layer import Layer


class Largest(TorchDispatchMode):
    """The most bytes that any tensor made inside has."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for each in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(each, torch.Tensor):
                self.bytes = max(self.bytes, each.numel() * each.element_size())
        return made


def test_the_full_logits_are_never_held(inputs, spec_of, run):
    given = inputs(600, 49152, 8)  # 118 MB of logits
    with Largest() as made:
        run(given, spec_of(given.c))
        token_logps(given.hidden, given.weight, given.target)
    assert 25 * 2**20 < made.bytes <= 64 * 2**20


@pytest.mark.parametrize("rows, vocabulary, size", [
    (1000, 64, 1000), (1000, 49152, 250), (300, 49152, 300), (1000, 151936, 84), (2, 10**9, 1), (0, 64, 1),
])  # fmt: skip
def test_chunks_are_alike_of_at_most_their_bytes_and_at_least_a_row(rows, vocabulary, size):
    # 50 MiB / (4 x 49152) = 266.7, so 1000 rows are four chunks; 300 rows of 49152 are 59 MB and stay whole
    assert torch_head.chunk_rows(rows, vocabulary, on_gpu=False) == size


@pytest.mark.parametrize("size", [1, 3, 9])
def test_several_chunks_are_one_chunk(monkeypatch, inputs, spec_of, run, size):
    given = inputs(17, 64, 64)
    whole = run(given, spec_of(given.c), temperature=0.6)
    monkeypatch.setattr(torch_head, "WHOLE_BYTES", 0)
    monkeypatch.setattr(torch_head, "CHUNK_BYTES", 4 * 64 * size)
    assert torch_head.chunk_rows(17, 64, on_gpu=False) == size
    parts = run(given, spec_of(given.c), temperature=0.6)
    for found, one in zip((parts[0], *parts[1], *parts[2]), (whole[0], *whole[1], *whole[2])):
        torch.testing.assert_close(found, one, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("biased", [False, True])
def test_bfloat16_gradients_of_chunks_and_blocks_are_those_of_float64(
    monkeypatch, inputs, spec_of, exact, error, run, biased
):
    for name, value in (("BLOCK_ROWS", 16), ("LOW_BLOCK_ROWS", 64), ("bfloat16_pays", lambda: True)):
        monkeypatch.setattr(products, name, value)
    monkeypatch.setattr(torch_head, "WHOLE_BYTES", 0)
    monkeypatch.setattr(torch_head, "CHUNK_BYTES", 4 * 300 * 8)  # of 32 rows: four chunks
    given = inputs(32, 300, 48)
    slopes = torch.ones(32)
    slopes[8:16] = 0.0  # the second chunk: nothing to multiply
    slopes[17:23] = 0.0  # of the third: two rows left
    given.c *= slopes
    truth = exact(given, spec_of(given.c), bias=given.bias if biased else None)
    _, _, gradients = run(given, spec_of(given.c), mixed=True, biased=biased)
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients, strict=True)) <= 4e-3
    assert not gradients[0][8:16].any() and gradients[0][16].any()


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_logits_in_blocks_of_the_weight_are_the_product(monkeypatch, rows):
    monkeypatch.setattr(products, "BLOCK_ROWS", 16)
    draw = torch.Generator().manual_seed(0)
    hidden, weight, bias = (torch.randn(*shape, generator=draw) for shape in ((rows, 48), (100, 48), (100,)))
    for each in (None, bias):
        layer = Layer(weight, each, temperature=0.5)
        found = products.Products(layer, mixed=False).logits(hidden, torch.full((rows, 103), torch.nan)[:, :100])
        truth = 2 * (hidden.double() @ weight.double().T + (0 if each is None else each.double()))
        torch.testing.assert_close(found.double(), truth, rtol=1e-5, atol=1e-5)


def test_exponentials_are_never_too_small_to_be_fast(inputs, monkeypatch):
    # Logits of several hundred, as after training with a high rate: e^-300 is no float32, e^-90 a denormal one.
    given, seen = inputs(8, 5000, 32, scale=100.0), []
    gradient = torch_head.TorchHead.gradient
    monkeypatch.setattr(
        torch_head.TorchHead, "gradient", lambda head, *rest: (seen.append(head._e.clone()), gradient(head, *rest))[1]
    )
    logp = token_logps(given.hidden.requires_grad_(), given.weight, given.target).logp
    logp.sum().backward()
    (e,) = seen
    assert ((e == 0) | (e >= torch.finfo(torch.float32).tiny)).all() and (e < 1e-34).any()


def test_scoring_gives_the_values_of_the_head_bit_for_bit(inputs, spec_of, run):
    given = inputs(50, 1000, 64)
    for temperature in (1.0, 0.6):
        _, (logp, entropy), _ = run(given, spec_of(given.c), temperature=temperature)
        scored = token_logps(given.hidden, given.weight, given.target, temperature=temperature)
        assert torch.equal(scored.logp, logp) and torch.equal(scored.entropy, entropy)
        assert not scored.logp.requires_grad and not logp.requires_grad


def test_the_probe_is_a_plain_answer_given_once_and_quickly():
    products.bfloat16_pays.cache_clear()
    start = time.process_time()
    assert products.bfloat16_pays() in (True, False)
    assert time.process_time() - start < 1.0
    assert products.bfloat16_pays.cache_info().misses == 1
