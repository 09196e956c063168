"""LoRA adapters in vLLM: with what options it is started for one, and how a worker takes one from memory.

vLLM reads adapters from folders. Here its manager is handed one made of tensors, under the number that every request
carries, so it never looks for one. Not the policy's side (`r1lab.policy.lora`). Written against vLLM 0.32.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from r1lab.policy.lora import Adapter
from r1lab.recipe import LoraConfig

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""That vLLM has room for."""
NUMBER, NOWHERE = 1, "/nowhere"
"""The adapter's in vLLM, and the path that it wants a request to name."""


def too_wide(lora: LoraConfig | None) -> str | None:
    """Why vLLM has no room for such an adapter, None where it has."""
    if lora is None or lora.rank <= RANKS[-1]:
        return None
    return f"lora.rank: {lora.rank} is more than {RANKS[-1]}, the most that vLLM takes"


def options(adapter: Adapter) -> dict[str, Any]:
    """Options of vLLM's start: room for one adapter of at least this rank beside the layers of these names alone."""
    return {
        "enable_lora": True,
        "max_loras": 1,
        "max_lora_rank": next(rank for rank in RANKS if rank >= adapter.rank),
        "lora_target_modules": sorted({name.rpartition(".")[2] for name in adapter.layers}),
    }


def settings(adapter: Adapter) -> dict[str, Any]:
    """An adapter's settings by peft's names."""
    return {"r": adapter.rank, "lora_alpha": adapter.alpha, "target_modules": []}


def request():
    """The `LoRARequest` of every request."""
    from vllm.lora.request import LoRARequest

    return LoRARequest("policy", NUMBER, NOWHERE)


def put(manager, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
    """Let the worker's manager of adapters hold this one, in the place of the last. `tensors` are changed."""
    from vllm.lora.lora_model import LoRAModel
    from vllm.lora.peft_helper import PEFTHelper

    held, helper = manager._adapter_manager, PEFTHelper.from_dict(dict(settings))
    kind = {"device": manager.device, "dtype": manager.lora_config.lora_dtype}
    renames = _renames(held.model)
    adapter = LoRAModel.from_lora_tensors(NUMBER, dict(tensors), helper, weights_mapper=renames, **kind)
    held.remove_adapter(NUMBER)
    held.add_adapter(adapter)
    held.activate_adapter(NUMBER)


def lacking(manager, layers: Iterable[str]) -> list[str]:
    """Those of the policy's layers beside which vLLM has no room for matrices."""
    from vllm.lora.utils import parse_fine_tuned_lora_name

    held = manager._adapter_manager
    known = {*held.modules, *chain.from_iterable(held.packed_modules.values())}
    names = {name: parse_fine_tuned_lora_name(f"{name}.lora_A.weight", _renames(held.model))[0] for name in layers}
    return [name for name, theirs in names.items() if theirs not in known]


def multiply_plainly(manager) -> None:
    """On a CPU vLLM copies the matrices once for every token, to choose among adapters; one needs no choice."""
    if manager.device.type == "cpu":
        for wrapper in manager._adapter_manager.punica_wrapper_mapping.values():
            _replace_products(wrapper)


def _replace_products(wrapper) -> None:
    def shrink(out: Tensor, hidden: Tensor, stacked: Tensor, scale: float) -> None:
        if not wrapper.no_lora:
            torch.mm(hidden.to(out.dtype), stacked[0, 0].to(out.dtype).T, out=out).mul_(scale)

    def expand(out: Tensor, low: Tensor, stacked: Tensor, start: int, size: int, add_inputs: bool = True) -> None:
        if not wrapper.no_lora:
            out[:, start : start + size] += low.to(out.dtype) @ stacked[0, 0].to(out.dtype).T

    wrapper._apply_shrink, wrapper._apply_expand = shrink, expand


def _renames(model):
    """From the names of the checkpoint's layers to those of vLLM's, None where they are the same."""
    mapper = getattr(model, "hf_to_vllm_mapper", None)
    return None if mapper is None else mapper.get_rename_mapper()
