"""Both heads on every form of the output layer: one meaning, float64's, whatever is frozen, capped, biased or cold."""

import copy
import itertools
import math

import pytest
import torch

from r1lab.kernels import policy_head, products, token_logps, torch_head

FORMS = {
    "plain": {},
    "cold": {"temperature": 0.6},
    "biased": {"biased": True, "temperature": 0.6},
    "capped": {"softcap": 2.0, "temperature": 0.6},
    "capped and biased": {"softcap": 5.0, "biased": True},
    "kappa": {"kappa": 0.7, "temperature": 1.5},
    "warm kappa": {"kappa": 30.0, "biased": True},
    "all": {"kappa": 0.7, "temperature": 0.6, "softcap": 4.0, "biased": True},
}


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def form(request):
    return dict(request.param)


@pytest.mark.parametrize("recompute", [False, True], ids=["one pass", "recompute"])
def test_every_form_of_the_layer_is_that_of_float64(inputs, spec_of, exact, error, run, form, recompute):
    given = inputs(23, 300, 48, scale=3.0)
    loss, values, gradients = run(given, spec_of(given.c), recompute=recompute, **form)
    if form.pop("biased", False):
        form["bias"] = given.bias
    truth = exact(given, spec_of(given.c), **form)
    assert loss.item() == pytest.approx(truth.loss.item(), rel=1e-5, abs=1e-4)
    assert max((a - b).abs().max().item() for a, b in zip(values, truth.values, strict=True)) <= 2e-5
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients, strict=True)) <= 1e-5


def test_the_two_heads_agree(monkeypatch, inputs, spec_of, error, run, form):
    monkeypatch.setattr(torch_head, "WHOLE_BYTES", 0)
    monkeypatch.setattr(torch_head, "CHUNK_BYTES", 4 * 300 * 7)  # of 23 rows: 6, 6, 6, 5
    given = inputs(23, 300, 48)
    one, two = (run(given, spec_of(given.c), recompute=each, **form) for each in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(one[1], two[1], strict=True))
    assert max(error(a, b) for a, b in zip(one[2], two[2], strict=True)) <= 1e-6


def test_blocks_and_chunks_change_nothing(monkeypatch, inputs, spec_of, error, run, form):
    given = inputs(23, 300, 48)
    whole = run(given, spec_of(given.c), **form)
    monkeypatch.setattr(torch_head, "WHOLE_BYTES", 0)
    monkeypatch.setattr(torch_head, "CHUNK_BYTES", 4 * 300 * 5)
    monkeypatch.setattr(torch_head, "BLOCK_NUMBERS", 2 * 300)
    parts = run(given, spec_of(given.c), **form)
    assert max(error(a, b) for a, b in zip(parts[2], whole[2])) <= 1e-6


@pytest.mark.parametrize("recompute", [False, True], ids=["one pass", "recompute"])
def test_each_slope_alone_is_enough(inputs, exact, error, run, recompute):
    given, form = inputs(9, 100, 32), {"kappa": 0.7}
    for wanted in range(3):

        def spec(*values, wanted=wanted):
            return given.c[0, values[-1]].to(values[0].dtype) * values[wanted]

        truth, (_, _, gradients) = exact(given, spec, **form), run(given, spec, recompute=recompute, **form)
        assert max(error(a, b) for a, b in zip(gradients, truth.gradients, strict=True)) <= 1e-5


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_rows_without_slope_are_left_out_and_cost_nothing_else(inputs, spec_of, exact, error, run, share):
    given = inputs(40, 100, 32)
    given.c *= (torch.arange(40) < share * 40)[torch.randperm(40, generator=torch.Generator().manual_seed(1))]
    truth, (_, _, gradients) = exact(given, spec_of(given.c)), run(given, spec_of(given.c))
    assert max(error(a, b) for a, b in zip(gradients, truth.gradients, strict=True)) <= 1e-5
    assert not gradients[0][~given.c.any(dim=0)].any()


def test_a_loss_of_nothing_moves_nothing(inputs):
    given = inputs(5, 64, 32)
    hidden = given.hidden.requires_grad_()
    loss, *_ = policy_head(hidden, given.weight, given.target, lambda logp, entropy, at: torch.zeros(5))
    loss.backward()
    assert loss.item() == 0 and not hidden.grad.any()


def test_no_rows_at_all_give_a_loss_of_zero(inputs):
    given = inputs(0, 64, 32)
    hidden, weight = given.hidden.requires_grad_(), given.weight.requires_grad_()
    loss, logp, entropy, _ = policy_head(hidden, weight, given.target, lambda logp, entropy, at: logp)
    loss.backward()
    assert loss.item() == 0 and logp.shape == entropy.shape == (0,) and not weight.grad.any()


def test_the_upstream_gradient_multiplies_all_gradients(inputs, spec_of, run):
    given, form = inputs(5, 64, 32), {"biased": True}
    for once, thrice in zip(
        run(given, spec_of(given.c), **form)[2], run(given, spec_of(given.c), factor=-3.0, **form)[2]
    ):
        torch.testing.assert_close(thrice, -3 * once)


def test_a_second_backward_pass_is_refused(inputs):
    given = inputs(5, 64, 32)
    loss = policy_head(given.hidden.requires_grad_(), given.weight, given.target, lambda logp, *_: logp).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="gone after one backward; call policy_head again"):
        loss.backward()


def test_nothing_is_differentiated_under_no_grad(monkeypatch, inputs):
    given = inputs(5, 64, 32)
    monkeypatch.setattr(torch_head.TorchHead, "gradient", None)
    with torch.no_grad():
        policy = policy_head(given.hidden.requires_grad_(), given.weight, given.target, lambda logp, *_: logp)
    assert policy.loss.item() == pytest.approx(policy.logp.sum().item()) and not policy.loss.requires_grad


def test_without_entropy_nothing_else_changes(inputs):
    given = inputs(5, 64, 32)
    lean, full = (token_logps(given.hidden, given.weight, given.target, entropy=each) for each in (False, True))
    assert lean.entropy is None and torch.equal(lean.logp, full.logp)


def test_a_frozen_head_costs_two_products_and_frozen_hidden_states_too(monkeypatch, inputs):
    given, calls = inputs(5, 64, 32), []
    for name in ("logits", "by_hidden", "by_weight"):
        method = getattr(products.Products, name)

        def counted(*given, name=name, method=method, **options):
            calls.append(name)
            return method(*given, **options)

        monkeypatch.setattr(products.Products, name, counted)
    for frozen in ("weight", "hidden"):
        leaves = {name: getattr(given, name).clone().requires_grad_(name != frozen) for name in ("hidden", "weight")}
        policy_head(*leaves.values(), given.target, lambda logp, *_: logp).loss.backward()
    assert calls == ["logits", "by_hidden", "logits", "by_weight"]


def test_tied_embeddings_get_the_sum_of_both_gradients(inputs, error):
    given, ids = inputs(6, 50, 16), torch.arange(6)
    table = given.weight.clone().requires_grad_()
    policy_head(table[ids] * 2, table, given.target, lambda logp, *_: logp).loss.backward()
    truth = given.weight.double().requires_grad_()
    (truth[ids] * 2 @ truth.T).log_softmax(-1).gather(1, given.target[:, None]).sum().backward()
    assert error(table.grad, truth.grad) <= 1e-5


@pytest.mark.parametrize("cut", [(5,), (1, 2, 3, 40), (13, 30)])
def test_micro_batches_of_any_size_sum_to_the_whole(inputs, error, cut):
    given = inputs(48, 200, 32)

    def total(parts):
        weight = given.weight.clone().requires_grad_()
        for start, end in parts:
            at = slice(start, end)
            policy_head(
                given.hidden[at], weight, given.target[at],
                lambda logp, entropy, rows, at=at: (given.c[0, at][rows] * logp + given.c[1, at][rows] * entropy),
            ).loss.backward()  # fmt: skip
        return weight.grad

    edges = [0, *cut, 48]
    assert error(total(itertools.pairwise(edges)), total([(0, 48)]).double()) <= 1e-6


def test_many_chunks_sum_as_exactly_as_one(monkeypatch, inputs, spec_of, exact, error, run):
    given = inputs(64, 500, 32)
    truth, one = exact(given, spec_of(given.c)), run(given, spec_of(given.c))
    monkeypatch.setattr(torch_head, "WHOLE_BYTES", 0)
    monkeypatch.setattr(torch_head, "CHUNK_BYTES", 4 * 500)
    many = run(given, spec_of(given.c))
    assert error(many[2][1], truth.gradients[1]) <= max(1.1 * error(one[2][1], truth.gradients[1]), 1e-6)


def mixed(monkeypatch):
    monkeypatch.setattr(products, "bfloat16_pays", lambda: True)
    return {"mixed": True}


def test_mixed_mode_keeps_the_values_and_rounds_only_gradients(monkeypatch, inputs, spec_of, exact, error, run, form):
    given = inputs(64, 300, 48, scale=3.0)
    full, low = run(given, spec_of(given.c), **form), run(given, spec_of(given.c), **form, **mixed(monkeypatch))
    assert all(torch.equal(a, b) for a, b in zip(full[1], low[1]))
    if form.pop("biased", False):
        form["bias"] = given.bias
    truth = exact(given, spec_of(given.c), **form)
    errors = [error(a, b) for a, b in zip(low[2], truth.gradients, strict=True)]
    assert max(errors) <= 4e-3 and errors[0] > 1e-5


def test_a_not_a_number_comes_out_as_one(inputs):
    given = inputs(4, 64, 32)
    given.hidden[2, 3] = math.nan
    policy = policy_head(given.hidden, given.weight, given.target, lambda logp, *_: logp)
    assert policy.logp.isnan().tolist() == policy.entropy.isnan().tolist() == [False, False, True, False]
    assert policy.loss.isnan()


def test_a_bias_of_minus_infinity_is_a_token_that_never_comes(inputs, error, exact, run, spec_of):
    given = inputs(6, 40, 16)
    given.target[:] = torch.arange(6)
    given.bias[30:] = -math.inf
    _, values, gradients = run(given, spec_of(given.c), biased=True)
    shorter = copy.copy(given)
    shorter.weight, shorter.bias = given.weight[:30], given.bias[:30]
    truth = exact(shorter, spec_of(given.c), bias=shorter.bias)
    assert max((a - b).abs().max().item() for a, b in zip(values, truth.values)) <= 2e-5
    assert error(gradients[0], truth.gradients[0]) <= 1e-5 and gradients[1][30:].abs().max() < 1e-30


BAD = [
    ({"hidden": (4, 3)}, r"hidden \[4, 3\] does not fit weight \[10, 5\]"),
    ({"target": (3,)}, r"target torch.int64 \[3\] does not fit hidden \[4, 5\]"),
    ({"bias": (9,)}, r"bias \[9\] does not fit weight \[10, 5\]"),
    ({"temperature": 0.0}, r"temperature: 0.0 must be above 0"),
    ({"softcap": -1.0}, r"softcap: -1.0 must be above 0"),
    ({"kernel": "cuda"}, r"kernel: 'cuda' is unknown; use auto, torch, triton"),
]


@pytest.mark.parametrize("change, message", BAD, ids=[next(iter(change)) for change, _ in BAD])
def test_what_does_not_fit_is_refused_in_one_line(change, message):
    shapes = {"hidden": (4, 5), "weight": (10, 5), "target": (4,)}
    tensors = {name: change.pop(name, shape) for name, shape in shapes.items()}
    made = {
        name: torch.zeros(shape, dtype=torch.int64 if name == "target" else None) for name, shape in tensors.items()
    }
    bias = torch.zeros(change.pop("bias")) if "bias" in change else None
    with pytest.raises(ValueError, match=message):
        token_logps(*made.values(), bias=bias, **change)


def test_tensors_on_two_devices_are_refused_with_both_shapes():
    hidden, weight, target = torch.zeros(4, 5), torch.zeros(10, 5, device="meta"), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"hidden \[4, 5\] is on cpu, weight \[10, 5\] on meta; move them"):
        token_logps(hidden, weight, target)
