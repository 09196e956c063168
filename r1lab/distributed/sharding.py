"""A model's weights on several ranks: each has all of them (ddp) or a part (fsdp2). Not how ranks meet
(`r1lab.distributed.ranks`).

The loss is a plain sum, so gradients are summed, never averaged. Replicated weights: one all-reduce after the last
micro-batch, in place of a DistributedDataParallel wrapper (it averages, and hooks a forward past which the loss head
reads its weight). Sharded weights: torch's `fully_shard` with a divisor of 1, on a CPU's mesh too, where accelerate
would replicate without a word. A model that is handed on is written whole: it does not depend on the ranks. Files of
parts are `r1lab.distributed.parts`'.
"""

import hashlib
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from r1lab.distributed import parts, ranks
from r1lab.distributed.ranks import size

BUCKET_NUMBERS = 2**23
"""Numbers of one all-reduce."""
NamedTensors = Iterable[tuple[str, Tensor]]
Source = Tensor | parts.StoredTensor


def sum_gradients(weights: Sequence[Tensor]) -> None:
    """Sum every replicated weight's gradient over the ranks; the backward pass has done so for sharded ones."""
    if size() == 1:
        return
    bucket: list[Tensor] = []
    # None is missing, not even of a rank without rows: all ranks must send the same buckets.
    gradients = cast(list[Tensor], [weight.grad for weight in weights if not isinstance(weight, DTensor)])
    for gradient in gradients:
        is_full = sum(map(Tensor.numel, [*bucket, gradient])) > BUCKET_NUMBERS
        if bucket and (is_full or bucket[0].dtype != gradient.dtype):
            _sum(bucket)
            bucket = []
        bucket.append(gradient)
    _sum(bucket)


def _sum(tensors: list[Tensor]) -> None:
    if not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def clip_gradients(weights: Sequence[Tensor], most: float) -> float:
    """Scale the gradients so that their norm over all ranks is at most `most`; returns the norm before."""
    norm = torch.nn.utils.clip_grad_norm_(weights, most)
    return float(full_tensor(norm))


def shard(module: nn.Module, device: torch.device) -> None:
    """Keep a part of every weight on each rank (FSDP2), on the device. Weights without memory stay so."""
    mesh = init_device_mesh(device.type, (size(),))
    for part in [*getattr(getattr(module, "base_model", None), "layers", []), module]:
        fully_shard(part, mesh=mesh)
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)  # gloo multiplies nothing while it sums
    if hasattr(module, "base_model"):
        setattr(module, "trunk", lambda **inputs: cast(Callable, module.base_model)(**inputs))  # noqa: B010
        register_fsdp_forward_method(module, "trunk")


def shard_filled(module: nn.Module, device: torch.device, buffers: Mapping[str, Tensor], named: NamedTensors) -> None:
    """Shard a model that has no memory for its weights yet and fill each rank's parts, one whole tensor at a time."""
    shard(module, device)
    module.to_empty(device=device)
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            buffer.copy_(buffers[name])
    load(module, named)


def resolved(parallel: str, fits: Callable[[float], bool]) -> str:
    """What `parallel: auto` is: fsdp2 where the launcher asks for FSDP, or where what a step needs with replicated
    weights does not fit a GPU (`fits` of its bytes); else ddp."""
    if parallel != "auto" or size() == 1:
        return parallel
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        return "fsdp2"
    card = card_bytes()
    return "ddp" if not card or fits(card) else "fsdp2"


def card_bytes() -> int:
    """Memory of this process's GPU; 0 without one."""
    return (
        torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory if torch.cuda.is_available() else 0
    )


def is_sharded(module: nn.Module) -> bool:
    return isinstance(module, FSDPModule)


def trunk(model: nn.Module) -> Callable:
    """The model without its output layer, whose weight, where sharded, is whole from here to the end of the pass.

    A sharded model must run it as its own forward: then the gradient that the loss head leaves on the output layer's
    weight, tied or not, is summed over the ranks with the rest.
    """
    return cast(Callable, model.trunk if is_sharded(model) else model.base_model)


def reshard(model: nn.Module) -> None:
    """After a pass without gradient: give back what a sharded model's output layer holds of the other ranks."""
    if isinstance(model, FSDPModule):
        model.reshard()


def missing_passes(model: nn.Module, batches: int) -> int:
    """How many batches another rank has more: a sharded model's forward passes wait for all ranks."""
    return max(ranks.gather(lambda: batches)) - batches if is_sharded(model) else 0


def full_tensor(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A sharded tensor's parts put together, on every rank (a collective), cast to `dtype` before where that is
    narrower; any other as it is."""
    if not isinstance(tensor, DTensor):
        return tensor
    if dtype is not None and tensor.is_floating_point() and dtype.itemsize < tensor.dtype.itemsize:
        tensor = cast(DTensor, tensor.to(dtype))
    return tensor.full_tensor()


def give_first(tensors: Mapping[str, Tensor], take: Callable[[str, Tensor], Any]) -> None:
    """Let `take` on rank 0 have each tensor's parts, one after the other, which put together are the tensor (a
    collective). Where it raises, the rest is sent all the same, so that no rank waits; then the run ends on all."""
    fault: Exception | None = None
    for name, tensor in tensors.items():
        for part in _sent_to_first(tensor.detach()):
            try:
                if fault is None:
                    take(name, part)
            except Exception as error:  # whatever it is, all end with it
                fault = error
    ranks.raise_together(fault)


def _sent_to_first(tensor: Tensor) -> Iterator[Tensor]:
    """On rank 0 the parts in the host's memory, in order; nothing elsewhere."""
    if not isinstance(tensor, DTensor):
        yield from [tensor] if ranks.is_first() else []
        return
    own, group = tensor.to_local().cpu().contiguous(), ranks.meeting_group()
    if not ranks.is_first():
        if len(own):
            dist.send(own, 0, group)
        return
    yield own
    for rank in range(1, size()):
        begin, end = _rows(tensor, rank)
        if begin < end:
            part = torch.empty((end - begin, *tensor.shape[1:]), dtype=tensor.dtype)
            dist.recv(part, rank, group)
            yield part


def _rows(tensor: DTensor, rank: int) -> tuple[int, int]:
    """The rows that a rank has of a tensor: as torch cuts it, the last ranks may have fewer or none."""
    most = -(-len(tensor) // size())
    return min(rank * most, len(tensor)), min((rank + 1) * most, len(tensor))


def weights(model: nn.Module) -> dict[str, Tensor]:
    """`model.state_dict()`, a tied weight once."""
    again = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    again -= {name for name, _ in model.named_parameters()}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in again}


def digest_of(model: nn.Module) -> str:
    """A hash of the names and bits of all weights (a collective where they are sharded)."""
    found = hashlib.blake2b(digest_size=12)
    for name, tensor in weights(model).items():
        found.update(name.encode())
        found.update(bytes_of(full_tensor(tensor.detach())))
    return found.hexdigest()


def bytes_of(tensor: Tensor) -> memoryview:
    """A tensor's bytes, of one on the host without a copy."""
    return tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data


def load(module: nn.Module, tensors: Mapping[str, Source] | Iterable[tuple[str, Source]]) -> None:
    """Copy tensors, by name or as they come, into a module; of whole ones each rank takes its part. Beside the module
    one of them is held at a time."""
    own, pairs = module.state_dict(), tensors.items() if isinstance(tensors, Mapping) else tensors
    for name, tensor in cast(Iterable[tuple[str, Source]], pairs):
        fill(own[name], tensor)


@torch.no_grad()
def fill(target: Tensor, source: Source) -> None:
    """Copy a tensor in; of a whole one a sharded target takes its part. ValueError where the shapes differ."""
    if isinstance(source, parts.StoredTensor):
        return source.read(target)
    if source.shape != target.shape:
        raise ValueError(f"a tensor of shape {list(source.shape)} does not fill one of {list(target.shape)}")
    if isinstance(target, DTensor) and not isinstance(source, DTensor):
        begin, end = _rows(target, ranks.rank())
        target, source = target.to_local(), source[begin:end]
    target.copy_(source)


def stored(module: nn.Module, files: Sequence[Path], given: Container[str] = ()) -> NamedTensors | None:
    """The weights in safetensors files, one by one, but for those given otherwise. None where the files have not each
    once and in its shape: whoever wrote them knows then how to read them."""
    wanted = {name: tuple(tensor.shape) for name, tensor in weights(module).items() if name not in given}
    tied = getattr(module, "all_tied_weights_keys", None) or ()  # where files have such a one too, it may be another
    prefix, places = getattr(module, "base_model_prefix", ""), dict[str, tuple[Path, str]]()
    for path in files:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                name = key if key in wanted else f"{prefix}.{key}"
                if key in tied or name in places:
                    return None
                if tuple(file.get_slice(key).get_shape()) == wanted.get(name):
                    places[name] = path, key
    if places.keys() != wanted.keys():
        return None

    def read() -> Iterator[tuple[str, Tensor]]:
        for name, (path, key) in places.items():
            with safe_open(path, framework="pt") as file:  # anew for each: what was read of it is given back
                yield name, file.get_tensor(key)

    return read()


def load_moments(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """`optimizer.load_state_dict` of whole or stored tensors, of which each rank takes its part, one at a time: the
    optimizer would move whole ones to the device first. Nothing of the state is kept, which may lie in a file."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]

    def own(value: Source, weight: Tensor) -> Tensor:
        if not isinstance(value, parts.StoredTensor) and value.shape != weight.shape:
            return value.clone()  # `step` is a number, which no rank has a part of
        found = torch.empty_like(weight, requires_grad=False)
        fill(found, value)
        return found

    moments = {
        index: {key: own(value, weights[index]) for key, value in of_weight.items()}
        for index, of_weight in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})
