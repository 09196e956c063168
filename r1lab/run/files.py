"""Files and folders that appear whole or not at all. Not what is written (`r1lab.run.checkpoint`, `journal`).

A new version is written beside its place under a name with a dot, flushed, and renamed. A process may be killed at any
moment: what `sweep` finds afterwards is either an unfinished version (removed) or, where a folder was just being
replaced, the version before (put back).
"""

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError

from r1lab.errors import RecipeError, RunError

PARTIAL, REPLACED = ".partial", ".replaced"
STATE = "state.pt"
"""What makes a folder a checkpoint."""


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
            remove(aside)
            os.rename(path, aside)
        os.rename(temporary, path)
        _sync(path.parent)
        remove(aside)


def sweep(folder: Path, but: Path | None = None) -> None:
    """Remove what killed processes left anywhere below `folder`, `but` left as it is. Only while no other process
    writes there."""

    def left(end: str) -> list[Path]:
        return [path for path in folder.rglob(f".*{end}") if but is None or not path.is_relative_to(but)]

    for temporary in left(PARTIAL):
        remove(temporary)
    for aside in left(REPLACED):
        path = aside.with_name(aside.name[1 : -len(REPLACED)])
        if path.exists():
            remove(aside)
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


@contextmanager
def written(path: Path | None, option: str, *, but: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write, which becomes `path` at the block's end; where the block raises nothing is left. None: stdout.

    RecipeError at once, naming the `option`, where the file cannot be made or would replace `but`, the input; RunError
    for an OSError in the block.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise RecipeError(f"{option} {str(path)!r} is no regular file; give a file's name")
    if but is not None and but.exists() and target.exists() and os.path.samefile(target, but):
        raise RecipeError(f"{option} {str(path)!r} is the input itself; give another file")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        file = temporary.open("xb")
    except OSError as error:
        raise RecipeError(f"{option} {str(path)!r} cannot be written: {error.strerror}; give another file") from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise RunError(f"{option} {str(path)!r} cannot be written to its end: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A free sibling's name; whatever stands there at the end is removed. A full disk becomes one clear line."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    with full_disk_said(path):
        _make(path.parent)
        remove(temporary)
        try:
            yield temporary
        finally:
            remove(temporary)


@contextmanager
def full_disk_said(path: Path) -> Iterator[None]:
    """RunError in one line where the block finds no space left for `path`."""
    try:
        yield
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


def remove(path: Path) -> None:
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
