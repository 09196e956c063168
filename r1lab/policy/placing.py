"""What a process holds of a stage's models: all of them, or a part, read without any process holding the whole. Not
how weights are sharded (`r1lab.distributed.sharding`), nor how a whole model is read (`r1lab.policy.models`).
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from r1lab.distributed import ranks, sharding
from r1lab.policy import memory, models
from r1lab.recipe import TrainStageConfig


def asks_for_parts(stage: TrainStageConfig, location: str, reference: str | None) -> bool:
    """Whether each process of the run holds a part of the stage's model; `reference` is where that is, if it needs
    one."""

    def fits(card_bytes: float) -> bool:
        beside: dict[str, Any] = {"engine": memory.likely_engine(stage), "card_bytes": card_bytes}
        if reference is not None:
            beside["reference"] = models.load_config(reference)
        config = models.load_config(location)
        return memory.need(config, stage, needs_ref=reference is not None, **beside).fits(card_bytes)

    is_whole = stage.lora is not None or ranks.size() == 1
    return not is_whole and sharding.resolved(stage.parallel, fits) == "fsdp2"


def read_parts(
    load: Callable[..., PreTrainedModel],
    location: str,
    device: torch.device,
    new_weights: Callable[[PreTrainedModel], dict[str, Tensor]],
) -> PreTrainedModel:
    """This rank's part of the model that `load(is_empty=...)` makes, on the device; `new_weights` are those that the
    files have not.

    A model that transformers changes on its way in, or whose files are not safetensors, is read whole and then cut.
    """
    if files := models.weight_files(location):
        model = load(is_empty=True)
        new = new_weights(model)
        named = sharding.stored(model, files, new) if models.is_as_stored(model) else None
        if named is not None:
            sharding.shard_filled(model, device, _buffers(model), chain(named, new.items()))
            return model
    model = load()
    sharding.shard(model, device)
    return model


def value_head(model: PreTrainedModel, device: torch.device, is_split: bool) -> nn.Linear:
    """From a hidden state to the reward still to come; zero at first. It is no part of the Hugging Face folder."""
    head = nn.Linear(models.output_layer(model).weight.shape[1], 1).to(device)
    for weight in head.parameters():
        nn.init.zeros_(weight)
    if is_split:
        sharding.shard(head, device)
    return head


def stays_exact(model: PreTrainedModel, name: str) -> bool:
    """Whether a weight's family keeps it in float32, whatever type the rest has."""
    kept = [getattr(model, f"_keep_in_fp32_modules{kind}", None) or () for kind in ("", "_strict")]
    return any(part in name for part in chain(*kept))


def _buffers(model: PreTrainedModel) -> dict[str, Tensor]:
    """What a model computes of its configuration (rotary frequencies), by name."""
    with _weights_without_memory():
        made = type(model)._from_config(copy.deepcopy(model.config), dtype=model.dtype)
    return dict(made.named_buffers())


@contextmanager
def _weights_without_memory() -> Iterator[None]:
    """Every weight that a module registers goes to the meta device; buffers are what they are."""
    register = nn.Module.register_parameter

    def register_empty(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = nn.Parameter(param.detach().to("meta"), param.requires_grad)
        register(self, name, param)

    nn.Module.register_parameter = register_empty
    try:
        yield
    finally:
        nn.Module.register_parameter = register
