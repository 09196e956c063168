"""Runs inside vLLM's worker: receives weights, and corrects log-probabilities to the untruncated distribution.

vLLM mixes `Extension` into its worker class (`worker_extension_cls`), in this process and in a server's alike; methods
are called by name through `collective_rpc`. Written against vLLM 0.32's first model runner.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from r1lab.engines.checksum import Checksum
from r1lab.engines.vllm import lora


class Extension:
    """Methods of the worker, whose `model_runner` holds model and sampler."""

    model_runner: Any
    """vLLM's."""

    def r1lab_prepare(self) -> None:
        """Log-probabilities are those before top-k, top-p and min-p cut anything off, and no ranks are counted."""
        sampler = self.model_runner.sampler
        sampler.sample = _untruncated(sampler)
        sampler.gather_logprobs = _without_ranks(sampler)
        if adapters := getattr(self.model_runner, "lora_manager", None):
            lora.multiply_plainly(adapters)

    def r1lab_device(self) -> str:
        """The device of the worker's weights."""
        return str(next(self.model_runner.get_model().parameters()).device)

    def r1lab_load(self, weights: Iterable[tuple[str, Tensor]]) -> str:
        """Replace the weights, given by the checkpoint's names; returns the checksum of what arrived."""
        received, runner = Checksum(), self.model_runner
        runner.reload_weights(weights_iterator=received.over(weights))
        repack_tied_head(runner.get_model())
        return received.digest()

    def r1lab_adapt(self, matrices: Iterable[tuple[str, Tensor]], settings: Mapping[str, Any]) -> str:
        """Replace the adapter, given by peft's names and settings; returns the checksum of what arrived."""
        received = Checksum()
        own = {name: matrix.clone() for name, matrix in received.over(matrices)}  # vLLM scales them in place
        lora.put(self.model_runner.lora_manager, own, settings)
        return received.digest()

    def r1lab_lacking(self, layers: Iterable[str]) -> list[str]:
        """Those of the policy's layers that cannot be adapted here."""
        return lora.lacking(self.model_runner.lora_manager, layers)


def repack_tied_head(model: torch.nn.Module) -> None:
    """A tied head is no layer of the checkpoint: reloading leaves the copy it multiplies with as it was."""
    head = getattr(model, "lm_head", None)
    method = getattr(head, "quant_method", None)
    if head is not None and method is not None and _shares_weight(model, head):
        method.process_weights_after_loading(head)


def _shares_weight(model: torch.nn.Module, head: torch.nn.Module) -> bool:
    return any(module is not head and getattr(module, "weight", None) is head.weight for module in model.modules())


def _untruncated(sampler):
    """`Sampler.sample`, but that log-probabilities are of the temperature-scaled distribution, nothing cut off."""
    original = type(sampler).sample

    def sample(logits: Tensor, metadata, logprobs_mode_override=None):
        if not _truncates(metadata) or metadata.max_num_logprobs is None:
            return original(sampler, logits, metadata, logprobs_mode_override)
        # Rows that are greedy count as of temperature 1.
        temperature = torch.where(metadata.temperature < 1e-5, 1.0, metadata.temperature)
        logprobs = sampler.compute_logprobs(logits / temperature[:, None])
        return original(sampler, logits, metadata, logprobs_mode_override)[0], logprobs

    return sample


def _truncates(metadata) -> bool:
    has_min_p = any(getattr(each, "min_p_count", 0) for each in metadata.logitsprocs.argmax_invariant)
    return not metadata.all_greedy and (has_min_p or metadata.top_k is not None or metadata.top_p is not None)


def _without_ranks(sampler):
    """`Sampler.gather_logprobs`, but that the sampled token's rank is 0.

    Nothing reads it, and vLLM compiles a kernel to count it, which takes a CPU longer than a small model's rollouts.
    """
    original = type(sampler).gather_logprobs

    def gather(logprobs: Tensor, num_logprobs: int, token_ids: Tensor):
        if num_logprobs:
            return original(logprobs, num_logprobs, token_ids)
        from vllm.v1.outputs import LogprobsTensors

        column = token_ids[:, None]
        return LogprobsTensors(column.to(torch.int32), logprobs.gather(-1, column), torch.zeros_like(token_ids))

    return gather
