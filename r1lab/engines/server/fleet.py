"""Track the health of a run's servers and send them weights; one that dies or hangs is given up until it is back.

Not which request goes where, which is the engine's (`r1lab.engines.server.engine`).
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from r1lab.engines.server import handshake
from r1lab.engines.server.client import FILE, Gone, ServerRefusal, Wire
from r1lab.engines.server.connection import Facts, Server
from r1lab.engines.server.transfer import FileRoute, NcclRoute, Parcel
from r1lab.errors import RunError
from r1lab.records import Request

MOST_REFUSALS = 3
"""Times in a row that a server may answer weights with an error."""
TICK_SECONDS = 0.2
"""Seconds between two looks at the clock."""


class Fleet:
    """All servers of `engine.urls`, in that order."""

    def __init__(
        self,
        wires: Sequence[Wire],
        config: Mapping[str, Any],
        eos: Collection[int],
        *,
        reconnect: float,
        prove: Callable[[Server, Parcel], None],
        say: Callable[[str], None],
    ):
        """`config` is the policy's text config; `prove` raises RunError where a server scores otherwise than it.

        ValueError for a server that cannot serve it, or is not there.
        """
        self.config, self.reconnect, self.prove, self.say = config, reconnect, prove, say
        self.retry_seconds = 2.0
        """Seconds between two looks for one server that is away."""
        self.deadline = wires[0].deadline
        self.refusals: Counter[Server] = Counter()
        self.asked: dict[Server, Future[Facts]] = {}
        """Who is away and is being asked whether it is back."""
        self.outcomes: SimpleQueue = SimpleQueue()
        facts = handshake.check([wire.url for wire in wires], wires[0].key_env, config)
        self.servers = [Server(wire, its_facts, self.outcomes, eos) for wire, its_facts in zip(wires, facts)]
        self.route = FileRoute() if facts[0].transfer == FILE else NcclRoute()
        self._parcel: Parcel | None = None
        for server in self.servers:
            self.route.connect(server.wire)

    @property
    def alive(self) -> list[Server]:
        return [server for server in self.servers if not server.why]

    @property
    def context(self) -> int:
        """Tokens that fit everywhere."""
        return min(server.facts.context for server in self.servers)

    @property
    def parcel(self) -> Parcel:
        """The newest weights."""
        assert self._parcel is not None  # nothing is sent before the first `publish`
        return self._parcel

    def publish(self, parcel: Parcel) -> None:
        """Send weights to every server that is there. RunError where none is, or where one did not get them."""
        self._parcel = parcel
        for server in self.alive:
            self.bring(server)
        self.look_for_lost()
        self.need_one(f"to take weights {parcel.label}")

    def bring(self, server: Server) -> bool:
        """Send the newest weights to one server and check that they arrived; False where it was given up."""
        try:
            self.parcel.send(server.wire, self.route)
            self.drop_prefixes(server)
            self.prove(server, self.parcel)
        except (Gone, ServerRefusal) as error:
            self.refusals[server] += isinstance(error, ServerRefusal)
            if self.refusals[server] == MOST_REFUSALS:
                raise RunError(
                    f"server {server.url} does not take weights {self.parcel.label}, tried {MOST_REFUSALS} times: "
                    f"{error} (one on another machine takes them by NCCL only; its log says more)"
                ) from None
            self.lose(server, f"while it took weights {self.parcel.label}: {error}")
            return False
        self.refusals[server] = 0
        return True

    def drop_prefixes(self, server: Server) -> None:
        """Drop cached keys of older weights. RunError where they stay, which running requests may cause for a while."""
        ends = time.monotonic() + self.deadline
        while not server.wire.post("/reset_prefix_cache")["success"]:
            if time.monotonic() > ends:
                raise RunError(
                    f"{server.url} kept its prefix cache of older weights for {self.deadline:g} s after it got "
                    f"{self.parcel.label}; is something else using that server?"
                )
            time.sleep(TICK_SECONDS)

    def forget_prefixes(self) -> None:
        """Reset prefix caches: what was served before must not change what comes, not even by rounding."""
        for server in self.alive:
            with suppress(Gone, ServerRefusal):
                server.wire.post("/reset_prefix_cache", deadline=min(server.wire.deadline, handshake.ANSWER_SECONDS))

    def lose(self, server: Server, why: str) -> list[Request]:
        """Give a server up; returns the requests that are void by it."""
        lost = server.lose(why)
        self.say(f"warning: server {server.url} is given up: {why}" + (f"; {len(lost)} requests again" if lost else ""))
        return lost

    def look_for_lost(self) -> None:
        """Take back servers that answer again: the checks of the start, then the weights.

        One that hangs may take long to say nothing, so it is asked on a thread of its own.
        """
        for server in self.servers:
            asked = self.asked.get(server)
            if server.why and asked is None and time.monotonic() - server.tried >= self.retry_seconds:
                server.tried = time.monotonic()
                self.asked[server] = on_own_thread(lambda wire=server.wire: handshake.check_server(wire, self.config))
            elif asked is not None and asked.done():
                del self.asked[server]
                self.take_back(server, asked)

    def take_back(self, server: Server, asked: Future[Facts]) -> None:
        try:
            server.facts = asked.result()
            self.route.connect(server.wire)
        except (Gone, ServerRefusal) as error:
            server.why = str(error)
            return
        except ValueError as error:
            raise RunError(f"a server came back as another one: {error}") from None
        server.why = ""
        if self.bring(server):
            self.say(f"server {server.url} is back and has weights {self.parcel.label}")

    def need_one(self, what: str) -> None:
        """Wait for a server. RunError after `reconnect` seconds."""
        began = time.monotonic()
        while not self.alive:
            if time.monotonic() - began > self.reconnect:
                raise RunError(
                    f"no server is left {what}; waited {self.reconnect:g} s (engine.reconnect) for one to come back: "
                    + "; ".join(f"{server.url}: {server.why}" for server in self.servers)
                )
            time.sleep(TICK_SECONDS)
            self.look_for_lost()

    def close(self) -> None:
        for server in self.servers:
            server.drop()
        self.route.close()
        self._parcel = None


def on_own_thread(question: Callable[[], Facts]) -> Future[Facts]:
    """Ask on a thread that does not keep the process alive; the future has the answer."""
    future: Future[Facts] = Future()

    def ask() -> None:
        try:
            future.set_result(question())
        except (Gone, ServerRefusal, ValueError) as error:
            future.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return future
