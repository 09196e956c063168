"""The worlds of a stage's episodes and what they share: worker processes, the sandbox, threads. Knows no token.

A `World` is one episode's: its actions, and what it answers to each. What is asked of one is a future, so that many
worlds answer at once; whatever happens in one, its future ends in an answer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from r1lab.environments.pool import Answer, Broken, WorkerPool
from r1lab.environments.resolve import ResolvedEnvironment
from r1lab.environments.worker import CallRequest, PlayRequest, as_answer, digest_of
from r1lab_data import Problem
from r1lab_sandbox.box import Sandbox


class World(Protocol):
    """One episode's world. One question at a time: the next comes when the last is answered."""

    def start(self) -> Future[Answer]:
        """What `reset` says: {observation, ...}."""
        ...

    def step(self, text: str) -> Future[Answer]:
        """The answer to a turn: {observation, done, reward, info}."""
        ...

    def end(self) -> Future[Answer]:
        """The verdict: {verdict: ... or None}. The world is not asked again."""
        ...


class Host:
    """Opens worlds. From any thread; nothing is left running after `close`."""

    def __init__(
        self, *, workers: int = 2, deadline: float = 5.0, memory_mb: int = 2048, import_paths: Iterable[str] = ()
    ):
        """workers: processes, programs and episodes at once; deadline: seconds for an answer; memory_mb: a worker's."""
        self.workers = workers
        limits = {"deadline": deadline, "memory_mb": memory_mb, "import_paths": tuple(import_paths)}
        self._limits: dict[str, Any] = limits
        self._lock = threading.Lock()
        self._pool: WorkerPool | None = None
        self._sandbox: Sandbox | None = None
        self._threads: ThreadPoolExecutor | None = None

    def world(self, environment: ResolvedEnvironment, problem: Problem, seed: int, key: str, home: int) -> World:
        """The world of an episode; `key` names it among all that are open, `home` is its worker's number."""
        if environment.is_confined:
            return ConfinedWorld(self, environment, problem, seed)
        return PlayedWorld(self.pool, PlayRequest(key, environment, problem, seed), home)

    def call(self, path: str, arguments: dict[str, Any], seed: int) -> Future[tuple[str, str]]:
        """A function of the user's, called in a worker: its text and a status."""
        done: Future[tuple[str, str]] = Future()

        def told(future: Future[Answer]) -> None:
            try:
                done.set_result(_told(future.result()))
            except BaseException as error:  # cancelled, or a bug of ours: never a future that hangs
                done.set_result((f"error: {type(error).__name__}", "crash"))

        self.pool.submit(CallRequest(path, arguments, seed), seed).add_done_callback(told)
        return done

    @property
    def pool(self) -> WorkerPool:
        with self._lock:
            self._pool = self._pool or WorkerPool(workers=self.workers, **self._limits)
            return self._pool

    @property
    def sandbox(self) -> Sandbox:
        """SandboxError where this machine gives no isolation."""
        with self._lock:
            self._sandbox = self._sandbox or Sandbox(slots=self.workers)
            return self._sandbox

    @property
    def threads(self) -> ThreadPoolExecutor:
        with self._lock:
            self._threads = self._threads or ThreadPoolExecutor(self.workers, "episode")
            return self._threads

    def close(self) -> None:
        for part in (self._pool, self._sandbox):
            if part is not None:
                part.close()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)


def _told(answer: Answer) -> tuple[str, str]:
    """A call's answer as the model reads it."""
    if isinstance(answer, Broken):
        slow = answer.status == "timeout"
        return f"error: {'the call took too long' if slow else answer.reason}", answer.status
    if "raised" in answer:
        return f"error: {answer['raised']}", "failed"
    return answer["value"], "ok"


class PlayedWorld:
    """An environment in a worker, known by its actions: wherever the instance is lost, they are played again."""

    def __init__(self, pool: WorkerPool, request: PlayRequest, home: int):
        self._pool, self._request, self._home = pool, request, home
        self._last: Future[Answer] | None = None
        self._actions: tuple[str, ...] = ()
        self._known: tuple[str, ...] = ()

    def start(self) -> Future[Answer]:
        return self._ask()

    def step(self, text: str) -> Future[Answer]:
        self._note()
        self._actions = (*self._actions, text)
        return self._ask()

    def end(self) -> Future[Answer]:
        self._note()
        return self._ask(wants_verdict=True)

    def _note(self) -> None:
        """The digest of the last answer, by which a replay is known to be one."""
        assert self._last is not None  # `start` comes first
        answer = self._last.result()
        if not isinstance(answer, Broken):
            self._known = (*self._known, digest_of(answer))

    def _ask(self, wants_verdict: bool = False) -> Future[Answer]:
        first = self._request
        asked = PlayRequest(
            first.key, first.environment, first.problem, first.seed, self._actions, self._known, wants_verdict
        )
        self._last = self._pool.submit(asked, self._home)
        return self._last


class ConfinedWorld:
    """An environment of ours that runs in this process, on a thread, and confines what it runs."""

    def __init__(self, host: Host, environment: ResolvedEnvironment, problem: Problem, seed: int):
        self._host, self._environment = host, environment
        self._made = environment.make, (problem, seed)
        self._target: Any = None

    def start(self) -> Future[Answer]:
        return self._host.threads.submit(self._started)

    def step(self, text: str) -> Future[Answer]:
        return self._host.threads.submit(self._stepped, text)

    def end(self) -> Future[Answer]:
        done: Future[Answer] = Future()
        done.set_result({"verdict": None})
        return done

    def _started(self) -> Answer:
        try:
            make, arguments = self._made
            self._target = make(*arguments, means=self._host)
            return {"observation": self._target.reset(), "done": False, "reward": None, "info": {}}
        except Exception as error:  # the sandbox itself fails
            return Broken("error", f"{type(error).__name__}: {error}")

    def _stepped(self, text: str) -> Answer:
        try:
            return as_answer(self._target.step(text), self._environment.path)
        except Exception as error:  # the same
            return Broken("error", f"{type(error).__name__}: {error}")
