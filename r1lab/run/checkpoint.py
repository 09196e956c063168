"""State that is whole or absent: atomic files and folders, and checkpoints made of them.

A new version is written beside its place under a name with a dot, flushed, and renamed. A process may be killed at any
moment: what `sweep` finds afterwards is either an unfinished version (removed) or, where a folder was just being
replaced, the version before (put back). Knows nothing of what is saved: neither the names nor the order of resumables.
"""

import errno
import hashlib
import json
import os
import pickle
import re
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError

from r1lab.distributed.ranks import by_first
from r1lab.errors import RunError

PARTIAL, REPLACED = ".partial", ".replaced"
STATE, WHOLE = "state.pt", "whole.json"
PLAIN = (bool, int, float, str, type(None))


class HasState(Protocol):
    """What can be resumed. Its state is tensors, numbers, strings, None, and dicts, lists and tuples of them."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


def atomic_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a temporary sibling, then rename it to `path`: a reader sees the old or the new, whole."""
    with _temporary(path) as temporary:
        write(temporary)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """An empty temporary sibling to fill, which becomes `path` at the end of the block; removed if the block raises.

    An existing `path` is moved aside before and removed after; if the process dies between, `sweep` puts it back.
    """
    with _temporary(path) as temporary:
        temporary.mkdir()
        yield temporary
        _sync_tree(temporary)
        aside = path.with_name(f".{path.name}{REPLACED}")
        if path.exists():
            _remove(aside)
            os.rename(path, aside)
        os.rename(temporary, path)
        _sync(path.parent)
        _remove(aside)


def sweep(folder: Path) -> None:
    """Remove what killed processes left anywhere below `folder`. Only while no other process writes there."""
    for temporary in list(folder.rglob(f".*{PARTIAL}")):
        _remove(temporary)
    for aside in list(folder.rglob(f".*{REPLACED}")):
        path = aside.with_name(aside.name[1 : -len(REPLACED)])
        if path.exists():
            _remove(aside)
        else:
            os.rename(aside, path)


def require_space(folder: Path, num_bytes: int, error: type[Exception] = RunError) -> None:
    """Raise `error` where the disk of `folder` (which need not exist yet) has fewer than `num_bytes` free."""
    free = _free(folder)
    if free < num_bytes:
        raise error(
            f"not enough disk at {folder}: {_size(num_bytes)} needed, {_size(free)} free; "
            "free space or set out= to a folder on another disk"
        )


def save(folder: Path, resumables: Mapping[str, HasState], write_model: Callable[[Path], Any] | None = None) -> None:
    """One whole checkpoint: what `write_model` puts there, every state in `state.pt`, checksums in `whole.json`."""
    states = {name: resumable.state_dict() for name, resumable in resumables.items()}
    for name, state in states.items():
        _check_plain(state, name)
    with atomic_folder(folder) as temporary:
        if write_model is not None:
            write_model(temporary)
        with open(temporary / STATE, "wb") as file:  # given a path, torch.save hides why a write failed
            torch.save(states, file)
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        table = {str(path.relative_to(temporary)): [path.stat().st_size, _checksum(path)] for path in files}
        (temporary / WHOLE).write_text(json.dumps({"files": table}, indent=1), encoding="utf-8")


def save_model(folder: Path, write_model: Callable[[Path], Any]) -> None:
    """A folder that is what `write_model` puts there, whole."""
    with atomic_folder(folder) as temporary:
        write_model(temporary)


def load(folder: Path, resumables: Mapping[str, HasState]) -> None:
    """Give every resumable its state back, after every file was found to be what was written.

    A checkpoint of other names than those of `resumables` is refused: half a state is no state.
    """
    _verify(folder)
    try:
        states = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise _damaged(folder, STATE, " ".join(str(error).split())[:120]) from error
    if set(states) != set(resumables):
        differing = ", ".join(sorted(set(states) ^ set(resumables)))
        raise _damaged(folder, STATE, f"it was made by another version or setting, which differs in: {differing}")
    for name, resumable in resumables.items():
        resumable.load_state_dict(states[name])


@by_first
def latest(folder: Path, stage: str) -> tuple[int, Path] | None:
    """Step and place of the newest checkpoint `<stage>-<step>` in `folder`."""
    found = _checkpoints(folder, stage)
    return found[-1] if found else None


@by_first
def prune(folder: Path, stage: str, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints of a stage."""
    found = _checkpoints(folder, stage)
    for _, path in found[: len(found) - keep]:
        doomed = path.with_name(f".{path.name}{PARTIAL}")  # under its own name it would look whole while it shrinks
        _remove(doomed)
        os.rename(path, doomed)
        _remove(doomed)


def _checkpoints(folder: Path, stage: str) -> list[tuple[int, Path]]:
    """In order of steps. What has no `whole.json` was not made by `save`."""
    pattern = re.compile(rf"{re.escape(stage)}-(\d+)")
    matches = [(pattern.fullmatch(file.parent.name), file.parent) for file in folder.glob(f"*/{WHOLE}")]
    return sorted((int(match[1]), path) for match, path in matches if match)


def _verify(folder: Path) -> None:
    try:
        listed = json.loads((folder / WHOLE).read_text(encoding="utf-8"))["files"]
        table = {name: (int(size), str(checksum)) for name, (size, checksum) in listed.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(folder, WHOLE, f"unreadable ({type(error).__name__})") from error
    for name, (size, checksum) in table.items():
        path = folder / name
        if not path.is_file():
            raise _damaged(folder, name, "it is missing")
        if path.stat().st_size != size:
            raise _damaged(folder, name, f"{path.stat().st_size} bytes, {size} were written")
        if _checksum(path) != checksum:
            raise _damaged(folder, name, "its checksum is not that of what was written")


def _damaged(folder: Path, name: str, what: str) -> RunError:
    return RunError(
        f"checkpoint file {folder / name} cannot be used: {what}; "
        f"remove the folder {folder} to resume from the one before"
    )


def _check_plain(value: Any, where: str) -> None:
    """Refuse now what `torch.load(weights_only=True)` would refuse on the day it is needed."""
    if isinstance(value, torch.Tensor) or type(value) in PLAIN:
        return
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            if type(key) not in PLAIN:
                raise TypeError(f"state {where}: key {key!r} is a {type(key).__name__}, use a number or string")
            _check_plain(item, f"{where}.{key}")
    elif type(value) in (list, tuple):
        for position, item in enumerate(value):
            _check_plain(item, f"{where}.{position}")
    else:
        raise TypeError(
            f"state {where} is a {type(value).__module__}.{type(value).__name__}; "
            "use tensors, numbers, strings, None, and dicts, lists and tuples of them"
        )


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A free sibling's name; whatever stands there at the end is removed. A full disk becomes one clear line."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        _make(path.parent)
        _remove(temporary)
        try:
            yield temporary
        finally:
            _remove(temporary)
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RunError) or not _is_full(error):
            raise
        raise RunError(
            f"disk full while writing {path} ({_size(_free(path.parent))} free); free space or set out= to a folder on "
            "another disk, then run again; what was written before is whole"
        ) from error


def _is_full(error: BaseException | None) -> bool:
    """Whether no space was left, also where a library wrapped the cause or kept nothing of it but the words."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error) or "quota exceeded" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _make(folder: Path) -> None:
    """The folder and its parents, each of them flushed into the one above."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _free(folder: Path) -> int:
    """Bytes free on the disk of the folder or, where it does not exist yet, of the nearest one above."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def _size(num_bytes: int) -> str:
    size, units = float(num_bytes), ["bytes", "KB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.1f} {units[0]}" if len(units) < 4 else f"{num_bytes} bytes"
