"""A vLLM server as a child of this program, which ends with it: for benchmarks and tests. Not how runs find servers."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from r1lab.engines.server.client import Gone, ServerRefusal, Wire
from r1lab.engines.server.launch import command
from r1lab.errors import RunError

GUARD = "import os, sys; sys.stdin.read(); os.killpg(int(sys.argv[1]), 9)"


class ProcessTree(subprocess.Popen):
    """A process and those it starts, which end with the program that started it however that ends, SIGKILL too.

    A guard waits for the end of a pipe whose other end only that program holds. (PR_SET_PDEATHSIG would reach one
    process alone, and at the end of a mere thread.)
    """

    def __init__(self, arguments: Sequence[str], **options):
        """See subprocess.Popen."""
        super().__init__(arguments, start_new_session=True, **options)
        guard = [sys.executable, "-S", "-c", GUARD, str(self.pid)]
        self.guard = subprocess.Popen(guard, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)

    def signal_all(self, number: int) -> None:
        """Send a signal to all; returns once SIGKILL has done its work."""
        if number == signal.SIGKILL:
            self.guard.kill()
            self.guard.communicate()  # closes its pipe and waits
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        if number == signal.SIGKILL:
            self.wait()


class Child:
    """A server of this machine that a program starts, kills and starts again on the same port. A context."""

    def __init__(self, model: str, log: Path, *, more: Sequence[str] = ()):
        """Starts it; `log` gets what it writes. See `command` for `more`."""
        import torch

        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.wire, self.log = Wire(f"http://127.0.0.1:{self.port}"), log
        self.arguments, self.environment = command(
            model, host="127.0.0.1", port=self.port, on_gpu=torch.cuda.is_available(), more=more
        )
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
