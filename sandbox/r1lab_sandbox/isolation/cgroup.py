"""Control groups: memory and number of all processes of a slot together, and processors: a slot with fifty processes
gets no more of them than a slot with one. Only where they can be had (usually: as root).

Where they cannot, `r1lab_sandbox.driver` watches resident memory by itself, which is coarser.
"""

import errno
import os
import re
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PREFIX = "r1lab"
LOWERINGS, LOWERING_SECONDS = 40, 0.05


class ControlGroup:
    """One group, made for a slot and removed with it."""

    def __init__(self, memory: Path, pids: Path | None = None, cpu: Path | None = None):
        """pids, cpu: the folders that count processes and share out processors, where there are any."""
        self.memory, self.pids, self.cpu = memory, pids, cpu
        self._is_first = (memory / "memory.limit_in_bytes").exists()  # a file of version 1 only

    def limit(self, memory_mb: int, processes: int | None = None) -> None:
        """Of memory, swap excluded, and of processes and threads. Raises OSError."""
        if self.pids is not None and processes is not None:
            (self.pids / "pids.max").write_text(str(processes))
        number = str(memory_mb << 20)
        if not self._is_first:
            (self.memory / "memory.max").write_text(number)
            with suppress(OSError):
                (self.memory / "memory.swap.max").write_text("0")
            return
        with_swap = self.memory / "memory.memsw.limit_in_bytes"  # version 1 counts memory with swap, 2 swap alone
        with suppress(OSError):  # never below the other: a higher limit begins with this one, a lower one ends with it
            with_swap.write_text(number)
        for left in reversed(range(LOWERINGS)):
            try:
                (self.memory / "memory.limit_in_bytes").write_text(number)
                break
            except OSError as error:  # the kernel is still taking back what the last run had
                if error.errno != errno.EBUSY or not left:
                    raise
                with suppress(OSError):
                    (self.memory / "memory.force_empty").write_text("0")
                time.sleep(LOWERING_SECONDS)
        with suppress(FileNotFoundError):
            with_swap.write_text(number)

    def add(self, pid: int) -> None:
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def num_kills(self) -> int:
        """How often the kernel has killed for want of memory in here."""
        name = "memory.oom_control" if self._is_first else "memory.events"
        found = re.search(r"^oom_kill (\d+)", (self.memory / name).read_text(), re.MULTILINE)
        return int(found[1]) if found else 0  # `oom_kill 3`; older kernels do not say

    def num_refusals(self) -> int:
        """How often there was no more memory in here."""
        if self._is_first:
            return int((self.memory / "memory.failcnt").read_text())
        found = re.search(r"^max (\d+)", (self.memory / "memory.events").read_text(), re.MULTILINE)
        return int(found[1]) if found else 0  # `max 12`

    def remove(self) -> None:
        for folder in self.folders:
            with suppress(OSError):
                folder.rmdir()

    @property
    def folders(self) -> set[Path]:
        return {self.memory, self.pids or self.memory, self.cpu or self.memory}


def make(name: str) -> ControlGroup | None:
    """A group below this process's own, or None where that is not allowed. Removes what dead processes left."""
    memory = _made("memory", name)
    if memory is None:
        return None
    group = ControlGroup(memory, _made("pids", name), _made("cpu", name))
    try:
        group.limit(1 << 20)
    except OSError:
        group.remove()
        return None
    return group


def _made(controller: str, name: str) -> Path | None:
    """A folder of this controller, in which it counts; None where that cannot be had."""
    parent = _own(controller)
    if parent is None:
        return None
    _tidy(parent)
    folder = parent / f"{PREFIX}-{os.getpid()}-{name}"
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return None
    if any((folder / f"{controller}.{limit}").exists() for limit in ("max", "limit_in_bytes", "shares")):
        return folder
    with suppress(OSError):
        folder.rmdir()
    return None


def _own(controller: str) -> Path | None:
    """Where this process is counted: version 1's controller, else version 2's tree."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    places = {}
    for _, kinds, path in (line.split(":", 2) for line in lines):
        places |= dict.fromkeys(kinds.split(","), path)
    first = ROOT / controller / places[controller].lstrip("/") if controller in places else None
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
