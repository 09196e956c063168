"""A server as a child of this program, which ends with it: for benchmarks and tests. Not how runs find servers."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from r1lab.distributed.launch import free_port
from r1lab.engines.server.client import Gone, ServerRefusal, Wire
from r1lab.engines.server.launch import command
from r1lab.engines.server.replicas import ProcessTree
from r1lab.errors import RunError


class Child:
    """A server of this machine that a program starts, kills and starts again on the same port. A context."""

    def __init__(self, model: str, log: Path, *, more: Sequence[str] = (), is_local: bool = False):
        """Starts it; `log` gets what it writes. See `command` for `more`. `is_local`: one of the local engine on one
        thread, else vLLM's."""
        self.port = free_port()
        self.wire, self.log = Wire(f"http://127.0.0.1:{self.port}"), log
        if is_local:
            local = ["--engine", "local", "--threads", "1", "--port", str(self.port)]
            self.arguments = [sys.executable, "-P", "-m", "r1lab", "serve", model, *local, *more]
            self.environment = {"OMP_NUM_THREADS": "1"}
        else:
            import torch

            where = {"host": "127.0.0.1", "port": self.port, "on_gpu": torch.cuda.is_available()}
            self.arguments, self.environment = command(model, **where, more=more)
        self.start()

    @property
    def url(self) -> str:
        return self.wire.url

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = ProcessTree(self.arguments, env=os.environ | self.environment, stdout=log, stderr=log)

    def wait(self, seconds: float = 300.0) -> None:
        """Wait until it answers. RunError where it ended before, or after so long."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and self.process.poll() is None:
            with suppress(Gone, ServerRefusal):
                self.wire.get("/health", 1.0)
                return
            time.sleep(0.5)
        raise RunError(f"no server at {self.url} after {seconds:g} s; see {self.log}")

    def signal(self, number: int) -> None:
        """Send a signal to it and the processes that it started; returns once SIGKILL has done its work."""
        self.process.signal_all(number)

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_) -> None:
        self.signal(signal.SIGKILL)
