"""One seat of the pool, the parent's side: a worker at a time, replaced after every failure. Not the queue (`pool`)."""

import time
from collections.abc import Mapping
from dataclasses import replace

from sandbox.forkserver import ForkServer, Worker, WorkerDied, WorkerLate
from verifiers.blame import Failure, Run
from verifiers.plugin import Resolved
from verifiers.worker import MAX_REPLY, Build, Check, decode, encode


class Seat:
    """Runs checks one after the other, each within the deadline. Belongs to one thread."""

    def __init__(
        self,
        server: ForkServer,
        table: Mapping[str, Resolved],
        *,
        deadline: float,
        build_deadline: float,
        memory_mb: int,
    ):
        self._server, self._table = server, table
        self._deadline, self._build_deadline = deadline, build_deadline
        self._enter = ("sandbox.limits:apply", {"memory_mb": memory_mb})
        self._serve = ("verifiers.worker:serve", {"cpu_seconds": 2 * max(deadline, build_deadline)})
        self._worker: Worker | None = None
        self._built: set[str] = set()
        self._is_tired = False
        self._number = 0

    def run(self, check: Check, is_fresh: bool = False) -> Run:
        """One check; in a worker that judges nothing else where `is_fresh`. SandboxError where no worker can be had."""
        if is_fresh or self._worker is None or not self._worker.is_alive():
            self.leave()
            self._worker = self._server.spawn(self._serve, self._enter)
        run = (
            self._build(check.name)
            or self._ask(check, self._deadline)
            or Failure("crash", "an answer without a verdict")
        )
        if is_fresh or self._is_tired or isinstance(run, Failure):
            self.leave()
        return run

    def leave(self) -> None:
        """Kill the worker, if there is one."""
        if self._worker is not None:
            self._worker.close()
        self._worker, self._built, self._is_tired = None, set(), False

    def _build(self, name: str) -> Failure | None:
        """Make the verifier in this worker, once. What it imports takes its time: it has a deadline of its own."""
        if name in self._built:
            return None
        self._built.add(name)
        made = self._ask(Build(name, self._table[name]), self._build_deadline)
        return replace(made, reason=f"making the verifier: {made.reason}") if isinstance(made, Failure) else None

    def _ask(self, request: Build | Check, seconds: float) -> Run | None:
        """The answer to one request; None to a Build that worked."""
        self._number += 1
        start = time.monotonic()
        try:
            frame = self._worker.ask(encode(self._number, request), seconds=seconds, limit=MAX_REPLY)
            reply = decode(frame, self._number)
        except WorkerLate:
            return Failure("timeout", f"no verdict within {seconds:g} s", time.monotonic() - start)
        except (WorkerDied, ValueError) as error:
            return Failure("crash", str(error), time.monotonic() - start)
        spent = time.monotonic() - start
        self._is_tired = bool(reply.get("tired"))
        if "failure" in reply:
            return Failure("crash", str(reply["failure"]), spent)
        return replace(reply["verdict"], seconds=spent) if "verdict" in reply else None
