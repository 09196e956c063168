"""Every preset through every head: torch, Triton in its interpreter, recomputed where both may, and float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from r1lab.kernels import policy_head, token_logps
from r1lab.objective.group import Again, Keep
from r1lab.objective.loss import row_loss
from r1lab.objective.presets import PRESETS
from r1lab.objective.samples import prepared_updates, samples_of_group
from r1lab.policy.packing import pack

VOCABULARY, WIDTH = 60, 16


@pytest.fixture
def batch_of(draw_group, answer):
    """Rows of several groups whose old, reference's and engine's log-probabilities are near -log V, some far off."""

    def batch_of(objective):
        random, samples = np.random.default_rng(0), []
        for number in range(2):
            group = draw_group(objective, [1.0, 0.0, 1.0, 0.0], number=number, engine=-4.0)
            if isinstance(kept := objective.rule.settle(group), Again):
                more = tuple(answer(request, float(place % 2)) for place, request in enumerate(kept.requests))
                kept = objective.rule.settle(replace(group, members=(*group.members, *more)))
            samples += samples_of_group(objective, kept.group) if isinstance(kept, Keep) else []
        near = dict.fromkeys(("old", "ref"), -4.1) | {"entropy": 4.0, "values": 0.3}
        told = [
            {name: (near[name] + 0.3 * random.normal(size=len(s.role))).astype(np.float32)
             for name in sorted({*objective.needs, "old"})}
            for s in samples
        ]  # fmt: skip
        (samples,) = prepared_updates(objective, [[replace(s, **each) for s, each in zip(samples, told)]], 1)
        samples = [sample for sample in samples if not sample.left_out]
        (batch,) = pack(samples, micro_batch_tokens=10**6, device=torch.device("cpu"))
        return batch

    return batch_of


def learned(objective, batch, hidden, weight, head):
    """Loss, log-probabilities, entropies and both gradients of one head."""
    leaves = [each.clone().requires_grad_() for each in (hidden, weight)]

    def spec(logp, entropy, *rest):
        *logq, at = rest
        return row_loss(objective, batch, logp, entropy, at, *logq)

    kernel, is_one_pass = head
    options = {"kappa": objective.kappa, "kernel": kernel, "temperature": 0.9}
    if is_one_pass:
        loss, logp, entropy, _ = policy_head(*leaves, batch.target, spec, anchor=batch.engine, **options)
    else:
        values = [each for each in token_logps(*leaves, batch.target, **options) if each is not None]
        loss, (logp, entropy) = spec(*values, slice(0, len(batch.target))).sum(), (each.detach() for each in values[:2])
    loss.backward()
    return loss.detach(), logp, entropy, leaves[0].grad, leaves[1].grad


def exact(objective, batch, hidden, weight):
    h, w = (each.double().requires_grad_() for each in (hidden, weight))
    logits, column = h @ w.T / 0.9, batch.target[:, None]
    logps = logits.log_softmax(-1)
    logp, entropy = logps.gather(1, column)[:, 0], -(logps.exp() * logps).sum(-1)
    logq = (logits / objective.kappa).log_softmax(-1).gather(1, column)[:, 0] if objective.kappa else None
    loss = row_loss(objective, batch, logp, entropy, slice(0, len(logp)), logq).sum()
    return loss.detach(), logp.detach(), entropy.detach(), *torch.autograd.grad(loss, (h, w))


def ratios(logp, batch):
    """Mean ratio, mean distance to the reference, and the share outside of 0.8 to 1.28."""
    ratio, ref = (logp.double() - batch.old).exp(), logp if batch.ref is None else batch.ref
    figures = ratio.mean(), (logp.double() - ref).mean(), ((ratio < 0.8) | (ratio > 1.28)).double().mean()
    return [figure.item() for figure in figures]


@pytest.mark.parametrize("kernel", ["torch", "triton"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_the_same_on_every_head(monkeypatch, made, batch_of, name, kernel):
    if kernel == "triton":
        pytest.importorskip("triton")
        from r1lab.kernels import triton_fused

        monkeypatch.setitem(triton_fused.FLOAT32_TILE, "ROWS", 16)
        monkeypatch.setitem(triton_fused.FLOAT32_TILE, "COLUMNS", 32)
    objective = made(preset=name, group_size=4)
    batch, random = batch_of(objective), torch.Generator().manual_seed(1)
    hidden = torch.randn(len(batch.target), WIDTH, generator=random)
    weight = torch.randn(VOCABULARY, WIDTH, generator=random) / WIDTH**0.5
    truth = exact(objective, batch, hidden, weight)
    for is_one_pass in {objective.is_local, False}:
        loss, logp, entropy, *gradients = learned(objective, batch, hidden, weight, (kernel, is_one_pass))
        assert loss.item() == pytest.approx(truth[0].item(), rel=1e-5, abs=1e-5)
        assert (logp - truth[1]).abs().max() <= 2e-5 and (entropy - truth[2]).abs().max() <= 5e-5
        for ours, theirs in zip(gradients, truth[3:]):
            assert (ours - theirs).norm() <= 1e-5 * theirs.norm()
        assert ratios(logp, batch) == pytest.approx(ratios(truth[1], batch), abs=1e-5)
