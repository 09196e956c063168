"""Runs verifiers that isolate by themselves what they run (model-written code): in this process, on one event loop.

The only asyncio of the project. Not killable from outside: such a verifier must come to an end, and one that is not
async holds up the others while it runs.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from r1lab_verifiers.plugin import Live, Table, load
from r1lab_verifiers.pool.blame import Failure, Run
from r1lab_verifiers.pool.worker import CheckRequest, describe

JOIN_SECONDS = 5.0


class IsolatedSlots:
    """At most `slots` checks at once, each within the verifier's own `deadline` attribute, else the pool's."""

    def __init__(self, table: Table, *, deadline: float, slots: int):
        self._table, self._deadline = table, deadline
        self._live: dict[str, Live] = {}
        self._slots = asyncio.Semaphore(slots)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def put(self, check: CheckRequest, done: Callable[[Run], None], cancelled: Callable[[], object]) -> None:
        """Run a check soon; `done(run)` is called on this object's thread, `cancelled()` where it closes first."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="verify-isolated", daemon=True)
            self._thread.start()
        asyncio.run_coroutine_threadsafe(self._run(check, done, cancelled), self._loop)

    def start(self, names: Iterable[str]) -> None:
        """Make those verifiers that start something of their own; raises whatever they raise."""
        for name in names:
            if self._table[name].isolated and hasattr(load(self._table[name].path), "start"):
                self._made(name).target.start()

    def close(self) -> None:
        """Cancel what runs; close the verifiers."""
        self._stop()
        for live in self._live.values():
            if hasattr(live.target, "close"):
                live.target.close()

    def _stop(self) -> None:
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(lambda loop: loop.create_task(self._cancel_all()), self._loop)
        self._thread.join(JOIN_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        asyncio.get_running_loop().stop()

    async def _run(self, check: CheckRequest, done: Callable[[Run], None], cancelled: Callable[[], object]) -> None:
        try:
            async with self._slots:
                run = await self._check(check)
        except asyncio.CancelledError:
            cancelled()
            raise
        done(run)

    async def _check(self, check: CheckRequest) -> Run:
        start = time.monotonic()
        try:
            live = self._made(check.name)
            async with asyncio.timeout(getattr(live.target, "deadline", self._deadline)) as clock:
                verdict = await live.verify_async(check.item_to_check(live))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # the verifier border
            kind = "timeout" if isinstance(error, TimeoutError) and clock.expired() else "crash"
            return Failure(kind, describe(error), time.monotonic() - start)
        return replace(verdict, seconds=time.monotonic() - start)

    def _made(self, name: str) -> Live:
        if name not in self._live:
            self._live[name] = self._table[name].build()
        return self._live[name]
