"""Control groups: memory of all processes of a slot together. Only where they can be had (usually: as root).

Where they cannot, `sandbox.driver` watches resident memory by itself, which is coarser.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PREFIX = "r1lab"


class Group:
    """One group, made for a slot and removed with it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._is_first = (folder / "memory.limit_in_bytes").exists()

    def limit(self, memory_mb: int) -> None:
        """Of memory, swap excluded. Raises OSError."""
        names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes") if self._is_first else ("memory.max",)
        for name in names:
            with suppress(FileNotFoundError):
                (self.folder / name).write_text(str(memory_mb << 20))
        if not self._is_first:
            with suppress(OSError):
                (self.folder / "memory.swap.max").write_text("0")

    def add(self, pid: int) -> None:
        (self.folder / "cgroup.procs").write_text(str(pid))

    def num_kills(self) -> int:
        """How often the kernel has killed for want of memory in here."""
        name = "memory.oom_control" if self._is_first else "memory.events"
        found = re.search(r"^oom_kill (\d+)", (self.folder / name).read_text(), re.MULTILINE)
        return int(found[1]) if found else 0

    def remove(self) -> None:
        with suppress(OSError):
            self.folder.rmdir()


def make(name: str) -> Group | None:
    """A group below this process's own, or None where that is not allowed. Removes what dead processes left."""
    parent = _own()
    if parent is None:
        return None
    _tidy(parent)
    folder = parent / f"{PREFIX}-{os.getpid()}-{name}"
    try:
        folder.mkdir(exist_ok=True)
        group = Group(folder)
        group.limit(1 << 20)
    except OSError:
        return None
    if not ((folder / "memory.limit_in_bytes").exists() or (folder / "memory.max").exists()):
        group.remove()
        return None
    return group


def _own() -> Path | None:
    """Where this process's memory is counted: version 1's controller, else version 2's tree."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    places = {kind: path for _, kind, path in (line.split(":", 2) for line in lines)}
    first = ROOT / "memory" / places["memory"].lstrip("/") if "memory" in places else None
    if first is not None and first.is_dir():
        return first
    second = ROOT / places.get("", "/").lstrip("/")
    return second if (second / "cgroup.controllers").exists() else None


def _tidy(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}-*"):
        pid = folder.name.split("-")[1]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            with suppress(OSError):
                folder.rmdir()
