"""Both loss heads over chunks of rows: gradients formed beside the values (three products), or recomputed (four).

Neither knows a loss by name or how exponentials are made: `TorchHead` and `TritonHead` make them. Memory beyond the
inputs: one chunk of logits, the two gradients, and in bfloat16 a copy of the weight and the chunk's exponentials.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from r1lab.kernels.layer import Layer
from r1lab.kernels.products import Products
from r1lab.kernels.rows import Slopes, Sums, differentiate

COMPACT_SHARE = 0.75
"""Rows without any slope are taken out of the gradient's products where at most this share stays: that is a copy."""


@dataclass(frozen=True, eq=False)
class HeadPlan:
    """How a head is computed."""

    layer: Layer
    """Its weight and bias are left out of what is differentiated here: they are arguments of their own."""
    make: Callable
    """(layer, products, rows) -> TorchHead or TritonHead."""
    chunk_rows: Callable
    """(rows, vocabulary, on_gpu) -> rows of a chunk."""
    mixed: bool
    differentiate: bool = True
    """False under no_grad, which a function of autograd cannot see from inside."""
    anchor: Tensor | None = None
    """About the target's log-probability, float32 [N]; NaN where nothing is known."""
    entropy: bool = True


class Chunks:
    """One pass over the rows: values of each chunk and, for those that are asked for, its part of the gradients."""

    def __init__(self, plan: HeadPlan, hidden: Tensor, target: Tensor, needs: tuple[bool, bool, bool]):
        self.hidden, self.target, self.plan = hidden.detach(), target, plan
        self.products = Products(plan.layer, mixed=plan.mixed)
        self.size = plan.chunk_rows(len(target), len(plan.layer.weight), on_gpu=hidden.device.type == "cuda")
        self.head = plan.make(plan.layer, self.products, self.size)
        shapes = (hidden.shape, plan.layer.weight.shape, plan.layer.weight.shape[:1])
        self.gradients = [self._zeros(shape) if need else None for shape, need in zip(shapes, needs)]
        """By hidden, weight and bias; float32, whatever their precision."""
        self._has_weight_gradient = False

    def __iter__(self) -> Iterator[tuple[slice, Sums]]:
        """Each chunk's rows and sums; `add` is for the chunk given last."""
        keep = any(gradient is not None for gradient in self.gradients)
        for start in range(0, len(self.target), self.size):
            at = slice(start, min(start + self.size, len(self.target)))
            anchor = None if self.plan.anchor is None else self.plan.anchor[at]
            yield at, self.head.forward(self.hidden[at], self.target[at], anchor, keep=keep)

    def add(self, at: slice, sums: Sums, slopes: Slopes) -> None:
        """The gradients of the chunk's rows."""
        if all(gradient is None for gradient in self.gradients):
            return
        active = slopes.active()
        count = int(active.sum())
        if not count:
            return
        grad, row_scale = self.head.gradient(self.target[at], sums, slopes)
        by_hidden, by_weight, by_bias = self.gradients
        hidden, rows = self.hidden[at], None
        if count <= COMPACT_SHARE * len(active):
            rows = active.nonzero()[:, 0]
            grad, row_scale, hidden = grad[rows], row_scale[rows], hidden[rows]
        if by_hidden is not None:
            into = by_hidden[at] if rows is None else torch.empty_like(by_hidden[: len(rows)])
            self.products.by_hidden(grad, row_scale, into)
            if rows is not None:
                by_hidden[at][rows] = into
        if by_weight is not None:
            self.products.by_weight(grad, row_scale, hidden, by_weight, is_first=not self._has_weight_gradient)
            self._has_weight_gradient = True
        if by_bias is not None:
            self.products.by_bias(grad, row_scale, by_bias)

    def _zeros(self, shape: Sequence[int]) -> Tensor:
        return torch.zeros(shape, dtype=torch.float32, device=self.hidden.device)


class PolicyHead(torch.autograd.Function):
    """(loss, logp, entropy, logq); only the loss carries a gradient, formed in the forward pass."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, target, spec, plan):
        needs = tuple(need and plan.differentiate for need in ctx.needs_input_grad[:3])
        chunks = Chunks(plan, hidden, target, needs)
        loss, values = torch.zeros((), device=hidden.device), _Values(target, plan)
        for at, sums in chunks:
            part, slopes = differentiate(spec, values.put(at, sums), at)
            loss += part
            chunks.add(at, sums, slopes)
        ctx.gradients = chunks.gradients
        ctx.dtypes = [None if each is None else each.dtype for each in (hidden, weight, bias)]
        found = values.all()
        ctx.mark_non_differentiable(*(each for each in found if each is not None))
        return loss, *found

    @staticmethod
    def backward(ctx, grad_loss, *_):
        if ctx.gradients is None:
            raise RuntimeError("the loss head's gradients are gone after one backward; call policy_head again")
        gradients, ctx.gradients = ctx.gradients, None
        # On the device, in place: comparing it with 1 would wait for the device.
        return *(_scaled(grad, grad_loss, dtype) for grad, dtype in zip(gradients, ctx.dtypes)), None, None, None


class TokenLogps(torch.autograd.Function):
    """(logp, entropy, logq), differentiable in all; the backward pass computes the logits again."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, target, plan):
        values = _Values(target, plan)
        for at, sums in Chunks(plan, hidden, target, (False, False, False)):
            values.put(at, sums)
        ctx.save_for_backward(hidden, weight, bias, target)
        ctx.plan = plan
        ctx.set_materialize_grads(False)
        return values.all()

    @staticmethod
    def backward(ctx, *slopes):
        hidden, weight, bias, target = ctx.saved_tensors
        given = Slopes(*slopes)
        if given.logp is given.entropy is given.logq is None:
            return None, None, None, None, None
        plan = replace(ctx.plan, layer=replace(ctx.plan.layer, weight=weight, bias=bias))
        chunks = Chunks(plan, hidden, target, ctx.needs_input_grad[:3])
        for at, sums in chunks:
            chunks.add(at, sums, given.take(at))
        pairs = zip(chunks.gradients, (hidden, weight, bias))
        return *(None if gradient is None else gradient.to(like.dtype) for gradient, like in pairs), None, None


class _Values:
    """logp, entropy and logq [N] of all rows, filled chunk by chunk; None for what was not asked for."""

    def __init__(self, target: Tensor, plan: HeadPlan):
        self.kappa = plan.layer.kappa
        wanted = (True, plan.entropy, self.kappa is not None)
        make = {"dtype": torch.float32, "device": target.device}
        self.vectors = [torch.empty(len(target), **make) if want else None for want in wanted]

    def put(self, at: slice, sums: Sums) -> list[Tensor]:
        """The chunk's values, those that were asked for."""
        logq = None if self.kappa is None else sums.logq(self.kappa)
        computed = (sums.logp(), None if self.vectors[1] is None else sums.entropy(), logq)
        for vector, value in zip(self.vectors, computed):
            if vector is not None and value is not None:
                vector[at] = value
        return [value for value in computed if value is not None]

    def all(self) -> tuple[Tensor | None, ...]:
        return tuple(self.vectors)


def _scaled(gradient: Tensor | None, factor: Tensor, dtype: torch.dtype | None) -> Tensor | None:
    return None if gradient is None else gradient.mul_(factor).to(dtype)
