"""The parent's side: starts the template process, asks it for workers, talks to them with deadlines.

A worker is a fork of a warm process, connected by a socket. It may hang, die, close its descriptors or write nonsense:
the parent waits on socket and pidfd at once, kills what is late, and never unpickles what comes back. Linux only.
What a worker may not do is decided by the `enter` call; without one it is merely killable, not confined. A process that
is forked off this one has none of its workers.
"""

import json
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from r1lab_sandbox.forkserver.frames import HEADER

Call = tuple[str, dict]
"""A dotted path `module:function` and its keyword arguments."""
START_SECONDS = 60.0
"""For the template to import its modules and fork: past it, it is taken for hung."""
START_ATTEMPTS = 3
READ_BYTES = 1 << 16
"""Bytes asked for in one read."""
ENVIRONMENT = {"PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Fixed hashing: a check that walks over a set of strings decides alike in every run. One thread: an address-space
limit cannot hold the stacks of a hundred."""


class SandboxError(OSError):
    """No worker can be had."""


class WorkerLate(Exception):
    """The deadline passed without an answer."""


class WorkerDied(Exception):
    """The worker ended, closed its socket or answered out of bounds."""


class Worker:
    """One forked process. Belongs to one thread; only `kill_group` may come from another."""

    def __init__(self, pid: int, pidfd: int, sock: socket.socket):
        self.pid, self._pidfd, self._sock = pid, pidfd, sock
        self._sock.setblocking(False)
        self._poll = select.poll()
        self._poll.register(pidfd, select.POLLIN)
        self._received, self._at = b"", 0
        self._closing = threading.Lock()
        self.is_closed = False

    def ask(self, payload: bytes, *, seconds: float, limit: int = 1 << 20) -> bytes:
        """Send one frame and return the one that answers it, of at most `limit` bytes, within `seconds` from now.

        Raises WorkerLate or WorkerDied; the worker is then of no more use: close it.
        """
        until = time.monotonic() + seconds
        self.send([payload], seconds=seconds)
        return self.receive(seconds=until - time.monotonic(), limit=limit)

    def send(self, payloads: Iterable[bytes], *, seconds: float) -> None:
        """Send frames, which the worker takes one after the other. Several together must fit in the socket's buffer
        (64 KiB do): a worker that answers does not read."""
        data = b"".join(HEADER.pack(len(payload)) + payload for payload in payloads)
        try:
            self._send(memoryview(data), time.monotonic() + seconds)
        except ConnectionError as error:
            raise WorkerDied("the worker closed its socket") from error

    def receive(self, *, seconds: float, limit: int = 1 << 20) -> bytes:
        """The next frame, within `seconds` from now. Raises as `ask` does."""
        until = time.monotonic() + seconds
        try:
            (size,) = HEADER.unpack(self._take(HEADER.size, until))
            if size > limit:
                raise WorkerDied(f"the worker answered {size} bytes; at most {limit}")
            return self._take(size, until)
        except ConnectionError as error:
            raise WorkerDied("the worker closed its socket") from error

    def has_received(self) -> bool:
        """Whether a frame, or its beginning, has been read together with one before it."""
        return self._at < len(self._received)

    def is_alive(self) -> bool:
        return not _ready(self._pidfd, 0)

    def is_group_ours(self) -> bool:
        """Whether the process group of this number can only be this worker's: the number is not given out again."""
        with open(f"/proc/self/fdinfo/{self._pidfd}") as file:
            is_reaped = "Pid:\t-1\n" in file.read()
        return not is_reaped or not os.path.exists(f"/proc/{self.pid}")

    def kill_group(self) -> None:
        """Kill what it started, where nobody else does: its template is gone."""
        with self._closing, suppress(ProcessLookupError, PermissionError):
            if not self.is_closed and self.is_group_ours():
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill it and wait until it is gone; the template reaps it and kills what it left behind."""
        with self._closing:
            if self.is_closed:
                return
            self.is_closed = True
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            _ready(self._pidfd, 5000)
            self._sock.close()
            os.close(self._pidfd)

    def forget(self) -> None:
        """In a forked child: close its copies of the descriptors; the process is the parent's."""
        if not self.is_closed:
            self.is_closed = True
            self._sock.close()
            os.close(self._pidfd)

    def _send(self, data: memoryview, until: float) -> None:
        while data:
            try:
                data = data[self._sock.send(data) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, until)

    def _take(self, size: int, until: float) -> bytes:
        """The next bytes; what comes with them is kept for later."""
        end = self._at + size
        if (missing := end - len(self._received)) > 0:
            parts = [self._received[self._at :]]
            while missing > 0:
                try:
                    part = self._sock.recv(max(missing, READ_BYTES))
                except BlockingIOError:
                    self._wait(select.POLLIN, until)
                    continue
                if not part:
                    raise WorkerDied("the worker ended without an answer")
                parts.append(part)
                missing -= len(part)
            self._received, self._at, end = b"".join(parts), 0, size
        taken = self._received[self._at : end]
        self._at = end
        return taken

    def _wait(self, event: int, until: float) -> None:
        """What has arrived counts, also after the deadline or the worker's death: the socket is looked at first."""
        self._poll.register(self._sock, event)
        ready = {fd for fd, _ in self._poll.poll(max(0.0, until - time.monotonic()) * 1000)}
        if self._sock.fileno() in ready:
            return
        if self._pidfd in ready:
            raise WorkerDied("the worker ended without an answer")
        raise WorkerLate


class ForkServer:
    """Starts a template that has imported `preload`, restarts it when it is killed. From any thread; close it.

    Workers find modules as this process does: the template takes over sys.path as it is when this object is made.
    """

    def __init__(self, *, preload: Iterable[str] = (), environment: Mapping[str, str] | None = None):
        """preload: modules the template imports. environment: the template's; None: this process's own."""
        if sys.platform != "linux":
            raise SandboxError(f"workers need Linux (pidfd, prctl), this is {sys.platform}; use a container or WSL")
        path = [entry or os.getcwd() for entry in sys.path]
        self._setup = json.dumps({"path": path, "preload": list(preload)}).encode()
        self._environment = os.environ if environment is None else environment
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._control: socket.socket | None = None
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()
        self._closed = False
        _SERVERS.add(self)

    def spawn(self, serve: Call, enter: Call | None = None) -> Worker:
        """A fresh worker that runs `enter(**kwargs)` and then `serve(socket, **kwargs)`; raises SandboxError."""
        request = pickle.dumps((enter, serve))
        with self._lock:
            for _ in range(START_ATTEMPTS):
                if self._closed:
                    raise SandboxError("this fork server is closed")
                try:
                    if self._process is None:
                        self._start()
                    return self._fork(request)
                except (ConnectionError, TimeoutError):
                    self._stop()
        raise SandboxError("the template process ends or hangs at its start; its last words are on stderr")

    def close(self) -> None:
        """Kill every worker and the template; returns when they are gone."""
        with self._lock:
            self._closed = True
            self._stop()

    @property
    def pid(self) -> int | None:
        """The template's, None before the first `spawn`."""
        return self._process.pid if self._process else None

    def _forget(self) -> None:
        """Let go of the parent's processes, which a child's copies of their sockets would keep from ending."""
        self._lock = threading.Lock()  # another thread may have held it
        if self._control is not None:
            self._control.close()
        for worker in list(self._workers):
            worker.forget()
        self._workers.clear()
        self._process = self._control = None

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "r1lab_sandbox.forkserver.template", str(theirs.fileno()), str(os.getpid())]
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(self._environment),
                start_new_session=True,
            )
        self._control = ours
        ours.settimeout(START_SECONDS)
        ours.sendall(HEADER.pack(len(self._setup)) + self._setup)

    def _fork(self, request: bytes) -> Worker:
        assert self._control is not None
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._control, [HEADER.pack(len(request))], [theirs.fileno()])
                self._control.sendall(request)
            answer, fds, _, _ = socket.recv_fds(self._control, 8, 1)
            if not answer:
                raise ConnectionResetError("the template process ended")
            pid = int.from_bytes(answer, "big", signed=True)
            if pid < 0:
                raise SandboxError(f"cannot fork a worker: {os.strerror(-pid)}")
        except BaseException:
            ours.close()
            raise
        os.set_inheritable(fds[0], False)
        worker = Worker(pid, fds[0], ours)
        self._workers.add(worker)
        return worker

    def _stop(self) -> None:
        """End the template, which buries its workers; where it was killed itself, kill what its workers started."""
        if self._process is None or self._control is None:
            return
        self._control.close()
        try:
            orderly = self._process.wait(timeout=10) == 0
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            orderly = False
        self._process = self._control = None
        workers = list(self._workers)
        self._workers.clear()
        if not orderly:
            for worker in workers:
                worker.kill_group()


_SERVERS: weakref.WeakSet[ForkServer] = weakref.WeakSet()


def _forget_all() -> None:
    for server in list(_SERVERS):
        server._forget()


os.register_at_fork(after_in_child=_forget_all)


def _ready(pidfd: int, milliseconds: int) -> bool:
    """Whether the process has ended, waiting up to so long."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(milliseconds))


def _environment(base: Mapping[str, str]) -> dict[str, str]:
    """Where this package lies must be found by `-m`; the template then takes over this process's own sys.path."""
    root = str(Path(__file__).resolve().parents[2])
    installed = root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    paths = [] if installed else [root]
    if base.get("PYTHONPATH"):
        paths.append(base["PYTHONPATH"])
    return {**base, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)}
