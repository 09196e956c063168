"""The Ray actor that holds one process of a run on its machine: starts it, hands on signals and what it prints, ends
with it. Not which processes there are, nor what becomes of one that has died (`r1lab.cluster.driver`)."""

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from r1lab.distributed.process_tree import ProcessTree
from r1lab.engines.server.client import MOVED_VARIABLE
from r1lab.run import files
from r1lab.run.manifest import r1lab_version

READ_SECONDS = 1.0
"""That a question for news waits for some."""
SHARED_SECONDS, POLL_SECONDS = 5.0, 0.2
"""That a file may take to show on another machine, and between two looks for it."""
MOST_LINES = 10_000
"""That are kept for who asks late."""
LINE_BYTES = 1 << 16
OF_WORKERS = ("RAY_JOB_ID", "RAY_RAYLET_PID", "RAY_CLIENT_MODE", "RAY_LD_PRELOAD_ON_WORKERS")
"""What would make a process that joins Ray by itself one of Ray's own workers."""


@dataclass(frozen=True)
class Place:
    """Where an actor has come to be, and what it sees there."""

    node: str
    """Ray's name of the machine."""
    host: str
    """For people."""
    address: str
    port: int
    """That nobody listens at."""
    gpus: str
    """CUDA_VISIBLE_DEVICES of this actor; empty without a GPU."""
    version: str
    said: str
    """What the nonce file holds here; empty where it is not there."""
    missing: tuple[str, ...]
    """Of the paths that were asked for."""


@dataclass(frozen=True)
class News:
    """What a process printed since: (1 for stdout or 2 for stderr, line), counted from its actor's start."""

    lines: list[tuple[int, str]]
    count: int
    code: int | None
    """Its exit code; None while it runs."""


class ProcessActor:
    """Holds one process. Ray calls its methods on several threads."""

    def __init__(self):
        self.tree: ProcessTree | None = None
        self.readers: list[threading.Thread] = []
        self.lines: deque[tuple[int, str]] = deque(maxlen=MOST_LINES)
        self.count, self.changed = 0, threading.Condition()
        self.moved = Path(tempfile.gettempdir()) / f"r1lab-moved-{os.getpid()}.json"

    def look(self, nonce: str, paths: Sequence[str]) -> Place:
        import ray

        address, said, ends = ray.util.get_node_ip_address(), "", time.monotonic() + SHARED_SECONDS
        while not said and time.monotonic() < ends:
            with suppress(OSError):
                said = Path(nonce).read_text(encoding="utf-8")
            time.sleep(0 if said else POLL_SECONDS)
        with socket.create_server((address, 0)) as found:
            port = found.getsockname()[1]
        missing = tuple(path for path in paths if not os.path.exists(path))
        node, gpus = ray.get_runtime_context().get_node_id(), os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return Place(node, platform.node(), address, port, gpus, r1lab_version(), said, missing)

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], folder: str) -> None:
        """`python -m r1lab ARGUMENTS` in a folder, in place of a process that ended before."""
        self.stop()
        # Ray's workers block Ctrl-C, which their children would inherit.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
        inherited = {name: value for name, value in os.environ.items() if name not in OF_WORKERS}
        own = {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", MOVED_VARIABLE: str(self.moved)}
        command = [sys.executable, "-m", "r1lab", *arguments]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.tree = tree = ProcessTree(command, env=inherited | own | dict(environment), cwd=folder, **pipes)
        streams = ((1, tree.stdout), (2, tree.stderr))
        self.readers = [threading.Thread(target=self._follow, args=each, daemon=True) for each in streams]
        for reader in self.readers:
            reader.start()

    def _follow(self, number: int, stream) -> None:
        for line in iter(lambda: stream.readline(LINE_BYTES), b""):
            with self.changed:
                self.lines.append((number, line.decode("utf-8", "replace").rstrip("\r\n")))
                self.count += 1
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def read(self, taken: int) -> News:
        """What came after the first `taken` lines, waited for a while."""
        tree = self.tree
        assert tree is not None  # nobody asks before the start
        with self.changed:
            self.changed.wait_for(lambda: self.count > taken or tree.poll() is not None, READ_SECONDS)
        code = tree.poll()
        if code is not None:
            tree.signal_all(signal.SIGKILL)  # what it started and left behind, which holds the pipes open
            for reader in self.readers:
                reader.join(READ_SECONDS)
        with self.changed:
            news = min(self.count - taken, len(self.lines))
            return News(list(self.lines)[len(self.lines) - news :], self.count, code)

    def send_signal(self, number: int) -> None:
        """To the process alone: it tells those it started."""
        if self.tree is not None:
            self.tree.send_signal(number)

    def tell_moved(self, urls: Mapping[str, str]) -> None:
        """Where servers are that were moved (`Wire.address`)."""
        files.atomic_file(self.moved, lambda path: path.write_text(json.dumps(dict(urls)), encoding="utf-8"))

    def stop(self) -> None:
        """End the process and those it started."""
        if self.tree is not None:
            self.tree.signal_all(signal.SIGKILL)
            self.moved.unlink(missing_ok=True)
