"""Runs programs behind kernel walls: `Sandbox.run`, from any thread. The entrance of this package.

Each slot is a worker of a fork server that has a jail of its own; a run gets a fresh PID, mount and IPC namespace in it.
Without isolation there is no sandbox: SandboxError says what to enable. Covered: files, network, other processes, the
kernel's rarer calls, memory, processes, time, output. Not covered: bugs of the kernel behind the calls that remain.
"""

import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from sandbox import cgroup, driver, rootfs
from sandbox.forkserver import ForkServer, SandboxError, Worker, WorkerDied, WorkerLate
from sandbox.outcome import Limits, Outcome, Program

BACKENDS = ("namespaces", "bubblewrap")
WARM = (
    "sandbox.driver", "sandbox.inside", "array", "bisect", "cmath", "collections", "copy", "dataclasses", "datetime",
    "decimal", "enum", "fractions", "functools", "heapq", "itertools", "math", "operator", "queue", "random", "re",
    "statistics", "string", "struct", "time", "typing",
)  # fmt: skip
"""What programs import most, loaded before they are forked."""
GRACE_SECONDS = 30.0
START_SECONDS = 30.0
MAX_FRAME = 256 << 20
REMEDY = (
    "enable unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces=10000, "
    "on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0), run as root, or install bubblewrap: "
    "pip install 'r1lab[sandbox]'"
)
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
"""Of the environment; a program could read the rest out of the memory it inherits."""


class Slot:
    """One worker with its jail. Used by one thread at a time."""

    def __init__(self, server: ForkServer, shown: rootfs.View, backend: str, name: str):
        self.group = cgroup.make(name)
        settings = {"shown": shown, "group": self.group, "backend": backend}
        try:
            self.worker: Worker = server.spawn(("sandbox.driver:serve", settings))
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
            answer = self.worker.ask(frame, seconds=seconds + GRACE_SECONDS, limit=MAX_FRAME)
        except (WorkerDied, WorkerLate) as error:
            raise SandboxError(f"the slot {'hangs' if isinstance(error, WorkerLate) else 'ended'}: {error}") from error
        if answer[:1] == b"E":
            raise SandboxError(answer[1:].decode(errors="replace"))
        return answer

    def close(self) -> None:
        if hasattr(self, "worker"):
            self.worker.close()
        if self.group is not None:
            self.group.remove()


class Session:
    """A conversation with a running program, in turns; the program speaks first."""

    def __init__(self, slot: Slot, seconds: float, answer: bytes):
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
            self.outcome = driver.unpack(answer[1:])
            return None
        return answer[1:]


class Sandbox:
    """Slots that run programs; a context manager; nothing is left of it after `close`."""

    def __init__(self, *, slots: int | None = None, packages: Iterable[str] = ("numpy",), backend: str = "auto"):
        """slots: runs at once; None: one for each core. packages: what programs may import besides the standard
        library. backend: `auto` (the first that works), `namespaces` or `bubblewrap`. Raises SandboxError."""
        if backend not in ("auto", *BACKENDS):
            raise ValueError(f"backend {backend!r}: allowed are auto, {', '.join(BACKENDS)}")
        self.slots = slots or len(os.sched_getaffinity(0))
        self._shown = rootfs.view(packages)
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self._server = ForkServer(preload=WARM, environment=kept)
        self._free: list[Slot] = []
        self._num_slots = self._num_made = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self.backend = self._choose(backend)

    def run(self, program: Program, limits: Limits) -> Outcome:
        """Run it to its end. SandboxError where the sandbox itself fails, never because of the program."""
        with self._slot() as slot:
            return driver.unpack(slot.ask(request(program, limits, live=False), limits.seconds)[1:])

    @contextmanager
    def converse(self, program: Program, limits: Limits) -> Iterator[Session]:
        """A conversation; it is closed at the end of the block."""
        with self._slot() as slot:
            session = Session(slot, limits.seconds, slot.ask(request(program, limits, live=True), limits.seconds))
            yield session
            session.close()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            free, self._free = self._free, []
            self._changed.notify_all()
        self._server.close()
        for slot in free:
            slot.close()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _choose(self, wanted: str) -> str:
        """The first backend that starts; its slot is kept."""
        reasons = []
        for backend in BACKENDS if wanted == "auto" else (wanted,):
            self.backend = backend
            try:
                self._free.append(self._make())
                self._num_slots = 1
                return backend
            except SandboxError as error:
                reasons.append(str(error))
        self._server.close()
        raise SandboxError(f"no isolation, so no program is run ({'; '.join(reasons)}). {REMEDY}")

    def _make(self) -> Slot:
        self._num_made += 1
        return Slot(self._server, self._shown, self.backend, str(self._num_made))

    @contextmanager
    def _slot(self) -> Iterator[Slot]:
        """A slot of one's own. A conversation between two programs needs two, so there are twice as many at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._free or self._num_slots < 2 * self.slots)
            if self._is_closed:
                raise SandboxError("this sandbox is closed")
            slot = self._free.pop() if self._free else None
            self._num_slots += slot is None
        try:
            slot = slot or self._make()
            yield slot
        except BaseException:  # where it stands in a conversation is unknown
            with self._changed:
                self._num_slots -= 1
                self._changed.notify()
            if slot is not None:
                with suppress(OSError):
                    slot.close()
            raise
        with self._changed:
            if not self._is_closed:
                self._free.append(slot)
                slot = None
            self._changed.notify()
        if slot is not None:
            slot.close()


def request(program: Program, limits: Limits, *, live: bool) -> bytes:
    """The frame that starts a run."""
    has_line = program.kind != "script"
    header = {"limits": asdict(limits), "live": live, "has_line": has_line,
              "messages": [message.decode() for message in program.messages]}  # fmt: skip
    inner = {"kind": program.kind, "source": program.source, "argv": program.argv, "files": program.files,
             "extra": program.extra}  # fmt: skip
    head, body = json.dumps(header).encode(), json.dumps(inner).encode()
    if len(body) + len(program.stdin) > MAX_FRAME // 2:
        raise ValueError(f"a program and its input of {len(body) + len(program.stdin)} bytes; at most {MAX_FRAME // 2}")
    return b"".join([b"R", driver.SIZES.pack(len(head), len(body), len(program.stdin)), head, body, program.stdin])
