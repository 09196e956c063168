"""Slots of this machine: each is a worker process outside a jail of its own, and answers frames."""

import itertools
import os
from collections.abc import Iterable

from r1lab_sandbox import wire
from r1lab_sandbox.forkserver.forkserver import ForkServer, SandboxError, Worker, WorkerDied, WorkerLate
from r1lab_sandbox.isolation import cgroup, jail, rootfs
from r1lab_sandbox.records import MAX_GRANTED_SHARE

WARM = (
    "r1lab_sandbox.driver", "r1lab_sandbox.backends.slot", "r1lab_sandbox.inside.program", "array", "bisect", "cmath",
    "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "heapq", "itertools",
    "math", "operator", "queue", "random", "re", "statistics", "string", "struct", "time", "typing",
)  # fmt: skip
"""What programs import most, loaded before they are forked."""
NUMBERS = itertools.count(1)
"""Of control groups: each slot of this process has its own, whichever sandbox it belongs to."""
GRACE_SECONDS = 30.0
START_SECONDS = 30.0
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
"""Of the environment; a program could read the rest out of the memory it inherits."""


class SandboxSlot:
    """Used by one thread at a time."""

    def __init__(self, server: ForkServer, shown: rootfs.View, backend: str, group: cgroup.ControlGroup | None):
        self.has_group = group is not None
        """Whether a control group limits the memory of a run's processes together."""
        settings = {"shown": shown, "group": group, "backend": backend}
        try:
            self.worker: Worker = server.spawn(("r1lab_sandbox.driver:serve", settings))
            refusal = self.worker.ask(b"", seconds=START_SECONDS)
        except (WorkerDied, WorkerLate, SandboxError) as error:
            self.close()
            raise SandboxError(f"{backend}: the slot ended at its start ({type(error).__name__}: {error})") from error
        if refusal:
            self.close()
            raise SandboxError(f"{backend}: {refusal.decode(errors='replace')}")

    def ask(self, frame: bytes, seconds: float) -> bytes:
        """SandboxError where the slot itself fails; it is then of no more use."""
        try:
            whole = seconds * (1 + MAX_GRANTED_SHARE) + GRACE_SECONDS
            answer = self.worker.ask(frame, seconds=whole, limit=wire.MAX_FRAME_BYTES)
        except (WorkerDied, WorkerLate) as error:
            raise SandboxError(f"the slot {'hangs' if isinstance(error, WorkerLate) else 'ended'}: {error}") from error
        if answer[:1] == b"E":
            raise SandboxError(answer[1:].decode(errors="replace"))
        return answer

    def close(self) -> None:
        if hasattr(self, "worker"):
            self.worker.close()


class SandboxSlots:
    """Makes slots. packages: what programs may import besides the standard library."""

    def __init__(self, packages: Iterable[str]):
        self.num_slots = len(os.sched_getaffinity(0))
        self._shown = rootfs.view(packages)
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self._server = ForkServer(preload=WARM, environment={**kept, **jail.ALLOCATOR})
        self._groups: list[cgroup.ControlGroup] = []

    def make(self, backend: str) -> SandboxSlot:
        """SandboxError where it cannot start, or this machine has no such isolation."""
        group = cgroup.make(str(next(NUMBERS)))
        if group is not None:
            self._groups.append(group)
        return SandboxSlot(self._server, self._shown, backend, group)

    def close(self) -> None:
        """End every slot, also those in use. Groups go last: one that holds a process cannot be removed."""
        self._server.close()
        for group in self._groups:
            group.remove()
