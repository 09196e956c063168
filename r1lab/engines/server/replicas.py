"""Servers that a run starts on its own machine and ends with itself (`engine.replicas`). Not those that others start
(`engine.urls`), nor what is asked of either (`r1lab.engines.server.engine`)."""

import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from r1lab.distributed import ranks
from r1lab.distributed.launch import free_port
from r1lab.distributed.process_tree import ProcessTree
from r1lab.engines.server import launch
from r1lab.engines.server.client import KEY_VARIABLE, Gone, ServerRefusal, Wire
from r1lab.errors import RecipeError, RunError
from r1lab.policy import location

OF_LAUNCHERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What would make a server one of the trainers."""
MOST_STARTS = 5
START_SECONDS = 600.0
"""Seconds that a server may take to answer for the first time."""
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class ReplicaPlan:
    """What each replica is."""

    model: str
    kind: Literal["local", "vllm"]
    dtype: str
    threads: int
    """Of a local one; on a GPU it does not matter."""
    tensor_parallel: int = 1
    more: tuple[str, ...] = ()
    """Options of vLLM's."""


def devices(count: int, tensor_parallel: int) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each replica: the GPUs after those of this machine's trainers; empty without a GPU.

    RecipeError where there are fewer.
    """
    available = torch.cuda.device_count()
    trainers, asked = ranks.neighbours(), count * tensor_parallel
    if ranks.size() > trainers:
        raise RecipeError(
            f"engine.replicas: {count} servers start on rank 0's machine alone, and {ranks.size()} trainers run on "
            "several; start servers with r1lab serve and name them in engine.urls"
        )
    if not available:
        return [""] * count
    if trainers + asked > available:
        raise RecipeError(
            f"engine.replicas: {count} servers of {tensor_parallel} GPU(s) and {trainers} trainer(s) need "
            f"{trainers} + {count} x {tensor_parallel} = {trainers + asked} GPUs, and there are {available}; ask for "
            "fewer, or take engine.kind: vllm, which shares the trainer's GPU"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(available)))
    free = visible.split(",")[trainers:]
    return [",".join(free[at * tensor_parallel : (at + 1) * tensor_parallel]) for at in range(count)]


class Replicas:
    """Servers on free ports of this machine; one that dies is started again, some times."""

    def __init__(self, plan: ReplicaPlan, places: Sequence[str], say: Callable[[str], None]):
        """`places`: the GPUs of each. RunError where one does not start."""
        self.say, self.closed, self.has_died = say, threading.Event(), False
        self.logs = Path(tempfile.mkdtemp(prefix="r1lab-servers-"))
        os.environ[KEY_VARIABLE] = secrets.token_hex(16)  # the machine's other users must not replace the weights
        self.lock, self.processes = threading.Lock(), list[ProcessTree]()
        with ExitStack() as undo:
            undo.callback(self.close)
            self.commands = [_command(plan, place, free_port()) for place in places]
            self.urls = [f"http://127.0.0.1:{port}" for _, _, port in self.commands]
            for number in range(len(places)):
                self.processes.append(self.start(number))
            for number in range(len(places)):
                self.wait(number)
            undo.pop_all()
        threading.Thread(target=self.watch, daemon=True).start()

    def start(self, number: int) -> ProcessTree:
        arguments, environment, _ = self.commands[number]
        inherited = {name: value for name, value in os.environ.items() if name not in OF_LAUNCHERS}
        with self.log(number).open("a") as log:
            return ProcessTree(arguments, env=inherited | environment, stdout=log, stderr=log)

    def log(self, number: int) -> Path:
        return self.logs / f"server-{number}.log"

    def wait(self, number: int) -> None:
        """Wait until a server answers. RunError with its last words where it ended before, or after too long."""
        wire, ends = Wire(self.urls[number]), time.monotonic() + START_SECONDS
        while time.monotonic() < ends and self.processes[number].poll() is None:
            with suppress(Gone, ServerRefusal):
                return wire.get("/health", 1.0)
            time.sleep(POLL_SECONDS)
        self.has_died = True
        said = self.log(number).read_text(errors="replace").strip().splitlines() or ["nothing"]
        raise RunError(
            f"engine.replicas: server {number} did not start; it said: {said[-1][:300]} (all of it: {self.log(number)})"
        )

    def watch(self) -> None:
        """Start again what has died; the fleet sends it the weights."""
        starts = [1] * len(self.processes)
        while not self.closed.wait(POLL_SECONDS):
            for number, process in enumerate(self.processes):
                if process.poll() is None or starts[number] == MOST_STARTS:
                    continue
                starts[number] += 1
                with self.lock:
                    if not self.closed.is_set():
                        process.signal_all(signal.SIGKILL)
                        self.has_died = True
                        ended = f"server {self.urls[number]} ended ({process.returncode}) and starts again"
                        self.say(f"warning: {ended}; its log: {self.log(number)}")
                        self.processes[number] = self.start(number)

    def close(self) -> None:
        """End all of them; their logs stay where one has died."""
        self.closed.set()
        with self.lock:
            for process in self.processes:
                process.signal_all(signal.SIGKILL)
        if not self.has_died:
            shutil.rmtree(self.logs, ignore_errors=True)


def _command(plan: ReplicaPlan, place: str, port: int) -> tuple[list[str], dict[str, str], int]:
    """Arguments, environment and port of a replica."""
    if plan.kind == "vllm":
        more = ["--dtype", plan.dtype, "--tensor-parallel-size", str(plan.tensor_parallel), *plan.more]
        where = {"host": "127.0.0.1", "port": port, "on_gpu": bool(place), "key_env": KEY_VARIABLE}
        arguments, environment = launch.command(plan.model, **where, more=more)
    else:
        arguments = [sys.executable, "-m", "r1lab", "serve", plan.model, "--engine", "local", "--dtype", plan.dtype]
        arguments += ["--threads", str(plan.threads), "--port", str(port), "--key-env", KEY_VARIABLE]
        environment = {"PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": str(plan.threads)}
    if location.is_remote_code_trusted():
        arguments.append("--trust-remote-code")
    return arguments, environment | ({"CUDA_VISIBLE_DEVICES": place} if place else {}), port
