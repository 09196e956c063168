"""Sharded tensors on disk: each rank writes its parts, and reads its parts of what any number of ranks wrote. Not what
a checkpoint holds beside them (`r1lab.run.checkpoint`), nor how weights are sharded (`r1lab.distributed.sharding`).

The files are torch.distributed.checkpoint's. What describes them is a pickle, which is read without running anything
that it names: a run's folder may come from elsewhere.
"""

import pickle
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from r1lab.distributed import ranks
from r1lab.errors import RunError

MARK = "part of each process"
"""The only key of what stands in a state for a sharded tensor; its value is the tensor's name."""
DESCRIPTION = ".metadata"
"""torch's name of the file that says which parts lie where."""
MAY_BE_NAMED = {
    "torch.distributed.checkpoint.metadata": {
        "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties", "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size", "bfloat16", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"},
    "pathlib": {"PosixPath"},
}  # fmt: skip


class UnreadableParts(Exception):
    """What was written cannot be read back here; the message says why, in one line."""


class StoredTensor:
    """A tensor in the files of all ranks; `read` takes it, or this rank's part, into another."""

    def __init__(self, name: str, files: "_Files"):
        self.name, self.files = name, files

    def read(self, target: Tensor) -> None:
        """Fill a tensor, or this rank's part of a sharded one. UnreadableParts where it is not there or another."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that each rank reads for itself is meant
            try:
                load({self.name: target}, storage_reader=self.files, no_dist=True)
            except CheckpointException as error:  # no Exception
                cause = next(iter(error.failures.values()))[0]
                raise UnreadableParts(f"{self.name}: {_line(cause)}") from None


class _Files(FileSystemReader):
    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        return self._description

    @cached_property
    def _description(self) -> Metadata:
        try:
            with open(Path(self.path) / DESCRIPTION, "rb") as file:
                found = _Unpickler(file).load()
        except (OSError, pickle.UnpicklingError, EOFError, AttributeError, TypeError, ValueError, IndexError) as error:
            raise UnreadableParts(f"{DESCRIPTION}: {_line(error)}") from None
        if not isinstance(found, Metadata):
            raise UnreadableParts(f"{DESCRIPTION}: it describes nothing")
        return found


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in MAY_BE_NAMED.get(module, ()):
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no checkpoint does")
        return super().find_class(module, name)


def taken_out(state: Any, tensors: dict[str, DTensor], name: str = "") -> Any:
    """The state with a mark in each sharded tensor's place; they go to `tensors`, by the names in the marks."""
    if isinstance(state, dict):
        return {key: taken_out(item, tensors, f"{name}.{key}") for key, item in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(taken_out(item, tensors, f"{name}.{number}") for number, item in enumerate(state))
    if not isinstance(state, DTensor):
        return state
    assert name not in tensors, name
    tensors[name] = state
    return {MARK: name}


def put_back(state: Any, folder: Path) -> Any:
    """The state with a `StoredTensor` of the folder in each mark's place."""
    files = _Files(folder)

    def unmarked(value: Any) -> Any:
        if isinstance(value, dict):
            return StoredTensor(value[MARK], files) if value.keys() == {MARK} else {
                key: unmarked(item) for key, item in value.items()
            }  # fmt: skip
        return type(value)(map(unmarked, value)) if isinstance(value, list | tuple) else value

    return unmarked(state)


def write(folder: Path, tensors: dict[str, DTensor]) -> None:
    """Write every rank's parts, flushed to the disk (a collective). Where one fails the run ends on all."""
    ranks.together(lambda: require_shared(folder.parent))
    fault: BaseException | None = None
    try:
        save(dict(tensors), storage_writer=FileSystemWriter(folder), process_group=ranks.meeting_group())
    except CheckpointException as error:  # on every rank, with the failures of all
        fault = error.failures.get(ranks.rank(), (None,))[0]
    ranks.raise_together(fault)


def require_shared(folder: Path) -> None:
    """RunError where a folder that rank 0 has made is not there."""
    if not folder.is_dir():
        raise RunError(
            f"{folder} is not there for rank {ranks.rank()}, and every process writes its part of a sharded model; set "
            "out= to a disk that all machines share, or parallel: ddp"
        )


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]
