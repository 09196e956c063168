"""Inputs of the loss head, its float64 reference by autograd over full logits, and how errors are measured."""

import math
from types import SimpleNamespace

import pytest
import torch

from r1lab.kernels import policy_head, token_logps


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


def make_inputs(rows, vocabulary, dimension, *, seed=0, scale=1.0):
    """hidden [N, D], weight [V, D] with logits of about `scale`, target [N], bias [V], coefficients c [4, N]."""
    make = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, dimension, generator=make) * scale
    weight = torch.randn(vocabulary, dimension, generator=make) / math.sqrt(dimension)
    target = torch.randint(vocabulary, (rows,), generator=make)
    c, bias = torch.randn(4, rows, generator=make), torch.randn(vocabulary, generator=make)
    return SimpleNamespace(hidden=hidden, weight=weight, target=target, bias=bias, c=c)


def make_spec(c):
    """A loss that is neither linear in logp nor free of entropy, and reads logq where it is given."""

    def spec(logp, entropy, *others):
        a, b, u, t = c[:, others[-1]].to(logp.dtype)
        loss = a * logp + 0.1 * b * logp.square() + u * entropy
        return loss + t * others[0] if len(others) > 1 else loss

    return spec


def reference(given, spec, *, bias=None, temperature=1.0, softcap=None, kappa=None):
    """Loss, values and gradients in float64."""
    leaves = [None if each is None else each.double().requires_grad_() for each in (given.hidden, given.weight, bias)]
    z = leaves[0] @ leaves[1].T + (0 if bias is None else leaves[2])
    z = (softcap * (z / softcap).tanh() if softcap else z) / temperature
    logps, column = z.log_softmax(-1), given.target[:, None]
    values = [logps.gather(1, column)[:, 0], -(logps.exp() * logps).sum(-1)]
    if kappa:
        values.append((z / kappa).log_softmax(-1).gather(1, column)[:, 0])
    loss = spec(*values, slice(0, len(given.target))).sum()
    gradients = torch.autograd.grad(loss, [each for each in leaves if each is not None])
    return SimpleNamespace(loss=loss.detach(), values=[each.detach() for each in values], gradients=gradients)


def relative(found, truth):
    """In the Frobenius norm."""
    return ((found.double() - truth).norm() / truth.norm().clamp(min=1e-30)).item()


def logp_bar(given, temperature=1.0):
    """2 x the error of torch's own float32 product followed by a float64 log-softmax, at least 2e-5."""
    hidden, weight, column = given.hidden.float(), given.weight.float(), given.target[:, None]
    rounded = ((hidden @ weight.T).double() / temperature).log_softmax(-1).gather(1, column)
    truth = (hidden.double() @ weight.double().T / temperature).log_softmax(-1).gather(1, column)
    return max(2e-5, 2 * (rounded - truth).abs().max().item())


def make_confident(p, *, rows=6, vocabulary=200, dimension=64):
    """Inputs whose targets have probability p: hidden states along the target's weights, found by bisection."""
    given, rest = make_inputs(rows, vocabulary, dimension), make_inputs(rows, vocabulary, dimension, seed=1).hidden
    low, high = torch.full((rows, 1), -200.0, dtype=torch.float64), torch.full((rows, 1), 200.0, dtype=torch.float64)
    for _ in range(100):
        middle = (low + high) / 2
        hidden = 0.3 * rest.double() + middle * given.weight[given.target].double()
        above = (hidden @ given.weight.double().T).softmax(-1).gather(1, given.target[:, None]) > p
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    given.hidden = hidden.float()
    return given


@pytest.fixture(scope="session")
def inputs():
    return make_inputs


@pytest.fixture(scope="session")
def confident():
    return make_confident


@pytest.fixture(scope="session")
def spec_of():
    return make_spec


@pytest.fixture(scope="session")
def exact():
    return reference


@pytest.fixture(scope="session")
def error():
    return relative


@pytest.fixture(scope="session")
def bar():
    return logp_bar


def run_head(given, spec, *, biased=False, recompute=False, factor=1.0, **options):
    """Loss, the values that are there, and the gradients by hidden, weight and, where `biased`, bias."""
    leaves = [each.clone().requires_grad_() for each in (given.hidden, given.weight, given.bias)]
    options["bias"] = leaves[2] if biased else None
    if recompute:
        values = [each for each in token_logps(*leaves[:2], given.target, **options) if each is not None]
        loss = spec(*values, slice(0, len(given.target))).sum()
    else:
        loss, *values = policy_head(*leaves[:2], given.target, spec, **options)
    (loss * factor).backward()
    values = [each.detach() for each in values if each is not None]
    return loss.detach(), values, [each.grad for each in leaves if each.grad is not None]


def make_logp_spec(c):
    """A loss of the log-probability alone."""
    return lambda logp, entropy, *others: (c[0, others[-1]] * logp + 0.1 * c[1, others[-1]] * logp.square()).to(logp)


@pytest.fixture(scope="session")
def run():
    return run_head


@pytest.fixture(scope="session")
def logp_spec_of():
    return make_logp_spec


@pytest.fixture
def small_tiles(monkeypatch):
    """So that a few rows make several tiles of Triton's: each is a call in the interpreter."""
    from r1lab.kernels import triton_fused

    monkeypatch.setattr(triton_fused, "GROUP", 2)
    for tile in (triton_fused.TILE, triton_fused.FLOAT32_TILE):
        for name, size in (("ROWS", 16), ("COLUMNS", 128), ("DEPTH", 32)):
            monkeypatch.setitem(tile, name, size)
    return triton_fused


@pytest.fixture(params=["torch", "triton"])
def kernel(request):
    """Each implementation in turn."""
    if request.param == "triton":
        pytest.importorskip("triton")
        request.getfixturevalue("small_tiles")
    return request.param
