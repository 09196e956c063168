"""Track the health of a run's servers and send them weights; one that dies or hangs is given up until it is back.

Every rank of a run asks all servers; rank 0 alone sends weights, also to a server that comes back, on a thread of its
own where other ranks may miss one that it does not ask itself. The others take a server back once it has them. Who
lives is agreed before each wave, so that one rank's silent server costs the others no wait of their own. Not which
request goes where, which is the engine's (`r1lab.engines.server.engine`).
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from r1lab.distributed import ranks
from r1lab.engines.checksum import Checksum
from r1lab.engines.protocol import NamedTensors
from r1lab.engines.server import handshake
from r1lab.engines.server.client import FILE, Gone, ServerRefusal, Wire
from r1lab.engines.server.connection import Facts, Server
from r1lab.engines.server.transfer import FileRoute, NcclRoute, Parcel, on_own_thread, received_by
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
        say: Callable[[str], None],
    ):
        """`config` is the policy's text config. ValueError for a server that cannot serve it, or is not there."""
        self.config, self.reconnect, self.say = config, reconnect, say
        self.retry_seconds = 2.0
        """Seconds between two looks for one server that is away."""
        self.deadline = wires[0].deadline
        self.refusals: Counter[Server] = Counter()
        self.asked: dict[Server, Future[Facts]] = {}
        """Who is away and is being asked whether it is back."""
        self.outcomes: SimpleQueue = SimpleQueue()
        facts = handshake.check([wire.url for wire in wires], wires[0].key_env, config)
        self.servers = [Server(wire, its_facts, self.outcomes, eos) for wire, its_facts in zip(wires, facts)]
        self._parcel: Parcel | None = None
        self.lock, self.closed = threading.RLock(), threading.Event()
        self.turns = 0
        """Beginnings and ends of `publish`: odd within one."""
        self.fault: Exception | None = None
        """What the watch found that ends the run."""
        self.route = None
        if ranks.is_first():
            self.route = FileRoute() if facts[0].transfer == FILE else NcclRoute()
            for server in self.servers:
                self.route.connect(server.wire)
            if ranks.size() > 1:
                threading.Thread(target=self.watch, daemon=True).start()

    @property
    def alive(self) -> list[Server]:
        return [server for server in self.servers if not server.why]

    @property
    def away(self) -> dict[str, str]:
        """By URL, why a server is given up; empty where it is not."""
        return {server.url: server.why for server in self.servers}

    @property
    def context(self) -> int:
        """Tokens that fit everywhere."""
        return min(server.facts.context for server in self.servers)

    @property
    def parcel(self) -> Parcel:
        """The newest weights."""
        assert self._parcel is not None  # nothing is sent before the first `publish`
        return self._parcel

    def publish(self, named_tensors: NamedTensors, version: int, run: str, room: int) -> None:
        """Send weights to every server that is there, and tell all ranks who has them (a collective). RunError where
        no server is there, or where one did not get them. `room`: bytes for the names of the tensors."""
        self.turns += 1
        with self.lock:  # nobody is sent what is half written
            parcel = self.stage(named_tensors, version, run, room)
            self._parcel, away = ranks.first(lambda: self.send(parcel))
        self.turns += 1
        self.adopt(away)

    def agree(self) -> None:
        """Take the same servers for alive on every rank, before a wave (a collective, nothing is in flight). Where they
        differ rank 0 asks those that it has not given up itself."""
        views = ranks.gather(lambda: [bool(server.why) for server in self.servers])
        if any(view != views[0] for view in views):
            self.adopt(ranks.first(self.check_missed, [any(column) for column in zip(*views)]))

    def check_missed(self, is_missed: Sequence[bool]) -> dict[str, str]:
        """`away` once those that some rank misses were asked."""
        for server, missed in zip(self.servers, is_missed):
            if missed and not server.why:
                self.check_idle(server)
        return self.away

    def adopt(self, away: Mapping[str, str]) -> None:
        """Take rank 0's word for who lives."""
        for server in self.servers if self.route is None else ():
            self.asked.pop(server, None)  # an answer from before is not about now
            server.lose(away[server.url])

    def stage(self, named_tensors: NamedTensors, version: int, run: str, room: int) -> Parcel | None:
        """Keep the weights where they are sent from; None but on rank 0."""
        weights, sent, names = iter(named_tensors), Checksum(), list[str]()

        def noted() -> NamedTensors:
            for name, tensor in sent.over(weights):
                names.append(name)
                yield name, tensor

        try:
            if self.route is None:
                return None
            self.route.stage(noted(), room)
            return Parcel(version, f"r1lab-{run}-{version}", tuple(names), sent.digest())
        finally:
            for _ in weights:  # where they are sharded every rank goes through all of them, whatever befalls one
                pass

    def send(self, parcel: Parcel | None) -> tuple[Parcel, dict[str, str]]:
        """The weights and, by URL, why a server did not get them: empty where it did."""
        assert parcel is not None and self.route is not None  # rank 0 does this
        self._parcel, alive = parcel, self.alive
        with ThreadPoolExecutor(self.route.at_once) as pool:
            for server, error in zip(alive, pool.map(self.deliver, alive)):
                self.delivered(server, error)
        self.look_for_lost()
        self.need_one(f"to take weights {parcel.label}")
        return parcel, self.away

    def deliver(self, server: Server) -> Gone | ServerRefusal | None:
        """Send the newest weights to one server; the error where it did not take them."""
        try:
            self.parcel.send(server.wire, self.sender)
            self.drop_prefixes(server)
        except (Gone, ServerRefusal) as error:
            return error

    def delivered(self, server: Server, error: Gone | ServerRefusal | None) -> bool:
        """Whether a server has the weights; one that has not is given up, and refused too often ends the run."""
        if error is None:
            self.refusals[server] = 0
            return True
        self.refusals[server] += isinstance(error, ServerRefusal)
        if self.refusals[server] == MOST_REFUSALS:
            raise RunError(
                f"server {server.url} does not take weights {self.parcel.label}, tried {MOST_REFUSALS} times: "
                f"{error} (one on another machine takes them by NCCL only; its log says more)"
            ) from None
        self.lose(server, f"while it took weights {self.parcel.label}: {error}")
        return False

    @property
    def sender(self) -> FileRoute | NcclRoute:
        assert self.route is not None  # rank 0 sends
        return self.route

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
        with self.lock:
            if self.closed.is_set():
                raise RunError("the servers were closed while a thread sampled")
            if self.fault is not None:
                raise self.fault
            for server in self.servers:
                asked = self.asked.get(server)
                if server.why and asked is None and time.monotonic() - server.tried >= self.retry_seconds:
                    server.tried = time.monotonic()
                    self.asked[server] = on_own_thread(lambda wire=server.wire: self.ask(wire))
                elif asked is not None and asked.done():
                    del self.asked[server]
                    self.take_back(server, asked)

    def ask(self, wire: Wire) -> Facts:
        """A server's facts once it is fit for work again. Gone and ValueError as `handshake.check_server`."""
        facts = handshake.check_server(wire, self.config)
        if self.route is None:
            self.require_weights(wire)
        return facts

    def require_weights(self, wire: Wire) -> None:
        """Gone where a server has not the newest weights."""
        if set(received_by(wire, handshake.ANSWER_SECONDS)) != {self.parcel.checksum}:
            raise Gone(f"{wire.url} has not the weights {self.parcel.label}: it was started anew")

    def take_back(self, server: Server, asked: Future[Facts]) -> None:
        try:
            server.facts = asked.result()
            if self.route is not None:
                self.route.connect(server.wire)
        except (Gone, ServerRefusal) as error:
            server.why = str(error)
            return
        except ValueError as error:
            raise RunError(f"a server came back as another one: {error}") from None
        server.why = ""
        if self.route is None or self.delivered(server, self.deliver(server)):
            self.say(f"server {server.url} is back and has weights {self.parcel.label}")

    def watch(self) -> None:
        """Look after servers while this rank asks them nothing: another one may have lost one that came back without
        weights, and waits for them."""
        while not self.closed.wait(self.retry_seconds):
            try:
                for server in self.alive if self._parcel else ():
                    self.check_idle(server)
                self.look_for_lost()
            except Exception as error:  # it ends the run from where the fleet is asked next
                self.fault = error
                return

    def check_idle(self, server: Server) -> None:
        """Give up a server that this rank asks nothing and that has not the newest weights."""
        turns = self.turns
        if turns % 2 or server.flights:
            return
        try:
            self.require_weights(server.wire)
        except (Gone, ServerRefusal) as error:
            with self.lock:
                if not (server.flights or server.why) and self.turns == turns and not self.closed.is_set():
                    self.lose(server, str(error))

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
        self.closed.set()
        for server in self.servers:
            server.drop()
        with self.lock:
            if self.route is not None:
                self.route.close()
            self._parcel = None
