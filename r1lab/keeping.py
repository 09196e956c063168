"""What of a policy leaves it and comes back: weights by name, Hugging Face folders, a checkpoint's state.

Not how it computes (`r1lab.policy`), nor how a checkpoint is written (`r1lab.checkpoint`).
"""

import copy
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from r1lab import adapters, models, shards


class Kept:
    """The part of `Policy` that is written and read."""

    def refresh_reference(self) -> None:
        """The reference becomes the policy of now (`kl.ref_refresh_steps`)."""
        if self.stage.lora is None:
            self.reference.load_state_dict(self.model.state_dict())
        else:
            self.reference.load_state_dict(dict(self.named_tensors()), strict=False)

    def whole(self) -> "Kept":
        """What rank 0 can save: itself, or a copy that keeps the parts of all ranks put together (a collective)."""
        if not shards.is_sharded(self.model):
            return self
        copied = copy.copy(self)
        copied.kept = shards.whole({"weights": shards.weights(self.model), "state": self.state_dict()})
        return copied

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Weights for an engine, a tied one once, an adapter merged; where sharded, all ranks iterate together."""
        return ((name, shards.full(weight)) for name, weight in adapters.merged(self.model))

    def save(self, folder: Path) -> None:
        """A Hugging Face folder that transformers and vLLM load as it is; sharded, of what `whole` gave."""
        weights = self.kept["weights"] if self.kept else None
        if self.stage.lora is not None:
            weights = dict(self.named_tensors())
        self.model.save_pretrained(folder, state_dict=weights, safe_serialization=True)
        if self.stage.lora is not None:
            adapters.save(self.model, folder)
        self.tokenizer.save_pretrained(folder)

    def restore(self, folder: Path) -> None:
        """Take the weights of a folder that `save` wrote."""
        if self.stage.lora is not None:
            return adapters.restore(self.model, folder)
        shards.load(self.model, models.load_model(str(folder), self.model.dtype).state_dict())

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
        shards.load_moments(self.optimizer, state["optimizer"])
        for module, name in ((self.reference, "reference"), (self.value_head, "value_head")):
            if module is not None:
                shards.load(module, state[name])
