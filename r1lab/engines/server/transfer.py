"""Send weights from the trainer to a vLLM server, through vLLM's weight-transfer routes: the sender's side.

Two ways, by what the server was started with (`launch`): a file in shared memory, for a server on this machine, and
vLLM's NCCL broadcast, for GPUs. The receiver's side is `worker`. The server returns the checksum of what it received,
and `Parcel.send` compares it with that of what was sent.
"""

import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil
import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from r1lab.engines.protocol import NamedTensors
from r1lab.engines.server.client import SHARED_VARIABLE, Gone, ServerRefusal, Wire
from r1lab.errors import RunError
from r1lab.run import files

PREFIX = "r1lab-weights-"
MEMORY = Path("/dev/shm")
T = TypeVar("T")


@dataclass(frozen=True)
class Parcel:
    """One version of the weights, as every rank knows it; the weights themselves are kept by rank 0's route."""

    version: int
    label: str
    """A server says with every token which weights sampled it, by this."""
    names: tuple[str, ...]
    checksum: str

    def send(self, wire: Wire, route: "FileRoute | NcclRoute") -> None:
        """Send what the route holds. RunError where what arrived is not what was sent; Gone and ServerRefusal as the
        wire raises them."""
        begin(wire)
        route.update(wire, self.names)
        wire.post("/finish_weight_update", {"weight_version": self.label})
        for received in received_by(wire):
            if received != self.checksum:
                raise RunError(
                    f"weights {self.label} were sent with checksum {self.checksum} and arrived at {wire.url} with "
                    f"{received}; start that server again and run the same command"
                )


def received_by(wire: Wire, deadline: float | None = None) -> list[str]:
    """Checksums of the weights that a server's workers got last."""
    return wire.post("/collective_rpc", {"method": "r1lab_received"}, deadline)["results"]


def begin(wire: Wire) -> None:
    """Start an update; one that a trainer left unfinished is finished first (what it loaded is replaced now)."""
    try:
        wire.post("/start_weight_update")
    except ServerRefusal:
        with suppress(ServerRefusal):
            wire.post("/finish_weight_update")
        wire.post("/start_weight_update")


class FileRoute:
    """Sends weights through a safetensors file in shared memory, which stays until the next ones are staged."""

    at_once = 16
    """Servers that may read it at the same time."""

    def __init__(self) -> None:
        sweep()
        where = MEMORY if MEMORY.is_dir() else None
        names = {"prefix": f"{PREFIX}{os.getpid()}-", "dir": where}
        if shared := os.environ.get(SHARED_VARIABLE):
            names = {"prefix": f".{PREFIX}", "suffix": files.PARTIAL, "dir": shared}  # swept with what a run left
        self.folder = Path(tempfile.mkdtemp(**names))
        self.path = self.folder / "weights.safetensors"

    def stage(self, named_tensors: NamedTensors, room: int) -> None:
        """Write them as they come, one tensor at a time; the file before goes first. `room`: bytes for the header."""
        self.path.unlink(missing_ok=True)  # a server that still reads it keeps it
        try:
            write_file(self.path, named_tensors, room)
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"the weights do not fit into {self.folder.parent} ({error}); free some of it, or mount it larger"
            ) from None

    def connect(self, wire: Wire) -> None:
        """Open the transfer, once in a server's life."""
        wire.post("/init_weight_transfer_engine", {"init_info": {}})

    def update(self, wire: Wire, names: Sequence[str]) -> None:
        wire.post("/update_weights", {"update_info": {"path": str(self.path), "names": list(names)}})

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def write_file(path: Path, named_tensors: NamedTensors, room: int) -> None:
    """A safetensors file of tensors that need never be in memory together; its header takes `room` bytes."""
    header: dict[str, Any] = {}
    end, room = 0, room + -room % 8
    with path.open("wb") as file:
        file.seek(8 + room)
        for name, tensor in named_tensors:
            if end % 8:  # tensors of another type must begin at a whole number of theirs
                pad = 8 - end % 8
                header[f"pad {end}"] = {"dtype": "U8", "shape": [pad], "data_offsets": [end, end + pad]}
                end += file.write(bytes(pad))
            whole = memoryview(save({name: tensor.detach().cpu().contiguous()}))
            begin = 8 + int.from_bytes(whole[:8], "little")
            size = file.write(whole[begin:])
            header[name] = json.loads(bytes(whole[8:begin]))[name] | {"data_offsets": [end, end + size]}
            end += size
        text = json.dumps(header).encode()
        assert len(text) <= room, f"{len(text)} bytes of header, and {room} were kept"
        file.seek(0)
        file.write(room.to_bytes(8, "little") + text.ljust(room))


class NcclRoute:
    """Sends weights through vLLM's NCCL broadcast; needs vLLM and a GPU of its own in the trainer's process. Not run
    yet, nor is the end of a broadcast that a server does not answer."""

    at_once = 1

    def __init__(self) -> None:
        self.senders: dict[str, Any] = {}
        """vLLM's, by the server's URL."""
        self.source = _source()

    def stage(self, named_tensors: NamedTensors, room: int) -> None:
        """Keep them in the host's memory: the policy learns on while a server may still come back for them."""
        self.source.tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in named_tensors}

    def connect(self, wire: Wire) -> None:
        from vllm.distributed.weight_transfer import WeightTransferTrainerFactory
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        self.leave(wire)
        world = 1 + wire.get("/get_world_size")["world_size"]
        info = NCCLTrainerInitInfo(*_meeting_point(wire), world, rank=0)
        self.senders[wire.url] = within(
            wire.deadline,
            lambda: WeightTransferTrainerFactory.trainer_init(info, client=_Client(wire), source=self.source),
            f"{wire.url} did not come to the NCCL meeting",
        )

    def update(self, wire: Wire, names: Sequence[str]) -> None:
        """A server that dies within the broadcast leaves it waiting for ever: past the deadline it is aborted."""
        try:
            within(wire.deadline, self.senders[wire.url].send_weights, f"the NCCL broadcast to {wire.url} did not end")
        except Gone:
            self.leave(wire)
            raise

    def leave(self, wire: Wire) -> None:
        """Abort the communicator with a server."""
        old = self.senders.pop(wire.url, None)
        if old is not None:
            old.shutdown()

    def close(self) -> None:
        for sender in self.senders.values():
            sender.shutdown()


def within(seconds: float, work: Callable[[], T], late: str) -> T:
    """What `work` returns or raises. Gone with `late` after so many seconds; its thread is left alone then."""
    try:
        return on_own_thread(work).result(seconds)
    except TimeoutError:
        raise Gone(f"{late} within {seconds:g} s") from None


def on_own_thread(work: Callable[[], T]) -> Future[T]:
    """Do it on a thread that does not keep the process alive; the future has what it returns or raises."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # whatever it is, it is raised where it is waited for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


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
    place = urlsplit(wire.address)
    with socket.create_connection((place.hostname, place.port or 80), timeout=wire.deadline) as seen:
        address = seen.getsockname()[0]
    with socket.create_server((address, 0)) as free:
        return address, free.getsockname()[1]


def _source():
    """vLLM's `WeightSource` over the newest parcel's tensors."""
    from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

    class TensorSource(WeightSource):
        tensors: Mapping[str, Tensor] = {}
        device = torch.device("cuda", torch.cuda.current_device())

        def metadata(self) -> list[ParamMeta]:
            return [ParamMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self.tensors.items()]

        def __iter__(self) -> Iterator[tuple[str, Tensor]]:
            return ((name, tensor.to(self.device)) for name, tensor in self.tensors.items())

    return TensorSource()


def sweep() -> None:
    """Remove folders of weights whose trainer has died."""
    for folder in MEMORY.glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
