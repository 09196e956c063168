"""One slot of the pool, the parent's side: a worker process at a time, replaced after every failure. Not the queue
(`pool`)."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from r1lab_sandbox.forkserver.forkserver import ForkServer, Worker, WorkerDied, WorkerLate
from r1lab_verifiers.plugin import Table
from r1lab_verifiers.pool.blame import Failure, Run
from r1lab_verifiers.pool.worker import MAX_REPLY_BYTES, BuildRequest, CheckRequest, decode, encode

MAKING = "making the verifier"
"""What the reason of a failure begins with where no check came to be run."""
MAX_PAUSE_SECONDS = 0.003
"""For which answers gather: short beside any deadline."""
MAX_SENT_BYTES = 1 << 16
"""Bytes of checks sent together: less than any socket's buffer, so that neither side waits for the other to read."""


class VerifierSlot:
    """Runs checks in a worker process, one after the other, each within the deadline. Belongs to one thread.

    Checks are sent several at once, so that the worker need not wait for the next; each one's time starts when the
    answer before it has come.
    """

    def __init__(self, server: ForkServer, table: Table, *, deadline: float, build_deadline: float, memory_mb: int):
        self._server, self._table = server, table
        self._deadline, self._build_deadline = deadline, build_deadline
        self._enter = ("r1lab_sandbox.isolation.limits:apply", {"memory_mb": memory_mb})
        self._serve = ("r1lab_verifiers.pool.worker:serve", {"cpu_seconds": 2 * max(deadline, build_deadline)})
        self._worker: Worker | None = None
        self._built: set[str] = set()
        self._is_tired = False
        self._number = 0

    def run(
        self, checks: Sequence[CheckRequest], is_fresh: bool = False, expected_seconds: float = 0.0
    ) -> Iterator[Run]:
        """Checks of one verifier, in order; in a worker that judges nothing else where `is_fresh`.

        expected_seconds: what one of them takes, going by earlier ones, so that several answers are read at once.

        Ends early where the worker had to go (a failure is its last run) or a later check is too large to be sent with
        the others: the rest is still to be run. Raises what a check raises that cannot be pickled, and SandboxError
        where no worker can be had, always for the check whose turn it is.
        """
        if is_fresh or self._worker is None or not self._worker.is_alive():
            self.leave()
            self._worker = self._server.spawn(self._serve, self._enter)
        if (failure := self._build(checks[0].name)) is not None:
            self.leave()
            yield failure
            return
        frames = self._encoded(checks)
        for left in range(len(frames), 0, -1):
            together = frames if left == len(frames) else ()
            pause = min(MAX_PAUSE_SECONDS, (left - 1) * expected_seconds)
            run = self._answer(self._number - left + 1, self._deadline, together, pause)
            run = run or Failure("crash", "an answer without a verdict")
            is_over = is_fresh or self._is_tired or isinstance(run, Failure)
            if is_over:
                self.leave()
            yield run
            if is_over:
                return

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
        self._number += 1
        request = encode(self._number, BuildRequest(name, self._table[name]))
        made = self._answer(self._number, self._build_deadline, [request])
        return replace(made, reason=f"{MAKING}: {made.reason}") if isinstance(made, Failure) else None

    def _encoded(self, checks: Sequence[CheckRequest]) -> list[bytes]:
        """The first check and those after it that fit in a socket's buffer, each with its number."""
        frames, size = [], 0
        for check in checks:
            try:
                frame = encode(self._number + 1, check)
            except Exception:  # an item that cannot be pickled: its turn comes
                if not frames:
                    raise
                break
            size += len(frame)
            if frames and size > MAX_SENT_BYTES:
                break
            self._number += 1
            frames.append(frame)
        return frames

    def _answer(self, number: int, seconds: float, frames: Sequence[bytes] = (), pause: float = 0.0) -> Run | None:
        """The next answer, which the worker has `seconds` for from now on; None to a BuildRequest that worked.

        frames: requests to send first, this one's and those to follow. pause: seconds to let answers gather before any
        is read, so that this thread is not woken for each.
        """
        assert self._worker is not None  # `run` made one
        start = time.monotonic()
        try:
            if frames:
                self._worker.send(frames, seconds=seconds)
            if pause and not self._worker.has_received():
                time.sleep(pause)
            frame = self._worker.receive(seconds=start + seconds - time.monotonic(), limit=MAX_REPLY_BYTES)
            reply = decode(frame, number)
        except WorkerLate:
            return Failure("timeout", f"no verdict within {seconds:g} s", time.monotonic() - start)
        except (WorkerDied, ValueError) as error:
            return Failure("crash", str(error), time.monotonic() - start)
        spent = reply.seconds  # the check's own: it may have begun before its turn to be read
        if spent > seconds:  # this thread came late to read it
            return Failure("timeout", f"no verdict within {seconds:g} s", spent)
        self._is_tired = reply.is_tired
        return Failure("crash", reply.outcome, spent) if isinstance(reply.outcome, str) else reply.outcome
