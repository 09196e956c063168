"""Tokens follow the distribution, and a request's numbers are its own."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from r1lab.engines.local.sampling import RowSampling, StopStrings, draw, uniforms
from r1lab.records import Request, RequestId, Sampling
from r1lab.seeds import derive

DRAWS, V = 8192, 60
LOGITS = torch.linspace(-2, 3, V).roll(17)


def how(*samplings):
    requests = [Request(RequestId("t", 0, i), "p", (1,), 0, sampling) for i, sampling in enumerate(samplings)]
    return RowSampling.of_requests(requests, torch.device("cpu"))


def drawn(sampling, logits=LOGITS):
    """DRAWS tokens and log-probabilities, each from the first number of another seed."""
    first = torch.tensor([uniforms(derive(3, "test", 0, i), 0, 1)[0] for i in range(DRAWS)])
    return draw(logits.expand(DRAWS, -1), first, how(*[sampling] * DRAWS))


@pytest.mark.parametrize("temperature", [1.0, 0.6, 2.0])
def test_sampling_follows_the_distribution(temperature):
    tokens, logprobs = drawn(Sampling(temperature=temperature))
    expected = (LOGITS.double() / temperature).softmax(-1).numpy() * DRAWS
    observed, often = np.bincount(tokens, minlength=V), expected >= 5  # chi-square wants five a cell; the rest is one
    cells = [*observed[often], observed[~often].sum()], [*expected[often], expected[~often].sum()]
    assert often.sum() > 30 and chisquare(*(cells if (~often).any() else (observed, expected))).pvalue > 1e-3
    torch.testing.assert_close(logprobs, (LOGITS / temperature).log_softmax(-1)[tokens])


@pytest.mark.parametrize("cut", [{"top_p": 0.5}, {"top_k": 3}, {"min_p": 0.3}, {"top_k": 5, "top_p": 0.6}])
def test_truncation_never_samples_outside_and_leaves_logprobs_alone(cut):
    tokens, logprobs = drawn(Sampling(temperature=1.3, **cut))
    whole, order = (LOGITS / 1.3).log_softmax(-1).sort(descending=True)
    p = whole.exp().tolist()
    allowed = range(cut.get("top_k", V))
    left = sum(p[i] for i in allowed)
    allowed = [i for i in allowed if sum(p[:i]) < cut.get("top_p", 1) * left and p[i] >= cut.get("min_p", 0) * p[0]]
    assert set(tokens.tolist()) == {order[i].item() for i in allowed}
    torch.testing.assert_close(logprobs, (LOGITS / 1.3).log_softmax(-1)[tokens])


def test_greedy_takes_the_greatest_and_reports_temperature_one():
    tokens, logprobs = drawn(Sampling(temperature=0))
    assert set(tokens.tolist()) == {LOGITS.argmax().item()}
    torch.testing.assert_close(logprobs[0], LOGITS.log_softmax(-1).max())


def test_rows_with_different_settings_do_not_disturb_each_other():
    kinds = [Sampling(), Sampling(temperature=0), Sampling(top_k=1), Sampling(temperature=0.5, top_p=0.3)]
    numbers, logits = torch.rand(4, dtype=torch.float64), torch.randn(4, V)
    together, _ = draw(logits, numbers, how(*kinds))
    alone = [draw(logits[i : i + 1], numbers[i : i + 1], how(kind))[0].item() for i, kind in enumerate(kinds)]
    assert together.tolist() == alone


def test_the_ends_of_the_unit_interval_stay_inside_the_support():
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]])
    last = 1 - 2**-53  # the greatest number a generator gives
    assert draw(logits, torch.tensor([0.0], dtype=torch.float64), how(Sampling()))[0].item() == 1
    assert draw(logits, torch.tensor([last * (1 - 2**-50)], dtype=torch.float64), how(Sampling()))[0].item() == 2


def test_logits_that_are_not_finite_show_in_the_logprob():
    logits = torch.zeros(2, V)
    logits[1, 4] = torch.nan
    _, logprobs = draw(logits, torch.tensor([0.5, 0.5], dtype=torch.float64), how(Sampling(), Sampling()))
    assert torch.isfinite(logprobs).tolist() == [True, False]


def test_a_stream_is_the_same_from_wherever_it_is_read():
    assert np.array_equal(uniforms(5, 3, 10), uniforms(5, 0, 20)[3:10])
    assert not np.array_equal(uniforms(5, 0, 3), uniforms(6, 0, 3))


def test_only_tokens_that_could_end_a_stop_string_are_looked_at(tokenizer):
    stops, stop = StopStrings(tokenizer), ("</a>", "zz")
    token = tokenizer.get_vocab()
    assert [stops.may_end(token[c], stop) for c in (">", "z", "a", "<")] == [True, True, False, False]
    assert stops.may_end(token["a"], ("end ",))  # a lone token may have lost its space
    assert stops.holds(tokenizer("x</a>")["input_ids"], stop) and not stops.holds(tokenizer("x</a")["input_ids"], stop)
    assert stops.holds([token["<eos>"]], ("<eos>",))
