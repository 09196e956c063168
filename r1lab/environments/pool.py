"""Runs environments in killable worker processes, each answer within a deadline, and says whose fault a failure is.

A worker holds instances as a cache. Episodes have a home among the workers, so that an instance is mostly where its
next action goes; a worker with nothing to do takes another's work and plays the episode again. What fails is played
again in a fresh worker; if it fails there too, the actions before it are played alone: where they pass, the last action
is to blame, else the environment. So is a verdict that fails, which an episode of fewer actions, or of none, may have.
The processes are those of `r1lab_sandbox.forkserver`.
"""

import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from r1lab.environments.worker import CallRequest, ImportRequest, PlayRequest, decode, encode
from r1lab_sandbox.forkserver.forkserver import ForkServer, SandboxError, Worker, WorkerDied, WorkerLate
from r1lab_verifiers.plugin import extend_path
from r1lab_verifiers.pool.blame import Failure

IMPORT_SECONDS = 60.0
"""For an environment's module to be imported in a worker."""
MAX_REPLY_BYTES = 1 << 22

Request = PlayRequest | CallRequest


@dataclass(frozen=True)
class Broken:
    """An answer that did not come."""

    status: str
    """`timeout` or `crash`: the last action is to blame; `error`: it is not."""
    reason: str

    @property
    def verdict(self) -> dict[str, Any]:
        """What becomes of the episode: 0 by its own fault, no score by another's."""
        score = None if self.status == "error" else 0.0
        return {"score": score, "status": self.status, "extracted": None, "reason": self.reason[:500]}


Answer = dict[str, Any] | Broken


class WorkerSlot:
    """Asks one worker process at a time, replaced after every failure. Belongs to one thread."""

    def __init__(self, server: ForkServer, *, deadline: float, memory_mb: int):
        self._server, self._deadline = server, deadline
        self._enter = ("r1lab_sandbox.isolation.limits:apply", {"memory_mb": memory_mb})
        self._serve = ("r1lab.environments.worker:serve", {"cpu_seconds": 2 * max(deadline, IMPORT_SECONDS)})
        self._worker: Worker | None = None
        self._imported: set[str] = set()
        self._number = 0

    def ask(self, request: Request, is_fresh: bool = False) -> dict[str, Any] | Failure:
        """The answer; in a worker that has run nothing else where `is_fresh`. SandboxError where none can be had."""
        if is_fresh or self._worker is None or not self._worker.is_alive():
            self.leave()
            self._worker = self._server.spawn(self._serve, self._enter)
        path = request.path if isinstance(request, CallRequest) else request.environment.path
        if path not in self._imported:
            self._imported.add(path)
            made = self._answer(ImportRequest(path), IMPORT_SECONDS)
            if isinstance(made, Failure) or "failed" in made:
                self.leave()
                reason = made.reason if isinstance(made, Failure) else made["failed"]
                return {"error": f"{path} does not import in a worker: {reason}"}
        replayed = request.num_replayed if isinstance(request, PlayRequest) else 0
        answer = self._answer(request, self._deadline * (1 + replayed))
        if isinstance(answer, Failure) or "failed" in answer:
            self.leave()
            return answer if isinstance(answer, Failure) else Failure("crash", answer["failed"])
        return answer

    def leave(self) -> None:
        """Kill the worker, if there is one."""
        if self._worker is not None:
            self._worker.close()
        self._worker, self._imported = None, set()

    def _answer(self, request: Any, seconds: float) -> dict[str, Any] | Failure:
        assert self._worker is not None  # `ask` made one
        self._number += 1
        try:
            frame = self._worker.ask(encode(self._number, request), seconds=seconds, limit=MAX_REPLY_BYTES)
            return decode(frame, self._number).outcome
        except WorkerLate:
            return Failure("timeout", f"no answer within {seconds:g} s")
        except (WorkerDied, ValueError) as error:
            return Failure("crash", str(error))


@dataclass
class _Question:
    request: Request
    future: Future
    home: int
    is_pinned: bool


class WorkerPool:
    """`submit` from any thread; nothing is left running after `close`. Workers start when they are first needed."""

    def __init__(
        self, *, workers: int = 2, deadline: float = 5.0, memory_mb: int = 2048, import_paths: Iterable[str] = ()
    ):
        """deadline: seconds for an answer, as many times as actions have to be played again for it."""
        extend_path(import_paths)
        self._server = ForkServer(preload=["r1lab.environments.worker"])
        self._queues: list[deque[_Question]] = [deque() for _ in range(workers)]
        self._changed = threading.Condition()
        self._is_closed = False
        slots = [WorkerSlot(self._server, deadline=deadline, memory_mb=memory_mb) for _ in range(workers)]
        self._threads = [
            threading.Thread(target=self._drive, args=(slot, place), name="environment", daemon=True)
            for place, slot in enumerate(slots)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, request: Request, home: int = 0) -> "Future[Answer]":
        """The answer to come. home: a number that requests of one episode share."""
        is_pinned = isinstance(request, PlayRequest) and not request.environment.replayable
        task = _Question(request, Future(), home % len(self._queues), is_pinned)
        with self._changed:
            if self._is_closed:
                raise RuntimeError("these environments are closed")
            self._queues[task.home].append(task)
            self._changed.notify_all()
        return task.future

    def close(self) -> None:
        """Cancel what waits, kill what runs; returns when no thread or process is left."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._server.close()
        for thread in self._threads:
            thread.join()
        for task in (task for queue in self._queues for task in queue):
            task.future.cancel()

    def _take(self, place: int) -> _Question | None:
        """A task of one's own, else another's that is waiting behind one that runs; None at the end."""
        with self._changed:
            while not self._is_closed:
                if self._queues[place]:
                    return self._queues[place].popleft()
                longest = max(self._queues, key=len)
                for at, task in enumerate(longest):
                    if not task.is_pinned:
                        del longest[at]
                        return task
                self._changed.wait()
            return None

    def _drive(self, slot: WorkerSlot, place: int) -> None:
        """One thread, one worker."""
        while (task := self._take(place)) is not None:
            try:
                answer = _blamed(slot, task.request)
            except SandboxError as error:
                answer = Broken("error", str(error))
            except Exception as error:  # a request that cannot be pickled, or a bug of ours: never a future that hangs
                if task.future.set_running_or_notify_cancel():
                    task.future.set_exception(error)
                continue
            if task.future.set_running_or_notify_cancel():
                task.future.set_result(Broken("error", "closed") if self._is_closed else answer)
        slot.leave()


def _blamed(slot: WorkerSlot, request: Request) -> Answer:
    """The answer, or whose fault it is that there is none."""
    first = slot.ask(request)
    if not isinstance(first, Failure):
        return _told(first)
    if isinstance(request, PlayRequest) and not request.environment.replayable:
        return Broken("error", f"{first.kind}: {first.reason}; it cannot be played again (replayable is False)")
    last = slot.ask(request, is_fresh=True)
    if not isinstance(last, Failure):
        return _told(last)
    if isinstance(request, CallRequest):
        return Broken(last.kind, last.reason)
    for before in _shorter(request):
        passed = slot.ask(before, is_fresh=True)
        if not isinstance(passed, Failure) and "error" not in passed and not _is_error(passed.get("verdict")):
            return Broken(last.kind, last.reason)
    return Broken("error", f"{last.kind}: {last.reason}; and again in a fresh worker")


def _shorter(request: PlayRequest) -> list[PlayRequest]:
    """The same without its last action and, of a verdict, without any: where one of them is answered, it is the
    actions that are to blame."""
    num_actions = len(request.actions)
    shorter = dict.fromkeys([num_actions - 1, 0] if request.wants_verdict else [num_actions - 1]) if num_actions else ()
    return [
        replace(request, actions=request.actions[:count], known=request.known[: count + request.wants_verdict])
        for count in shorter
    ]


def _is_error(verdict: dict[str, Any] | None) -> bool:
    return verdict is not None and verdict["status"] == "error"


def _told(answer: dict[str, Any]) -> Answer:
    return Broken("error", answer["error"]) if "error" in answer else answer
