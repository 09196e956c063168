"""How exact the head must be, in both implementations, against float64: bars that hold at any size of the logits.

Log-probabilities: 2e-5, or twice the error of torch's own float32 product followed by a float64 log-softmax; entropies
alike with 5e-5. Gradients: 1e-5 relative in float32, 4e-3 in bfloat16, twice that in Triton's
interpreter, which truncates.
"""

import math

import pytest
import torch

from r1lab.kernels import products, token_logps

LOW = {"torch": 4e-3, "triton": 8e-3}
CONFIDENT = {"torch": 5e-3, "triton": 1e-2}


@pytest.mark.parametrize("rows, vocabulary, dimension, temperature", [
    (40, 64, 64, 1.0), (7, 64, 576, 0.6), (33, 1000, 64, 0.6), (5, 1000, 576, 1.0), (4, 257, 896, 0.6),
    (1, 1000, 64, 1.0), (1, 64, 64, 0.6),
])  # fmt: skip
def test_values_and_gradients_are_those_of_float64(
    inputs, spec_of, exact, error, bar, run, kernel, rows, vocabulary, dimension, temperature
):
    given = inputs(rows, vocabulary, dimension, scale=3.0)
    truth = exact(given, spec_of(given.c), temperature=temperature)
    loss, (logp, entropy), gradients = run(given, spec_of(given.c), temperature=temperature, kernel=kernel)
    assert (logp - truth.values[0]).abs().max() <= bar(given, temperature)
    assert (entropy - truth.values[1]).abs().max() <= 5e-5
    assert loss.item() == pytest.approx(truth.loss.item(), rel=1e-5, abs=1e-4)
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients, strict=True)) <= 1e-5
    assert {each.dtype for each in (logp, entropy, *gradients)} == {torch.float32}


@pytest.mark.parametrize(
    "vocabulary, dimension",
    [pytest.param(49152, 64, marks=pytest.mark.slow), pytest.param(49152, 576, marks=pytest.mark.slow), (151936, 64)],
)
def test_large_vocabularies_are_exact(
    monkeypatch, inputs, logp_spec_of, exact, error, bar, run, kernel, vocabulary, dimension
):
    if kernel == "triton":
        from r1lab.kernels import triton_fused

        for tile in (triton_fused.TILE, triton_fused.FLOAT32_TILE):
            monkeypatch.setitem(tile, "COLUMNS", 8192)
    given = inputs(4, vocabulary, dimension, scale=3.0)
    truth = exact(given, logp_spec_of(given.c))
    _, (logp, entropy), gradients = run(given, logp_spec_of(given.c), kernel=kernel)
    assert (logp - truth.values[0]).abs().max() <= bar(given)
    assert (entropy - truth.values[1]).abs().max() <= 5e-5
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients, strict=True)) <= 1e-5


@pytest.mark.parametrize("scale, bound", [(1.0, 2e-5), (20.0, 1e-4), (600.0, 5e-3)])
def test_four_large_dimensions_cost_no_more_than_the_product_itself(inputs, exact, bar, spec_of, kernel, scale, bound):
    given = inputs(16, 1000, 576)
    given.hidden[:, :4] *= 20 * scale
    logp, entropy, _ = token_logps(given.hidden, given.weight, given.target, kernel=kernel)
    truth, allowed = exact(given, spec_of(0 * given.c)), bar(given)
    assert (logp - truth.values[0]).abs().max() <= allowed
    assert (entropy - truth.values[1]).abs().max() <= max(5e-5, 5 * allowed)
    assert allowed <= 4 * bound  # the bar itself has not gone astray


@pytest.mark.parametrize("level", [-500.0, 500.0])
def test_logits_that_are_all_equal_are_uniform_at_any_level(inputs, spec_of, exact, error, run, kernel, level):
    given = inputs(3, 64, 4)
    given.hidden[:], given.weight[:] = 1.0, level / 4
    loss, (logp, entropy), gradients = run(given, spec_of(given.c), kernel=kernel)
    assert logp.tolist() == pytest.approx([-math.log(64)] * 3) and entropy.tolist() == pytest.approx([math.log(64)] * 3)
    truth = exact(given, spec_of(given.c))
    assert math.isfinite(loss) and error(gradients[1], truth.gradients[1]) <= 1e-5 and gradients[0].abs().max() < 1e-3


def test_logits_of_plus_and_minus_1e4_are_exact_and_finite(inputs, run, kernel):
    # Of 8 tokens 2 have logit 1e4: they share the probability; another one has logp -2e4 - log 2.
    given = inputs(2, 8, 1)
    given.hidden[:], given.weight[:], given.weight[:2] = 100.0, -100.0, 100.0
    given.target = torch.tensor([0, 5])
    _, (logp, entropy), (by_hidden, by_weight) = run(given, lambda logp, entropy, at: logp + entropy, kernel=kernel)
    assert logp.tolist() == pytest.approx([-math.log(2), -2e4 - math.log(2)])
    assert entropy.tolist() == pytest.approx([math.log(2)] * 2)
    # dlogp/dz of the second row: onehot(5) - 1/2 on tokens 0 and 1; of the first: 1/2 and -1/2; entropy is at its top
    assert by_weight[:, 0].tolist() == pytest.approx([0, -100, 0, 0, 0, 100, 0, 0], abs=1e-4)
    assert by_hidden[:, 0].tolist() == pytest.approx([0, -200], abs=1e-3)


@pytest.mark.parametrize("p", [0.9, 0.99, 0.999, 0.9999])
@pytest.mark.parametrize("precision", ["float32", "mixed", "bfloat16"])
def test_confident_tokens_keep_their_digits(monkeypatch, confident, exact, error, run, kernel, p, precision):
    # The trap: w onehot - w p, each rounded, is wrong by 20 % at p = 0.99.
    monkeypatch.setattr(products, "bfloat16_pays", lambda: True)
    given = confident(p)
    if precision == "bfloat16":
        given.hidden, given.weight = given.hidden.bfloat16(), given.weight.bfloat16()

    def spec(logp, entropy, at):
        return given.c[0, at].to(logp.dtype) * logp

    truth = exact(given, spec)
    _, (logp, _), gradients = run(given, spec, kernel=kernel, mixed=precision == "mixed")
    assert truth.values[0].exp().tolist() == pytest.approx([p] * 6, abs=0.02 * (1 - p) + 1e-5, rel=0.01)
    assert ((logp - truth.values[0]) / truth.values[0]).abs().max() <= 2e-5
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients)) <= (
        2e-5 if precision == "float32" else CONFIDENT[kernel]
    )
    assert gradients[0].dtype == gradients[1].dtype == given.hidden.dtype


@pytest.mark.parametrize("with_entropy", [False, True])
def test_bfloat16_rounds_only_gradients(
    monkeypatch, inputs, spec_of, logp_spec_of, exact, error, run, kernel, with_entropy
):
    monkeypatch.setattr(products, "bfloat16_pays", lambda: True)
    given = inputs(40, 1000, 64, scale=3.0)
    given.hidden, given.weight = given.hidden.bfloat16(), given.weight.bfloat16()
    spec = (spec_of if with_entropy else logp_spec_of)(given.c)
    truth, (_, values, gradients) = exact(given, spec), run(given, spec, kernel=kernel)
    assert (values[0] - truth.values[0]).abs().max() <= 2e-5 and (values[1] - truth.values[1]).abs().max() <= 5e-5
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients)) <= LOW[kernel]


def test_two_runs_are_equal_bit_for_bit(inputs, spec_of, logp_spec_of, run, kernel):
    given = inputs(40, 300, 16)
    for spec in (logp_spec_of(given.c), spec_of(given.c)):
        one, other = (run(given, spec, kernel=kernel) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip((*one[1], *one[2]), (*other[1], *other[2])))
