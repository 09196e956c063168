"""The Triton head in Triton's interpreter: the torch head's numbers and float64's, on every path it can take.

The interpreter truncates where it stores bfloat16, so gradients in bfloat16 have twice the room.
"""

import math

import pytest
import torch

from r1lab.kernels import policy_head, token_logps

pytest.importorskip("triton")

FORMS = {
    "plain": {},
    "cold": {"temperature": 0.6},
    "biased": {"biased": True, "temperature": 0.6},
    "capped": {"softcap": 2.0, "temperature": 0.6},
    "kappa": {"kappa": 0.7},
    "all": {"kappa": 3.0, "temperature": 0.6, "softcap": 4.0, "biased": True},
}


@pytest.fixture
def head():
    from r1lab.kernels import triton_head

    return triton_head


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch, head):
    """So that a few rows make several tiles: each is a call in the interpreter."""
    for name, size in (("ROWS", 16), ("COLUMNS", 128), ("DEPTH", 32), ("GROUP", 2)):
        monkeypatch.setattr(head.triton_fused, name, size)


@pytest.fixture
def paths(monkeypatch, head):
    """How often each path was taken."""
    taken = {"fused": 0, "rows": 0}
    for name, module in (("fused", head.triton_fused), ("rows", head.triton_rows)):

        def counted(*given, name=name, forward=module.forward, **options):
            taken[name] += 1
            return forward(*given, **options)

        monkeypatch.setattr(module, "forward", counted)
    return taken


def run(given, spec, *, biased=False, kernel="triton", recompute=False, **form):
    """Loss, values and gradients by hidden, weight and bias."""
    leaves = [each.clone().requires_grad_() for each in (given.hidden, given.weight, given.bias)]
    bias = leaves[2] if biased else None
    if recompute:
        values = [v for v in token_logps(*leaves[:2], given.target, bias=bias, kernel=kernel, **form) if v is not None]
        loss = spec(*values, slice(0, len(given.target))).sum()
    else:
        loss, *values = policy_head(*leaves[:2], given.target, spec, bias=bias, kernel=kernel, **form)
    loss.backward()
    values = [each.detach() for each in values if each is not None]
    return loss.detach(), values, [each.grad for each in leaves if each.grad is not None]


def only_logp(c):
    return lambda logp, entropy, *others: (c[0, others[-1]] * logp + 0.1 * c[1, others[-1]] * logp.square()).to(logp)


@pytest.mark.parametrize("recompute", [False, True], ids=["one pass", "recompute"])
@pytest.mark.parametrize("with_entropy", [False, True])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_the_layer_is_that_of_float64(inputs, spec_of, exact, error, form, with_entropy, recompute):
    given, form = inputs(23, 300, 48, scale=3.0), dict(form)
    spec = spec_of(given.c) if with_entropy else only_logp(given.c)
    loss, values, gradients = run(given, spec, recompute=recompute, **form)
    if form.pop("biased", False):
        form["bias"] = given.bias
    truth = exact(given, spec, **form)
    assert loss.item() == pytest.approx(truth.loss.item(), rel=1e-5, abs=1e-4)
    assert max((a - b).abs().max().item() for a, b in zip(values, truth.values, strict=True)) <= 2e-5
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients, strict=True)) <= 1e-5


def test_it_agrees_with_the_torch_head(inputs, spec_of, error):
    given = inputs(50, 300, 48, scale=3.0)  # four tiles of rows, three of columns
    for form in FORMS.values():
        for spec in (spec_of(given.c), only_logp(given.c)):
            one, two = (run(given, spec, kernel=kernel, **form) for kernel in ("triton", "torch"))
            assert max((a - b).abs().max().item() for a, b in zip(one[1], two[1], strict=True)) <= 2e-5
            assert max(error(a, b.double()) for a, b in zip(one[2], two[2], strict=True)) <= 1e-5


@pytest.mark.parametrize("rows, vocabulary, dimension", [
    (5, 64, 64), (5, 1000, 576), (1, 257, 64), (50, 256, 16), (4, 49152, 64), (4, 151936, 64), (2, 1000, 896),
])  # fmt: skip
def test_tiles_that_do_not_fill_up_are_exact(monkeypatch, head, inputs, exact, error, bar, rows, vocabulary, dimension):
    if vocabulary > 1000:
        monkeypatch.setattr(head.triton_fused, "COLUMNS", 8192)
        monkeypatch.setattr(head.triton_fused, "DEPTH", 64)
    given = inputs(rows, vocabulary, dimension, scale=3.0)
    spec = only_logp(given.c)
    truth, (_, values, gradients) = exact(given, spec), run(given, spec)
    assert (values[0] - truth.values[0]).abs().max() <= bar(given)
    assert (values[1] - truth.values[1]).abs().max() <= 5e-5
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients)) <= 1e-5


@pytest.mark.parametrize("drift", [0.0, 0.05, 5.0, 40.0, -40.0])
def test_an_anchor_may_drift_and_changes_nothing(inputs, exact, error, paths, drift):
    given = inputs(40, 300, 48)
    spec = only_logp(given.c)
    truth = exact(given, spec)
    noise = drift * torch.sign(given.c[2])
    _, values, gradients = run(given, spec, anchor=truth.values[0].float() + noise)
    assert (values[0] - truth.values[0]).abs().max() <= 2e-5 and (values[1] - truth.values[1]).abs().max() <= 5e-5
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients)) <= 1e-5
    assert paths == {"fused": 1, "rows": 0}


def test_an_anchor_that_is_far_off_is_found_out(inputs, exact, error, paths):
    given = inputs(6, 300, 48)
    spec, anchor = only_logp(given.c), torch.tensor([-1.0, -200.0, 200.0, math.nan, math.inf, -math.inf])
    truth, (_, values, gradients) = exact(given, spec), run(given, spec, anchor=anchor)
    assert (values[0] - truth.values[0]).abs().max() <= 2e-5
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients)) <= 1e-5
    assert paths == {"fused": 1, "rows": 1}


def test_rows_without_an_anchor_take_the_fused_path_too(inputs, paths):
    given = inputs(6, 300, 48)
    run(given, only_logp(given.c), anchor=torch.full((6,), math.nan))
    run(given, only_logp(given.c))
    assert paths == {"fused": 2, "rows": 0}


def test_a_gradient_by_entropy_reads_the_logits_from_its_first_chunk_on(monkeypatch, inputs, spec_of, head, paths):
    monkeypatch.setattr(head, "CHUNK_BYTES", 0)  # chunks of one tile of rows
    given = inputs(40, 100, 16)
    run(given, spec_of(given.c))
    assert paths == {"fused": 1, "rows": 3}


@pytest.mark.parametrize("p", [0.9, 0.99, 0.999, 0.9999])
def test_confident_tokens_keep_their_digits_in_bfloat16(confident, exact, error, p):
    given = confident(p)
    given.hidden, given.weight = given.hidden.bfloat16(), given.weight.bfloat16()

    def spec(logp, entropy, at):
        return given.c[0, at].to(logp.dtype) * logp

    truth, (_, values, gradients) = exact(given, spec), run(given, spec, mixed=True)
    assert ((values[0] - truth.values[0]) / truth.values[0]).abs().max() <= 2e-5
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients)) <= 1e-2
    assert gradients[0].dtype == torch.bfloat16


@pytest.mark.parametrize("with_entropy", [False, True])
def test_bfloat16_rounds_only_gradients(monkeypatch, inputs, spec_of, exact, error, with_entropy):
    from r1lab.kernels import products

    monkeypatch.setattr(products, "bfloat16_pays", lambda: True)
    given = inputs(40, 1000, 64, scale=3.0)
    given.hidden, given.weight = given.hidden.bfloat16(), given.weight.bfloat16()
    spec = spec_of(given.c) if with_entropy else only_logp(given.c)
    truth, (_, values, gradients) = exact(given, spec), run(given, spec)
    assert (values[0] - truth.values[0]).abs().max() <= 2e-5 and (values[1] - truth.values[1]).abs().max() <= 5e-5
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients)) <= 8e-3


def test_rows_without_slope_are_left_out(inputs, exact, error):
    given = inputs(40, 100, 32)
    given.c[:, 10:] = 0
    truth, (_, _, gradients) = exact(given, only_logp(given.c)), run(given, only_logp(given.c))
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients)) <= 1e-5 and not gradients[0][10:].any()


@pytest.mark.parametrize("level", [-500.0, 500.0])
def test_logits_that_are_all_equal_are_uniform_at_any_level(inputs, level):
    given = inputs(3, 64, 4)
    given.hidden[:], given.weight[:] = 1.0, level / 4
    _, (logp, entropy), _ = run(given, only_logp(given.c))
    assert logp.tolist() == pytest.approx([-math.log(64)] * 3) and entropy.tolist() == pytest.approx([math.log(64)] * 3)


def test_logits_of_plus_and_minus_1e4_are_exact_and_finite(inputs):
    # Of 8 tokens 2 have logit 1e4: they share the probability; another one has logp -2e4 - log 2.
    given = inputs(2, 8, 1)
    given.hidden[:], given.weight[:], given.weight[:2] = 100.0, -100.0, 100.0
    given.target, given.c[:] = torch.tensor([0, 5]), torch.tensor([1.0, 0, 1, 0])[:, None]
    _, (logp, entropy), gradients = run(given, only_logp(given.c))
    assert logp.tolist() == pytest.approx([-math.log(2), -2e4 - math.log(2)])
    assert entropy.tolist() == pytest.approx([math.log(2)] * 2)
    assert gradients[1][:, 0].tolist() == pytest.approx([0, -100, 0, 0, 0, 100, 0, 0], abs=1e-4)


def test_a_not_a_number_comes_out_as_one(inputs):
    given = inputs(4, 300, 32)
    given.hidden[2, 3] = math.nan
    for form in ({}, {"softcap": 3.0}):
        values = token_logps(given.hidden, given.weight, given.target, kernel="triton", **form)
        assert values.logp.isnan().tolist() == values.entropy.isnan().tolist() == [False, False, True, False]


def test_a_bias_of_minus_infinity_is_a_token_that_never_comes(inputs):
    given = inputs(3, 40, 16)
    given.target[:], given.bias[30:] = torch.arange(3), -math.inf
    for form in ({}, {"kappa": 2.0}):
        full = token_logps(given.hidden, given.weight, given.target, bias=given.bias, kernel="triton", **form)
        short = token_logps(given.hidden, given.weight[:30], given.target, bias=given.bias[:30], **form)
        for one, other in zip(full, short):
            assert one is other is None or (one - other).abs().max() <= 2e-5


def test_two_runs_are_equal_bit_for_bit(inputs, spec_of):
    given = inputs(40, 300, 16)
    for spec in (only_logp(given.c), spec_of(given.c)):
        one, other = (run(given, spec) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip((*one[1], *one[2]), (*other[1], *other[2])))


def test_without_a_gradient_nothing_is_stored(monkeypatch, inputs, head, paths):
    given = inputs(3, 300, 32)
    monkeypatch.setattr(head.TritonHead, "_take", None)
    token_logps(given.hidden, given.weight, given.target, kernel="triton")
    assert paths == {"fused": 1, "rows": 0}


@pytest.mark.parametrize("rows, vocabulary, size", [
    (10, 300, 10), (16384, 151936, 3456), (65536, 152064, 3456), (300, 10**9, 128), (0, 64, 1),
])  # fmt: skip
def test_a_chunk_is_whole_tiles_within_its_bytes(monkeypatch, head, rows, vocabulary, size):
    monkeypatch.setattr(head.triton_fused, "ROWS", 128)
    # 2^30 / (2 x 151936) = 3533, of which 27 tiles of 128
    assert head.chunk_rows(rows, vocabulary, torch.device("cpu")) == size


def test_no_rows_at_all_give_nothing(inputs):
    given = inputs(0, 300, 32)
    loss, values, gradients = run(given, only_logp(given.c))
    assert loss == 0 and values[0].shape == (0,) and not gradients[1].any()
