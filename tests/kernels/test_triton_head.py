"""The Triton head in Triton's interpreter: the torch head's numbers and float64's, on every path it can take.

The interpreter truncates where it stores bfloat16, so gradients in bfloat16 have twice the room.
"""

import math

import pytest
import torch

from r1lab.kernels import token_logps
from r1lab.kernels.layer import Layer
from r1lab.kernels.products import Products

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


@pytest.fixture
def run(run, small_tiles):
    """With this kernel, unless another is asked for."""
    return lambda given, spec, **options: run(given, spec, **{"kernel": "triton", **options})


@pytest.mark.parametrize("recompute", [False, True], ids=["one pass", "recompute"])
@pytest.mark.parametrize("with_entropy", [False, True])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_the_layer_is_that_of_float64(
    inputs, spec_of, exact, error, form, with_entropy, recompute, run, logp_spec_of
):
    given, form = inputs(23, 300, 48, scale=3.0), dict(form)
    spec = spec_of(given.c) if with_entropy else logp_spec_of(given.c)
    loss, values, gradients = run(given, spec, recompute=recompute, **form)
    if form.pop("biased", False):
        form["bias"] = given.bias
    truth = exact(given, spec, **form)
    assert loss.item() == pytest.approx(truth.loss.item(), rel=1e-5, abs=1e-4)
    assert max((a - b).abs().max().item() for a, b in zip(values, truth.values, strict=True)) <= 2e-5
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients, strict=True)) <= 1e-5


def test_it_agrees_with_the_torch_head(inputs, spec_of, error, run, logp_spec_of):
    given = inputs(34, 300, 48, scale=3.0)  # three tiles of rows, three of columns
    for form in (FORMS["plain"], FORMS["capped"], FORMS["all"]):
        for spec in (spec_of(given.c), logp_spec_of(given.c)):
            one, two = (run(given, spec, kernel=kernel, **form) for kernel in ("triton", "torch"))
            assert max((a - b).abs().max().item() for a, b in zip(one[1], two[1], strict=True)) <= 2e-5
            assert max(error(a, b.double()) for a, b in zip(one[2], two[2], strict=True)) <= 1e-5


@pytest.mark.parametrize("drift", [0.0, 0.05, 5.0, 40.0, -40.0])
def test_an_anchor_may_drift_and_changes_nothing(inputs, exact, error, paths, drift, run, logp_spec_of):
    given = inputs(40, 300, 48)
    spec = logp_spec_of(given.c)
    truth = exact(given, spec)
    noise = drift * torch.sign(given.c[2])
    _, values, gradients = run(given, spec, anchor=truth.values[0].float() + noise)
    assert (values[0] - truth.values[0]).abs().max() <= 2e-5 and (values[1] - truth.values[1]).abs().max() <= 5e-5
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients)) <= 1e-5
    assert paths == {"fused": 1, "rows": 0}


def test_an_anchor_that_is_far_off_is_found_out(inputs, exact, error, paths, run, logp_spec_of):
    given = inputs(6, 300, 48)
    spec, anchor = logp_spec_of(given.c), torch.tensor([-1.0, -200.0, 200.0, math.nan, math.inf, -math.inf])
    truth, (_, values, gradients) = exact(given, spec), run(given, spec, anchor=anchor)
    assert (values[0] - truth.values[0]).abs().max() <= 2e-5
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients)) <= 1e-5
    assert paths == {"fused": 1, "rows": 1}


def test_rows_without_an_anchor_take_the_fused_path_too(inputs, paths, run, logp_spec_of):
    given = inputs(6, 300, 48)
    run(given, logp_spec_of(given.c), anchor=torch.full((6,), math.nan))
    run(given, logp_spec_of(given.c))
    assert paths == {"fused": 2, "rows": 0}


def test_a_gradient_by_entropy_reads_the_logits_from_its_first_chunk_on(monkeypatch, inputs, spec_of, head, paths, run):
    monkeypatch.setattr(head, "CHUNK_BYTES", 0)  # chunks of one tile of rows
    given = inputs(40, 100, 16)
    run(given, spec_of(given.c))
    assert paths == {"fused": 1, "rows": 3}


def test_rows_without_slope_are_left_out(inputs, exact, error, run, logp_spec_of):
    given = inputs(40, 100, 32)
    given.c[:, 10:] = 0
    truth, (_, _, gradients) = exact(given, logp_spec_of(given.c)), run(given, logp_spec_of(given.c))
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients)) <= 1e-5 and not gradients[0][10:].any()


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


def test_without_a_gradient_nothing_is_stored(monkeypatch, inputs, head, paths):
    given = inputs(3, 300, 32)
    monkeypatch.setattr(head.TritonHead, "_take", None)
    token_logps(given.hidden, given.weight, given.target, kernel="triton")
    assert paths == {"fused": 1, "rows": 0}


@pytest.mark.parametrize("rows, vocabulary, size", [
    (10, 300, 10), (16384, 151936, 4096), (65536, 152064, 4096), (5000, 151936, 2560), (300, 10**9, 128), (0, 64, 1),
])  # fmt: skip
def test_chunks_are_whole_tiles_within_their_bytes_and_alike(monkeypatch, head, rows, vocabulary, size):
    monkeypatch.setitem(head.triton_fused.TILE, "ROWS", 128)
    # 5 x 2^28 / (2 x 151936) = 4417, so at most 34 tiles of 128: 128 tiles in four chunks of 32, 40 in two of 20
    assert head.chunk_rows(rows, vocabulary) == size


def test_inputs_with_strides_are_read_by_them(inputs, spec_of, run):
    given, plain = inputs(9, 60, 16), inputs(9, 60, 16)
    given.hidden, given.weight = given.hidden.t().contiguous().t(), given.weight.t().contiguous().t()
    given.target = torch.stack([given.target, given.target], dim=1)[:, 0]
    for spec in (lambda logp, *_: logp, lambda logp, entropy, at: logp + entropy):  # whose slopes are expanded numbers
        one, other = run(given, spec), run(plain, spec, kernel="torch")
        assert max((a - b).abs().max().item() for a, b in zip((*one[1], *one[2]), (*other[1], *other[2]))) <= 2e-5


@pytest.mark.parametrize("rows, vocabulary", [(33, 512), (16, 300), (20, 257)])
def test_tiles_read_by_descriptors_are_those_read_by_pointers(monkeypatch, inputs, head, rows, vocabulary):
    given = inputs(rows, vocabulary, 96, scale=3.0)
    products = Products(Layer(given.weight.bfloat16()), mixed=True)
    products.operand, products.weight = torch.bfloat16, given.weight.bfloat16()
    hint = torch.full((rows,), -2.0)
    found = []
    for is_described in (False, True):
        monkeypatch.setattr(head.triton_fused, "describes", lambda *_, answer=is_described: answer)
        e = torch.empty(rows, 576, dtype=torch.bfloat16)[:, :vocabulary]
        sums = head.triton_fused.forward(given.hidden, given.target, hint, e, products)
        found.append([sums.peak, sums.logit, sums.others, sums.moment, e])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_the_exponentials_rows_are_aligned_whatever_the_vocabulary(inputs, head, run, logp_spec_of, monkeypatch):
    strides = []
    forward = head.triton_fused.forward

    def seen(hidden, target, hint, e, products):
        strides.append(e.stride(0))
        return forward(hidden, target, hint, e, products)

    monkeypatch.setattr(head.triton_fused, "forward", seen)
    given = inputs(9, 301, 32)
    run(given, logp_spec_of(given.c))
    assert strides == [320]


def test_no_rows_at_all_give_nothing(inputs, run, logp_spec_of):
    given = inputs(0, 300, 32)
    loss, values, gradients = run(given, logp_spec_of(given.c))
    assert loss == 0 and values[0].shape == (0,) and not gradients[1].any()
