"""Runs verifiers on many completions in parallel worker processes, each check with a deadline.

A hostile completion costs one worker, never the run. Not who is to blame (`r1lab_verifiers.pool.blame`).

Items wait in one queue; each worker has a thread that takes items, asks, and kills what is late. Where many wait and
are quick, a worker is handed several at once and answers each of them; its thread lets answers gather for a few
milliseconds. What it did not come to because one of them failed goes back to the front of the queue. An item that
failed waits behind all others, then is run again on a fresh worker while nothing else runs, then its witness is. The
deadline is of each of these runs: wall clock from the moment when its worker can begin (it has answered the item
before; what waits in the queue has no clock) until the verdict is made. So an item that is late once and not again has
a verdict, whose `seconds` are those of all its runs, more than one deadline. And an item waits at most one deadline for
each hostile one ahead of it. Verifiers that confine what they run by themselves are driven by one more thread
(`r1lab_verifiers.pool.isolated`).
"""

import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field, replace

from r1lab_sandbox.forkserver.forkserver import ForkServer, SandboxError
from r1lab_verifiers.plugin import Resolved, Table, extend_path
from r1lab_verifiers.pool.blame import Run, blamed_verdict, is_passed
from r1lab_verifiers.pool.isolated import IsolatedSlots
from r1lab_verifiers.pool.slot import VerifierSlot
from r1lab_verifiers.pool.worker import CheckRequest
from r1lab_verifiers.verdict import Item, Verdict

BUILD_SECONDS = 60.0
"""For a verifier to be imported and made in a worker."""
MAX_ITEMS_TOGETHER = 128
"""Items that a worker is handed at once."""
QUICK_SECONDS = 0.03
"""What handed-out items may take together, going by the last ones: a slow one is handed out alone."""


@dataclass(slots=True)
class _Task:
    """An item on its way: up to three runs (first, retry, witness) end in its verdict; two where it is the witness."""

    name: str
    item: Item
    solution: str | None
    future: Future
    is_reference: bool = False
    runs: list[Run] = field(default_factory=list)

    def next_check(self) -> CheckRequest:
        """The run that is due: of the completion, or of the witness after two failures."""
        return CheckRequest(self.name, self.item, len(self.runs) == 2, self.solution)

    def is_decided(self) -> bool:
        """Whether there is a verdict, or nothing left to try."""
        return isinstance(self.runs[-1], Verdict) or len(self.runs) == 3 - self.is_reference


class Pool:
    """`submit` from any thread; a context manager; nothing is left running after `close`."""

    def __init__(
        self,
        table: Table,
        *,
        workers: int = 2,
        deadline: float = 5.0,
        memory_mb: int = 2048,
        import_paths: Iterable[str] = (),
        build_deadline: float = BUILD_SECONDS,
    ):
        """table: the run's verifiers by name. deadline, build_deadline: seconds for a check, for making a verifier.
        memory_mb: address space of a worker. import_paths: end up last on sys.path, here and in the workers."""
        if workers < 1 or deadline <= 0 or memory_mb < 1:
            raise ValueError(f"workers {workers}, deadline {deadline}, memory_mb {memory_mb}: each must be above 0")
        extend_path(import_paths)
        self._table = dict(table)
        self._first: deque[_Task] = deque()
        self._again: deque[_Task] = deque()
        self._waiting = threading.Condition()
        self._is_closed = False
        self._num_running = 0
        self._is_alone = False
        self._witnessed: dict[tuple[str, str], Run] = {}
        warm = {name: None for resolved in self._table.values() for name in resolved.preload}
        self._server = ForkServer(preload=["r1lab_verifiers.pool.worker", *warm])
        limits = {"deadline": deadline, "build_deadline": build_deadline, "memory_mb": memory_mb}
        self._isolated = IsolatedSlots(self._table, deadline=deadline, slots=workers)
        try:
            self._isolated.start(self._table)
        except BaseException:
            self._isolated.close()
            raise
        self._threads = [
            threading.Thread(target=self._drive, args=(seat,), name="verify", daemon=True)
            for seat in (VerifierSlot(self._server, self._table, **limits) for _ in range(workers))
        ]
        for thread in self._threads:
            thread.start()

    def add(self, name: str, verifier: Resolved) -> None:
        """One more verifier for the table, unless it has the name. Raises what one that starts something raises."""
        if name not in self._table:
            self._table[name] = verifier
            try:
                self._isolated.start([name])
            except BaseException:
                del self._table[name]
                raise

    def submit(
        self, item: Item, verifier: str, solution: str | None = None, *, is_reference: bool = False
    ) -> Future[Verdict]:
        """The verdict to come. solution: the problem's demonstration, its witness where checks fail. is_reference: what
        is judged is the witness itself, and none is asked for."""
        if verifier not in self._table:
            raise ValueError(f"verifier {verifier!r} is not in this pool's table: {', '.join(self._table) or 'none'}")
        if self._is_closed:
            raise RuntimeError("this verifier pool is closed")
        task = _Task(verifier, item, solution, Future(), is_reference)
        self._put(task)
        return task.future

    def close(self) -> None:
        """Cancel what waits, kill what runs; returns when no thread or process is left."""
        with self._waiting:
            self._is_closed = True
            self._waiting.notify_all()
        self._server.close()
        self._isolated.close()
        for thread in self._threads:
            thread.join()
        for task in (*self._first, *self._again):
            task.future.cancel()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _put(self, task: _Task) -> None:
        """Queue the task's next check. What failed before waits behind everything that did not."""
        with self._waiting:
            if self._is_closed:
                task.future.cancel()
            elif self._table[task.name].isolated:
                self._isolated.put(task.next_check(), lambda run: self._continue(task, run), task.future.cancel)
            else:
                (self._again if task.runs else self._first).append(task)
                self._waiting.notify()

    def _take(self, expected: float) -> list[_Task]:
        """The next tasks, once they may run; none at the end. One that failed runs while nothing else does: what killed
        or slowed it the first time may have been a neighbour. expected: seconds that one takes."""
        with self._waiting:
            self._waiting.wait_for(lambda: self._is_closed or self._may_take())
            if self._is_closed:
                return []
            self._is_alone = not self._first
            queue = self._first or self._again
            share = len(queue) // (2 * len(self._threads))
            count = 1 if self._is_alone else max(1, min(MAX_ITEMS_TOGETHER, share, int(QUICK_SECONDS / expected)))
            tasks = [queue.popleft()]
            while len(tasks) < count and queue[0].name == tasks[0].name:
                tasks.append(queue.popleft())
            self._num_running += len(tasks)
            return tasks

    def _may_take(self) -> bool:
        return not self._is_alone and bool(self._first or (self._again and not self._num_running))

    def _release(self, tasks: list[_Task], done: int) -> None:
        """The tasks run no more; what the worker did not come to is next again."""
        with self._waiting:
            self._first.extendleft(reversed(tasks[done:]))
            self._num_running -= len(tasks)
            if self._is_alone or done < len(tasks) or not self._num_running:
                self._is_alone = False
                self._waiting.notify_all()

    def _drive(self, seat: VerifierSlot) -> None:
        """One thread, one worker."""
        expected = QUICK_SECONDS
        while tasks := self._take(expected):
            start = time.monotonic()
            done = self._run(seat, tasks, expected)
            expected = max(1e-6, (time.monotonic() - start) / done)
            self._release(tasks, done)
        seat.leave()

    def _run(self, seat: VerifierSlot, tasks: list[_Task], expected: float) -> int:
        """How many of the tasks were run, from the first on: at least one. expected: seconds that one takes."""
        runs = seat.run([task.next_check() for task in tasks], bool(tasks[0].runs), expected)
        for done, task in enumerate(tasks):
            try:
                run = next(runs, None)
            except Exception as error:
                seat.leave()
                self._fail(task, error)
                return done + 1
            if run is None:
                return done
            self._continue(task, run)
        return len(tasks)

    def _fail(self, task: _Task, error: Exception) -> None:
        """No worker can be had; or an item that cannot be pickled, or a bug of ours: never a future that hangs."""
        if isinstance(error, SandboxError):
            self._finish(task, Verdict(None, "error", reason=str(error), has_failed=True))
        elif task.future.set_running_or_notify_cancel():
            task.future.set_exception(error)

    def _continue(self, task: _Task, run: Run) -> None:
        """One run more is known: decide, or queue the next."""
        task.runs.append(run)
        if len(task.runs) == 1 and isinstance(run, Verdict):  # all but always
            self._finish(task, run)
            return
        key = (task.name, task.item.problem_id)
        if len(task.runs) == 2 and not task.is_decided() and key in self._witnessed:
            task.runs.append(self._witnessed[key])
        if not task.is_decided():
            self._put(task)
            return
        if len(task.runs) == 3 and is_passed(run) and task.item.problem_id:
            self._witnessed[key] = replace(run, seconds=0.0)
        verdict = blamed_verdict(*task.runs)
        if len(task.runs) > 1:
            verdict = replace(verdict, seconds=sum(run.seconds for run in task.runs))
        self._finish(task, verdict)

    def _finish(self, task: _Task, verdict: Verdict) -> None:
        if self._is_closed:
            task.future.cancel()
            return
        try:
            task.future.set_result(verdict)
        except InvalidStateError:
            task.future.set_running_or_notify_cancel()  # it is cancelled: whoever waits for that hears of it
