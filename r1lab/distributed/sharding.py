"""A model's weights on several ranks: each has all of them (ddp) or a part (fsdp2). Not how ranks meet
(`r1lab.distributed.ranks`).

The loss is a plain sum, so gradients are summed, never averaged. Replicated weights: one all-reduce after the last
micro-batch, in place of a DistributedDataParallel wrapper (it averages, and hooks a forward past which the loss head
reads its weight). Sharded weights: torch's `fully_shard` with a divisor of 1, on a CPU's mesh too, where accelerate
would replicate without a word. Parts are put together before they are written: no file depends on the ranks.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from r1lab.distributed import ranks
from r1lab.distributed.ranks import size

BUCKET_NUMBERS = 2**23
"""Numbers of one all-reduce."""


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


def shard(module: nn.Module | None, parallel: str) -> None:
    """Keep a part of every weight on each rank (FSDP2) where several ranks run and `parallel` says fsdp2."""
    if module is None or size() == 1 or parallel != "fsdp2":
        return
    mesh = init_device_mesh(next(module.parameters()).device.type, (size(),))
    for part in [*getattr(getattr(module, "base_model", None), "layers", []), module]:
        fully_shard(part, mesh=mesh)
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)  # gloo multiplies nothing while it sums
    if hasattr(module, "base_model"):
        setattr(module, "trunk", lambda **inputs: cast(Callable, module.base_model)(**inputs))  # noqa: B010
        register_fsdp_forward_method(module, "trunk")


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


def full_tensor(tensor: Tensor) -> Tensor:
    """A sharded tensor's parts put together, on every rank (a collective); any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


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
        found.update(full_tensor(tensor.detach()).cpu().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def whole_state(value: Any) -> Any:
    """The same state with sharded tensors put together in rank 0's host memory, None elsewhere (a collective)."""
    if isinstance(value, dict):
        return {key: whole_state(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole_state(item) for item in value]
    if not isinstance(value, DTensor):
        return value
    tensor = value.full_tensor()
    return tensor.cpu() if ranks.is_first() else None


def load(module: nn.Module, tensors: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]) -> None:
    """Copy whole tensors, by name or as they come, into a module; of each, each rank takes its part. Beside the module
    one of them is held at a time."""
    own, pairs = module.state_dict(), tensors.items() if isinstance(tensors, Mapping) else tensors
    with torch.no_grad():
        for name, tensor in cast(Iterable[tuple[str, Tensor]], pairs):
            own[name].copy_(_part(tensor, own[name]))


def stored(module: nn.Module, folder: Path) -> Iterator[tuple[str, Tensor]] | None:
    """The weights in a folder one by one, for a module that is sharded; None where it is not, or where the files have
    other names or shapes: whoever wrote them knows then how to read them."""
    if not is_sharded(module):
        return None
    files, shapes = sorted(folder.glob("*.safetensors")), {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    if shapes != {name: tuple(tensor.shape) for name, tensor in weights(module).items()}:
        return None

    def read() -> Iterator[tuple[str, Tensor]]:
        for path in files:
            with safe_open(path, framework="pt") as file:
                yield from ((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118

    return read()


def load_moments(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """`optimizer.load_state_dict` of whole tensors, of which each rank takes its part, one at a time: the optimizer
    would move whole ones to the device first. Nothing of the state is kept, which may lie in a file."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    parts = {
        index: {
            # `step` is a number, which no rank has a part of.
            key: _part(value, weights[index]).clone() if value.shape == weights[index].shape else value.clone()
            for key, value in moments.items()
        }
        for index, moments in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": parts})


def _part(tensor: Tensor, like: Tensor | None) -> Tensor:
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device, like.dtype), like.device_mesh, like.placements, src_data_rank=None)
