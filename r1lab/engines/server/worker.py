"""Runs inside the worker of a vLLM server: receives weights, and answers what the trainer asks.

Loaded by `--worker-extension-cls r1lab.engines.server.worker.ServerExtension` (`r1lab serve`); never imported by the
trainer. vLLM's own transfers need GPUs; `FileTransfer` is registered with the same API and reads a file in shared
memory, so that a server on a CPU goes the same way as one that speaks NCCL. The sender's side is `transfer`.
"""

import json
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import safe_open
from vllm.distributed.weight_transfer import WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import WeightTransferEngine, WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferEngine
from vllm.model_executor.model_loader.reload.inplace import reload_weights
from vllm.platforms import current_platform

from r1lab.engines.checksum import Checksum
from r1lab.engines.server.client import FILE, NCCL
from r1lab.engines.vllm.worker import Extension, repack_tied_head


@dataclass
class FileInit(WeightTransferInitInfo):
    """A transfer by file needs no settings."""


@dataclass
class FileUpdate(WeightTransferUpdateInfo):
    """One whole set of weights."""

    path: str
    """A safetensors file that this process can read."""
    names: list[str]
    """The order in which they are loaded."""


class FileTransfer(WeightTransferEngine[FileInit, FileUpdate]):
    """Weights from a file."""

    init_info_cls = FileInit
    update_info_cls = FileUpdate
    supports_draft_weight_update = False
    received: Checksum
    """Of the update that runs or ran last; there once one has started."""

    def init_transfer_engine(self, init_info: FileInit) -> None:
        pass

    def start_weight_update(self) -> None:
        self.received = Checksum()

    def update_weights(self, update_info: dict) -> None:
        # The inherited one synchronises an accelerator, which a CPU does not have.
        self.receive_weights(self.parse_update_info(update_info))

    @torch.no_grad()
    def receive_weights(self, update_info: FileUpdate) -> None:
        with safe_open(update_info.path, framework="pt", device="cpu") as file:
            weights = self.received.over((name, file.get_tensor(name)) for name in update_info.names)
            reload_weights(self.vllm_config, self.model, weights, None, True)
        repack_tied_head(self.model)

    def finish_weight_update(self) -> None:
        pass

    def shutdown(self) -> None:
        pass


class NcclTransfer(NCCLWeightTransferEngine):
    """vLLM's NCCL broadcast, with a checksum of what came through it."""

    received: Checksum
    """Of the update that runs or ran last; there once one has started."""

    def start_weight_update(self) -> None:
        self.received = Checksum()
        super().start_weight_update()

    def receive_weights(self, update_info) -> None:
        load = self.model.load_weights
        self.model.load_weights = lambda weights: load(self.received.over(weights))
        try:
            super().receive_weights(update_info)
        finally:
            del self.model.load_weights

    def finish_weight_update(self) -> None:
        super().finish_weight_update()
        repack_tied_head(self.model)


WeightTransferEngineFactory.register_engine(FILE, FileTransfer)
WeightTransferEngineFactory.register_engine(NCCL, NcclTransfer)


class ServerExtension(Extension):
    """Methods that a server's `/collective_rpc` may call, mixed into vLLM's worker."""

    vllm_config: Any
    """vLLM's, like the next."""
    weight_transfer_engine: Any

    def r1lab_facts(self) -> dict:
        """What the trainer checks before it trusts a server (`connection.Facts`); plain data."""
        vllm = self.vllm_config
        model, scheduler, transfer = vllm.model_config, vllm.scheduler_config, vllm.weight_transfer_config
        return {
            "config": json.loads(model.hf_text_config.to_json_string(use_diff=False)),
            "dtype": str(model.dtype).removeprefix("torch."),
            "context": model.max_model_len,
            "max_num_seqs": scheduler.max_num_seqs,
            # On a CPU a generator of its own for every request breaks where prompts are cut.
            "seeds": not (current_platform.is_cpu() and scheduler.enable_chunked_prefill),
            "logprobs_mode": str(model.logprobs_mode),
            "transfer": transfer.backend if transfer else "none",
        }

    def r1lab_received(self) -> str:
        """Checksum of the weights that came last."""
        received = getattr(self.weight_transfer_engine, "received", None)
        return received.digest() if received else "none"
