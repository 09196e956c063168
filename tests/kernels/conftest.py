"""Inputs of the loss head, its float64 reference by autograd over full logits, and how errors are measured."""

import math
from types import SimpleNamespace

import pytest
import torch


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
