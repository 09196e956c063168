"""Checkpoints: the state of a stage after a step, whole or absent, checked when it is read back.

Knows nothing of what is saved: neither the names nor the order of resumables. Atomic files are `r1lab.run.files`'.
"""

import hashlib
import json
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from r1lab.distributed import parts, ranks
from r1lab.distributed.ranks import by_first
from r1lab.errors import RunError
from r1lab.run import files
from r1lab.run.files import STATE

WHOLE, PARTS = "whole.json", "parts"
PLAIN_FORM, PARTED = 1, 2
"""Forms of a checkpoint: every state whole in `state.pt`; sharded tensors in the parts of each rank."""
PLAIN = (bool, int, float, str, type(None))


class HasState(Protocol):
    """What can be resumed. Its state is tensors, numbers, strings, None, and dicts, lists and tuples of them."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


def save(folder: Path, resumables: Mapping[str, HasState], write_model: Callable[[Path], Any] | None = None) -> None:
    """One whole checkpoint (a collective): what `write_model` puts there, every state in `state.pt` but for sharded
    tensors, of which each rank writes its parts, and checksums in `whole.json`."""
    sharded: dict[str, Any] = {}
    states: dict[str, Any] = {name: resumable.state_dict() for name, resumable in resumables.items()}
    without = parts.taken_out(states, sharded)
    states = without if sharded else states
    for name, state in states.items():
        _check_plain(state, name)
    with shared_folder(folder) as temporary:
        if write_model is not None:
            write_model(temporary)
        if sharded:
            parts.write(temporary / PARTS, sharded)
        ranks.first(_write_states, temporary / STATE, states)
        checksums = _checksums(temporary, ranks.first(_files, temporary))
        ranks.first(_write_table, temporary, checksums, PARTED if sharded else PLAIN_FORM)


def _write_states(path: Path, states: dict[str, Any]) -> None:
    with open(path, "wb") as file:  # given a path, torch.save hides why a write failed
        torch.save(states, file)


def _write_table(folder: Path, checksums: Mapping[str, str], form: int) -> None:
    table = {name: [(folder / name).stat().st_size, checksum] for name, checksum in checksums.items()}
    whole = {"files": table} | ({"form": form} if form != PLAIN_FORM else {})
    (folder / WHOLE).write_text(json.dumps(whole, indent=1), encoding="utf-8")


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def save_model(folder: Path, write_model: Callable[[Path], Any]) -> None:
    """A folder that is what `write_model` puts there, whole (a collective)."""
    with shared_folder(folder) as temporary:
        write_model(temporary)


@contextmanager
def shared_folder(path: Path) -> Iterator[Path]:
    """`files.atomic_folder` for all ranks to fill: rank 0 makes it, and renames it once all have left the block."""
    with ExitStack() as stack:
        temporary = ranks.first(lambda: stack.enter_context(files.atomic_folder(path)))
        with files.full_disk_said(path):  # on any rank
            yield temporary
        ranks.first(stack.close)


def load(folder: Path, resumables: Mapping[str, HasState]) -> None:
    """Give every resumable its state back, after every file was found to be what was written.

    A checkpoint of other names than those of `resumables` is refused.
    """
    _verify(folder)
    try:
        # Mapped: of a state that ranks take parts of, none reads the whole into memory of its own.
        states = torch.load(folder / STATE, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise _damaged(folder, STATE, " ".join(str(error).split())[:120]) from error
    if set(states) != set(resumables):
        differing = ", ".join(sorted(set(states) ^ set(resumables)))
        raise _damaged(folder, STATE, f"it was made by another version or setting, which differs in: {differing}")
    states = parts.put_back(states, folder / PARTS)
    for name, resumable in resumables.items():
        try:
            resumable.load_state_dict(states[name])
        except KeyError as error:
            raise _damaged(folder, STATE, f"it was made by another version: its {name} lacks {error}") from None
        except parts.UnreadableParts as error:
            raise _damaged(folder, PARTS, f"{error} (torch {torch.__version__} reads it)") from None


@by_first
def latest(folder: Path, stage: str) -> tuple[int, Path] | None:
    """Step and place of the newest checkpoint `<stage>-<step>` in `folder`."""
    found = listed(folder, stage)
    return found[-1] if found else None


@by_first
def prune(folder: Path, stage: str, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints of a stage."""
    found = listed(folder, stage)
    for _, path in found[: max(0, len(found) - keep)]:
        doomed = path.with_name(f".{path.name}{files.PARTIAL}")  # its own name would look whole while it shrinks
        files.remove(doomed)
        os.rename(path, doomed)
        files.remove(doomed)


def listed(folder: Path, stage: str) -> list[tuple[int, Path]]:
    """In order of steps. What has no `whole.json` was not made by `save`."""
    # "rl-50"; not "rl-50.partial"
    pattern = re.compile(rf"{re.escape(stage)}-(\d+)")
    matches = [(pattern.fullmatch(file.parent.name), file.parent) for file in folder.glob(f"*/{WHOLE}")]
    return sorted((int(match[1]), path) for match, path in matches if match)


def _verify(folder: Path) -> None:
    table = _table(folder)
    checksums = _checksums(folder, sorted(table))
    for name, (_, checksum) in table.items():
        if checksums[name] != checksum:
            raise _damaged(folder, name, "its checksum is not that of what was written")


@by_first
def _table(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and checksum of every file as they were written; those that are there have this size."""
    try:
        whole = json.loads((folder / WHOLE).read_text(encoding="utf-8"))
        form = whole.get("form", PLAIN_FORM)
        table = {name: (int(size), str(checksum)) for name, (size, checksum) in whole["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(folder, WHOLE, f"unreadable ({type(error).__name__})") from error
    if form not in (PLAIN_FORM, PARTED):
        raise _damaged(folder, WHOLE, f"it is of form {form!r}, and this version reads {PLAIN_FORM} and {PARTED}")
    for name, (size, _) in table.items():
        path = folder / name
        if not path.is_file():
            raise _damaged(folder, name, "it is missing")
        if path.stat().st_size != size:
            raise _damaged(folder, name, f"{path.stat().st_size} bytes, {size} were written")
    return table


def _damaged(folder: Path, name: str, what: str) -> RunError:
    return RunError(
        f"checkpoint file {folder / name} cannot be used: {what}; "
        f"remove the folder {folder} to resume from the one before"
    )


def _check_plain(value: Any, where: str) -> None:
    """TypeError for a state that `torch.load(weights_only=True)` would refuse on resume."""
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


def _checksums(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Of all files; each rank reads its share (a collective)."""
    own = names[ranks.rank() :: ranks.size()]
    found = ranks.gather(lambda: {name: _checksum(folder / name) for name in own})
    return {name: checksum for of_rank in found for name, checksum in of_rank.items()}


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
