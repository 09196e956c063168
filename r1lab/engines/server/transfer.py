"""Send weights from the trainer to a vLLM server, through vLLM's weight-transfer routes: the sender's side.

Two ways, by what the server was started with (`launch`): a file in shared memory, for a server on this machine, and
vLLM's NCCL broadcast, for GPUs. The receiver's side is `worker`. The server returns the checksum of what it received,
and `Parcel.send` compares it with that of what was sent.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from r1lab.engines.checksum import Checksum
from r1lab.engines.server.client import ServerRefusal, Wire
from r1lab.errors import RunError

PREFIX = "r1lab-weights-"
MEMORY = Path("/dev/shm")


class Parcel:
    """One version of the weights, ready to be sent to any number of servers, and again to one that came back."""

    def __init__(self, tensors: Mapping[str, Tensor], version: int, run: str):
        """The tensors are not copied: they must stay as they are for as long as the version is the newest. A server
        says with every token which weights sampled it, by their label."""
        self.tensors, self.version, self.label = dict(tensors), version, f"r1lab-{run}-{version}"
        sent = Checksum()
        for name, tensor in self.tensors.items():
            sent.add(name, tensor)
        self.checksum = sent.digest()

    def send(self, wire: Wire, route: "FileRoute | NcclRoute") -> None:
        """RunError where what arrived is not what was sent; Gone and ServerRefusal as the wire raises them."""
        begin(wire)
        route.update(wire, self.tensors)
        wire.post("/finish_weight_update", {"weight_version": self.label})
        for received in wire.post("/collective_rpc", {"method": "r1lab_received"})["results"]:
            if received != self.checksum:
                raise RunError(
                    f"weights {self.label} were sent with checksum {self.checksum} and arrived at {wire.url} with "
                    f"{received}; start that server again and run the same command"
                )


def begin(wire: Wire) -> None:
    """Start an update; one that a trainer left unfinished is finished first (what it loaded is replaced now)."""
    try:
        wire.post("/start_weight_update")
    except ServerRefusal:
        with suppress(ServerRefusal):
            wire.post("/finish_weight_update")
        wire.post("/start_weight_update")


class FileRoute:
    """Sends weights through a safetensors file in shared memory."""

    def __init__(self) -> None:
        sweep()
        where = MEMORY if MEMORY.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=where))

    def connect(self, wire: Wire) -> None:
        """Open the transfer, once in a server's life."""
        wire.post("/init_weight_transfer_engine", {"init_info": {}})

    def update(self, wire: Wire, tensors: Mapping[str, Tensor]) -> None:
        with self.staged(tensors) as path:
            wire.post("/update_weights", {"update_info": {"path": str(path), "names": list(tensors)}})

    @contextmanager
    def staged(self, tensors: Mapping[str, Tensor]) -> Iterator[Path]:
        """A file of them, for as long as the context."""
        path = self.folder / "weights.safetensors"
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
            yield path
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"the weights do not fit into {self.folder.parent} ({error}); free some of it, or mount it larger"
            ) from None
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class NcclRoute:
    """Sends weights through vLLM's NCCL broadcast; needs vLLM and a GPU of its own in the trainer's process."""

    def __init__(self) -> None:
        self.senders: dict[str, Any] = {}
        """vLLM's, by the server's URL."""
        self.source = _source()

    def connect(self, wire: Wire) -> None:
        from vllm.distributed.weight_transfer import WeightTransferTrainerFactory
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        old = self.senders.pop(wire.url, None)
        if old is not None:
            old.shutdown()
        world = 1 + wire.get("/get_world_size")["world_size"]
        info = NCCLTrainerInitInfo(*_meeting_point(wire), world, rank=0)
        self.senders[wire.url] = WeightTransferTrainerFactory.trainer_init(
            info, client=_Client(wire), source=self.source
        )

    def update(self, wire: Wire, tensors: Mapping[str, Tensor]) -> None:
        self.source.tensors = tensors
        self.senders[wire.url].send_weights()

    def close(self) -> None:
        for sender in self.senders.values():
            sender.shutdown()


class _Client:
    """vLLM's `VLLMWeightSyncClient` over a wire; the update's beginning and end are `Parcel.send`'s."""

    def __init__(self, wire: Wire):
        self.wire = wire

    def init_weight_transfer_engine(self, init_info: dict) -> None:
        self.wire.post("/init_weight_transfer_engine", {"init_info": init_info})

    def start_weight_update(self) -> None:
        pass

    def update_weights(self, update_info: dict) -> None:
        self.wire.post("/update_weights", {"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        pass


def _meeting_point(wire: Wire) -> tuple[str, int]:
    """An address of this machine that the server's workers reach, and a free port there."""
    with socket.create_connection((wire.host, wire.port or 80), timeout=wire.deadline) as seen:
        address = seen.getsockname()[0]
    with socket.create_server((address, 0)) as free:
        return address, free.getsockname()[1]


def _source():
    """vLLM's `WeightSource` over the newest parcel's tensors."""
    from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

    class TensorSource(WeightSource):
        tensors: Mapping[str, Tensor] = {}

        def metadata(self) -> list[ParamMeta]:
            return [ParamMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self.tensors.items()]

        def __iter__(self) -> Iterator[tuple[str, Tensor]]:
            return iter(self.tensors.items())

    return TensorSource()


def sweep() -> None:
    """Remove folders of weights whose trainer has died."""
    for folder in MEMORY.glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
