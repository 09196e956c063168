"""The policy's weights and state as others take them: engines, folders, checkpoints, the reference. Not what learns.

Where several processes hold parts of the weights (`r1lab.distributed.sharding`) each gives and takes its own; what is
written is whole.
"""

import copy
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from r1lab.distributed import sharding
from r1lab.policy import lora, models
from r1lab.recipe import TrainStageConfig


class Saved:
    """What `Policy` is beside its learning."""

    model: torch.nn.Module
    reference: torch.nn.Module | None
    value_head: torch.nn.Module | None
    optimizer: torch.optim.Optimizer
    tokenizer: Any
    stage: TrainStageConfig
    version: int
    kept: dict[str, Any] | None = None
    """Weights and state put together, in the copy that `whole` makes."""

    def refresh_reference(self) -> None:
        """The reference becomes the policy of now (`kl.ref_refresh_steps`)."""
        sharding.load(self.reference, dict(self.named_tensors()), strict=False)

    def whole(self) -> "Saved":
        """What rank 0 can save: itself, or a copy that keeps the parts of all ranks put together (a collective)."""
        if not sharding.is_sharded(self.model):
            return self
        copied = copy.copy(self)
        copied.kept = sharding.whole({"weights": sharding.weights(self.model), "state": self.state_dict()})
        return copied

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Weights for an engine, a tied one once and an adapter merged; a collective where they are sharded."""
        return ((name, sharding.full(weight)) for name, weight in lora.merged(self.model))

    def named_parts(self, with_base: bool) -> Iterator[tuple[str, Tensor]]:
        """For an engine that holds the adapter apart: its matrices by peft's names, before them the weights below it
        if asked for."""
        below = lora.base(self.model) if with_base else ()
        return ((name, weight.detach()) for name, weight in chain(below, lora.matrices(self.model)))

    def save(self, folder: Path) -> None:
        """A Hugging Face folder that transformers and vLLM load as it is; where sharded, of what `whole` keeps."""
        merged = (self.kept and self.kept["weights"]) if self.stage.lora is None else dict(self.named_tensors())
        self.model.save_pretrained(folder, state_dict=merged, safe_serialization=True)
        if self.stage.lora is not None:
            lora.save(self.model, folder)
        self.tokenizer.save_pretrained(folder)

    def restore(self, folder: Path) -> None:
        """Take the weights of a folder that `save` wrote."""
        if self.stage.lora is not None:
            return lora.restore(self.model, folder)
        sharding.load(self.model, models.load_model(str(folder), self.model.dtype).state_dict())

    def state_dict(self) -> dict:
        """What a checkpoint holds beside the weights, which stand in its Hugging Face folder."""
        if self.kept:
            return self.kept["state"]
        reference = None if self.reference is None else self.reference.state_dict()
        values = None if self.value_head is None else self.value_head.state_dict()
        return {
            "version": self.version,
            "optimizer": self.optimizer.state_dict(),
            "reference": reference,
            "value_head": values,
        }

    def load_state_dict(self, state: dict) -> None:
        self.version = state["version"]
        sharding.load_moments(self.optimizer, state["optimizer"])
        for module, name in ((self.reference, "reference"), (self.value_head, "value_head")):
            if module is not None:
                sharding.load(module, state[name])
