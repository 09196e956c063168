"""Check the tensors that a sync of vLLM brings: all of the model's weights, each once, and all matrices of its adapter.

Not how they travel (`r1lab.engines.vllm.engine`).
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from r1lab.policy import lora

Named = list[tuple[str, Tensor]]
Expected = dict[str, tuple[torch.Size, str | None]]
"""Name -> shape and the name to send it by: a tied weight has several names and is sent once, a buffer never."""


def expected_weights(model) -> Expected:
    """The weights of a model, those below an adapter where it has one."""
    first: dict[int, str] = {}
    shapes: Expected = {name: (buffer.shape, None) for name, buffer in model.named_buffers()}
    for name, weight in lora.base_weights(model, remove_duplicate=False):
        shapes[name] = weight.shape, first.setdefault(id(weight), name)
    return shapes


def split_adapter(named_tensors: Iterable[tuple[str, Tensor]]) -> tuple[Named, Named]:
    """Split what a sync brings into weights and an adapter's matrices."""
    weights, matrices = [], []
    for name, tensor in named_tensors:
        (matrices if name.startswith(lora.PREFIX) else weights).append((name, tensor))
    return weights, matrices


def complete(named_tensors: Iterable[tuple[str, Tensor]], wanted: Expected) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors to send as they come, each once. ValueError where one is not wanted or, in the end, missing."""
    missing = dict.fromkeys(alias for _, alias in wanted.values() if alias)
    for name, tensor in named_tensors:
        shape, alias = wanted.get(name, (None, None))
        if shape != tensor.shape:
            has = "no such weight" if shape is None else f"shape {list(shape)}, not {list(tensor.shape)}"
            raise ValueError(f"sync of {name!r}: the engine has {has}; sync the model that it was made for")
        if alias in missing:
            del missing[alias]
            yield alias, tensor
    if missing:
        raise ValueError(f"sync left out {len(missing)} weights, {next(iter(missing))!r} first; send all")


def expected_matrices(model) -> Expected:
    """The matrices of a model's adapter."""
    return {name: (matrix.shape, name) for name, matrix in lora.adapter_matrices(model)}
