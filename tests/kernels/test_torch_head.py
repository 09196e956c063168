"""The torch head against float64: values, gradients, extremes, chunks, memory."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from r1lab.kernels import policy_head, token_logps, torch_head

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


def inputs(rows, vocabulary, dimension, *, seed=0, scale=1.0):
    """hidden [N, D], weight [V, D] with logits of about `scale`, target [N], and coefficients [3, N] of a loss."""
    make = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, dimension, generator=make) * scale
    weight = torch.randn(vocabulary, dimension, generator=make) / math.sqrt(dimension)
    return hidden, weight, torch.randint(vocabulary, (rows,), generator=make), torch.randn(3, rows, generator=make)


def loss_of(c):
    """A loss that is neither linear in logp nor free of entropy."""

    def row_loss(logp, entropy, at):
        a, b, u = c[:, at].to(logp.dtype)
        return a * logp + 0.1 * b * logp.square() + u * entropy

    return row_loss


def exact(hidden, weight, target, row_loss, temperature):
    """Loss, logp, entropy, dh and dW in float64, by autograd over full logits."""
    h, w = hidden.double().requires_grad_(), weight.double().requires_grad_()
    logps = (h @ w.T / temperature).log_softmax(-1)
    logp, entropy = logps.gather(1, target[:, None])[:, 0], -(logps.exp() * logps).sum(-1)
    loss = row_loss(logp, entropy, slice(0, len(target))).sum()
    return loss.detach(), logp.detach(), entropy.detach(), *torch.autograd.grad(loss, (h, w))


def fast(hidden, weight, target, row_loss, temperature, factor=1.0):
    h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    loss, logp, entropy, _ = policy_head(h, w, target, row_loss, temperature=temperature, kernel="torch")
    (loss * factor).backward()
    return loss.detach(), logp, entropy, h.grad, w.grad


def error(found, truth):
    """Relative, in the Frobenius norm."""
    return ((found.double() - truth).norm() / truth.norm().clamp(min=1e-30)).item()


def bar(hidden, weight, target, temperature):
    """2 x the error of torch's own float32 product followed by a float64 log-softmax, at least 2e-5."""
    rounded = ((hidden @ weight.T).double() / temperature).log_softmax(-1).gather(1, target[:, None])
    truth = (hidden.double() @ weight.double().T / temperature).log_softmax(-1).gather(1, target[:, None])
    return max(2e-5, 2 * (rounded - truth).abs().max().item())


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("rows, vocabulary, dimension", [
    (40, 64, 64), (7, 64, 576), (33, 1000, 64), (5, 1000, 576), (3, 49152, 64), (1, 1000, 64), (1, 64, 64),
])  # fmt: skip
def test_values_and_gradients_are_those_of_float64(rows, vocabulary, dimension, temperature):
    hidden, weight, target, c = inputs(rows, vocabulary, dimension, scale=3.0)
    truth = exact(hidden, weight, target, loss_of(c), temperature)
    loss, logp, entropy, dh, dw = fast(hidden, weight, target, loss_of(c), temperature)
    assert (logp - truth[1]).abs().max() <= bar(hidden, weight, target, temperature)
    assert (entropy - truth[2]).abs().max() <= 5e-5
    assert loss.item() == pytest.approx(truth[0].item(), rel=1e-5, abs=1e-4)
    assert error(dh, truth[3]) <= 1e-5 and error(dw, truth[4]) <= 1e-5
    assert (logp.dtype, entropy.dtype, dh.dtype) == (torch.float32,) * 3


def test_a_large_vocabulary_with_a_wide_model_scores_exactly():
    hidden, weight, target, _ = inputs(4, 49152, 576, scale=3.0)
    logp, *_ = token_logps(hidden, weight, target)
    truth = (hidden.double() @ weight.double().T).log_softmax(-1).gather(1, target[:, None])[:, 0]
    assert (logp - truth).abs().max() <= bar(hidden, weight, target, 1.0)


@pytest.mark.parametrize("size", [1, 3, 16])
def test_several_chunks_are_one_chunk(monkeypatch, size):
    hidden, weight, target, c = inputs(17, 64, 64)
    whole = fast(hidden, weight, target, loss_of(c), 0.6)
    monkeypatch.setattr(torch_head, "WHOLE_BYTES", 0)
    monkeypatch.setattr(torch_head, "CHUNK_BYTES", 4 * 64 * size)
    assert torch_head.chunk_rows(17, 64, CPU) == size
    for found, one in zip(fast(hidden, weight, target, loss_of(c), 0.6), whole):
        torch.testing.assert_close(found, one, rtol=2e-6, atol=2e-6)


def confident(p, *, rows=6, vocabulary=200, dimension=64):
    """Inputs whose targets have probability p: hidden states along the target's weights, found by bisection."""
    _, weight, target, c = inputs(rows, vocabulary, dimension)
    rest, _, _, _ = inputs(rows, vocabulary, dimension, seed=1)
    low, high = torch.full((rows, 1), -200.0, dtype=torch.float64), torch.full((rows, 1), 200.0, dtype=torch.float64)
    for _ in range(100):
        middle = (low + high) / 2
        hidden = 0.3 * rest.double() + middle * weight[target].double()
        above = (hidden @ weight.double().T).softmax(-1).gather(1, target[:, None]) > p
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return hidden.float(), weight, target, c


@pytest.mark.parametrize("p", [0.9, 0.99, 0.999, 0.9999])
def test_confident_tokens_keep_their_digits(p):
    hidden, weight, target, c = confident(p)
    only_logp = torch.stack([c[0], torch.zeros_like(c[0]), torch.zeros_like(c[0])])
    truth = exact(hidden, weight, target, loss_of(only_logp), 1.0)
    assert truth[1].exp().tolist() == pytest.approx([p] * 6, abs=1e-5)
    _, logp, _, dh, dw = fast(hidden, weight, target, loss_of(only_logp), 1.0)
    assert ((logp - truth[1]) / truth[1]).abs().max() <= 2e-5
    assert error(dh, truth[3]) <= 2e-5 and error(dw, truth[4]) <= 2e-5


@pytest.mark.parametrize("p", [0.9, 0.9999])
def test_confident_tokens_keep_their_digits_in_bfloat16(p):
    # The trap: w onehot - w p, each rounded, is wrong by 20 % at p = 0.99.
    hidden, weight, target, c = confident(p)
    hidden, weight = hidden.bfloat16(), weight.bfloat16()
    truth = exact(hidden, weight, target, loss_of(c), 1.0)
    _, _, _, dh, dw = fast(hidden, weight, target, loss_of(c), 1.0)
    assert dh.dtype == dw.dtype == torch.bfloat16
    assert error(dh, truth[3]) <= 5e-3 and error(dw, truth[4]) <= 5e-3


@pytest.mark.parametrize("scale, bound", [(1.0, 2e-5), (20.0, 1e-4), (600.0, 5e-3)])
def test_four_large_dimensions_cost_no_more_than_the_product_itself(scale, bound):
    hidden, weight, target, _ = inputs(16, 1000, 576)
    hidden[:, :4] *= 20 * scale
    logp, entropy, _ = token_logps(hidden, weight, target)
    truth = exact(hidden, weight, target, loss_of(torch.zeros(3, 16)), 1.0)
    allowed = bar(hidden, weight, target, 1.0)
    assert (logp - truth[1]).abs().max() <= allowed
    assert (entropy - truth[2]).abs().max() <= max(5e-5, 5 * allowed)
    assert allowed <= 4 * bound  # the bar itself has not gone astray


def test_logits_that_are_all_minus_500_are_uniform():
    hidden, weight = torch.full((3, 4), 1.0), torch.full((64, 4), -125.0)
    target, c = torch.tensor([0, 5, 63]), torch.ones(3, 3)
    loss, logp, entropy, dh, dw = fast(hidden, weight, target, loss_of(c), 1.0)
    assert logp.tolist() == pytest.approx([-math.log(64)] * 3) and entropy.tolist() == pytest.approx([math.log(64)] * 3)
    truth = exact(hidden, weight, target, loss_of(c), 1.0)
    assert math.isfinite(loss) and error(dw, truth[4]) <= 1e-5 and dh.abs().max() < 1e-3


def test_logits_of_plus_and_minus_1e4_are_exact_and_finite():
    # Of 8 tokens 2 have logit 1e4: they share the probability; another one has logp -2e4 - log 2.
    hidden, weight = torch.full((2, 1), 100.0), torch.full((8, 1), -100.0)
    weight[:2] = 100.0
    target, c = torch.tensor([0, 5]), torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    _, logp, entropy, dh, dw = fast(hidden, weight, target, loss_of(c), 1.0)
    assert logp.tolist() == pytest.approx([-math.log(2), -2e4 - math.log(2)])
    assert entropy.tolist() == pytest.approx([math.log(2)] * 2)
    # dlogp/dz of the second row: onehot(5) - 1/2 on tokens 0 and 1; of the first: 1/2 and -1/2; entropy is at its top
    assert dw[:, 0].tolist() == pytest.approx([100 * v for v in (0.5 - 0.5, -0.5 - 0.5, 0, 0, 0, 1, 0, 0)], abs=1e-4)
    assert dh[:, 0].tolist() == pytest.approx([0, -200], abs=1e-3)


def test_the_upstream_gradient_multiplies_both_gradients():
    hidden, weight, target, c = inputs(5, 64, 64)
    once, thrice = (fast(hidden, weight, target, loss_of(c), 1.0, factor) for factor in (1.0, -3.0))
    for one, three in zip(once[3:], thrice[3:]):
        torch.testing.assert_close(three, -3 * one)


def test_rows_without_a_loss_move_nothing():
    hidden, weight, target, _ = inputs(5, 64, 64)
    _, _, _, dh, dw = fast(hidden, weight, target, loss_of(torch.zeros(3, 5)), 1.0)
    assert not dh.any() and not dw.any()


def test_a_frozen_head_gets_no_gradient_and_the_hidden_states_the_same_one():
    hidden, weight, target, c = inputs(5, 64, 64)
    both = fast(hidden, weight, target, loss_of(c), 1.0)
    h = hidden.clone().requires_grad_()
    policy_head(h, weight, target, loss_of(c))[0].backward()
    assert torch.equal(h.grad, both[3]) and weight.grad is None


def test_scoring_gives_the_values_of_the_head_bit_for_bit():
    hidden, weight, target, c = inputs(50, 1000, 64)
    for temperature in (1.0, 0.6):
        _, logp, entropy, _, _ = fast(hidden, weight, target, loss_of(c), temperature)
        scored = token_logps(hidden, weight, target, temperature=temperature)
        assert torch.equal(scored[0], logp) and torch.equal(scored[1], entropy)
        assert not scored[0].requires_grad and not logp.requires_grad


def test_two_runs_are_equal_bit_for_bit():
    hidden, weight, target, c = inputs(40, 1000, 64)
    for one, other in zip(*(fast(hidden, weight, target, loss_of(c), 0.6) for _ in range(2))):
        assert torch.equal(one, other)


class Largest(TorchDispatchMode):
    """The most bytes that any tensor made inside has."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for each in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(each, torch.Tensor):
                self.bytes = max(self.bytes, each.numel() * each.element_size())
        return made


def test_the_full_logits_are_never_held():
    hidden, weight, target, c = inputs(600, 49152, 8)  # 118 MB of logits
    with Largest() as made:
        fast(hidden, weight, target, loss_of(c), 1.0)
        token_logps(hidden, weight, target)
    assert 25 * 2**20 < made.bytes <= 64 * 2**20


@pytest.mark.parametrize("rows, vocabulary, size", [
    (1000, 64, 1000), (1000, 49152, 266), (300, 49152, 300), (1000, 151936, 86), (2, 10**9, 1), (0, 64, 1),
])  # fmt: skip
def test_a_chunk_is_everything_or_at_most_its_bytes_and_at_least_a_row(rows, vocabulary, size):
    # 50 MiB / (4 x 49152) = 266.7; 300 rows of 49152 are 59 MB and stay whole
    assert torch_head.chunk_rows(rows, vocabulary, CPU) == size
