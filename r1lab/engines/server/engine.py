"""The engine of one or several servers: requests go out over HTTP, weights by `transfer`.

A draw's requests go to server number `draw mod servers`, so that its prompt is computed once and every run shares the
work out alike. A server of the local engine gets what is submitted together as one batch, and where that server is lost
another one gets the whole of it: what is computed together never depends on who lives. A server that dies, hangs or was
started anew is told by a broken connection, by `deadline` seconds of silence or by the label of the weights that it
sampled with; what it was working on is void and sampled again, by another server or by itself once it is back and has
the weights. So a request is answered once: with the first whole answer from a server that has not been given up since
it was sent. Each rank of a run asks the servers for its own draws; the weights are sent by rank 0.
"""

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty
from uuid import uuid4

import torch

from r1lab.distributed import ranks
from r1lab.engines import rollouts as border
from r1lab.engines.protocol import Engine, NamedTensors
from r1lab.engines.server.client import Gone, ServerRefusal, Wire
from r1lab.engines.server.connection import FlightOutcome, Server, ServerAnswer
from r1lab.engines.server.fleet import TICK_SECONDS, Fleet
from r1lab.engines.server.transfer import Parcel
from r1lab.engines.text import TextOf
from r1lab.engines.vllm import requests as vllm_requests
from r1lab.engines.vllm.requests import VllmCompletion
from r1lab.errors import RunError
from r1lab.records import Request, RequestId, Rollout

MOST_LOSSES = 5
"""Times that one request may be lost before it is suspected of killing its servers."""


class ServerEngine(Engine):
    """An `Engine` behind HTTP."""

    has_own_layout = True

    def __init__(
        self,
        model,
        tokenizer,
        *,
        urls: Sequence[str],
        key_env: str | None = None,
        deadline: float = 120.0,
        reconnect: float = 600.0,
        max_num_seqs: int = 256,
        text_of: TextOf | None = None,
        say: Callable[[str], None] | None = None,
        close_servers: Sequence[Callable[[], None]] = (),
    ):
        """`deadline`: seconds of silence after which a server with work is given up. `reconnect`: seconds to wait for
        one to come back where none is left. `max_num_seqs`: requests in flight at one server. `say` is told what
        befalls servers; stderr otherwise. `close_servers`: what ends those that are the run's own.

        ValueError for a server that cannot serve this model, and where other ranks wait less long than these say.
        """
        if ranks.size() > 1 and deadline + reconnect >= (limit := ranks.deadline_seconds()):
            raise ValueError(
                f"deadline {deadline:g} s and reconnect {reconnect:g} s are together more than the {limit} s that the "
                f"other processes wait ({ranks.DEADLINE_VARIABLE}); shorten them, or export a larger number there"
            )
        self.model, self.deadline, self.max_num_seqs = model, deadline, max_num_seqs
        self.text_of = text_of or border.plain_text(tokenizer)
        self.close_servers = close_servers
        self.run, self.version = uuid4().hex[:8], -1
        self.vocabulary = border.vocabulary_size(model)
        names = [name for name, _ in model.named_parameters()]
        self.room = sum(map(len, names)) + 256 * (len(names) + 1)
        """Bytes for a list of the weights with their shapes."""
        wires = [Wire(url, key_env=key_env, deadline=deadline) for url in urls]
        config, eos = model.config.get_text_config().to_dict(), border.eos_ids(model, tokenizer)
        say = say or (lambda line: print(line, file=sys.stderr, flush=True))
        self.fleet = Fleet(wires, config, eos, reconnect=reconnect, say=say)
        self.open: dict[RequestId, Request] = {}
        """Everything not answered, in the order submitted."""
        self.sharers: list[Server] = []
        self.batches: list[tuple[int, list[Request]]] = []
        """What is sent together, and the number of the server that it belongs to; answered ones fall out."""
        self.waiting: dict[str, deque[list[Request]]] = {}
        """By URL of the sharers: batches that are shared out and not sent."""
        self.ready: deque[Rollout] = deque()
        self.aborted: set[RequestId] = set()
        self.losses: Counter[RequestId] = Counter()

    @property
    def about(self) -> str:
        """For the manifest: what of the servers can change a rounding."""
        servers = (
            f"{server.url} ({server.facts.dtype}, {server.facts.max_num_seqs} at once, "
            f"{'seeds' if server.facts.seeds else 'no seeds: another run samples otherwise'})"
            for server in self.fleet.servers
        )
        many = ranks.size() > 1 and not all(server.facts.batches for server in self.fleet.servers)
        mixed = f"; {ranks.size()} trainers' requests are computed together as they come, not bit for bit" * many
        return f"rollouts come from servers: {', '.join(servers)}{mixed}"

    @property
    def shared_names(self) -> list[str]:
        return [f"server {server.url}" for server in self.fleet.servers]

    @property
    def context(self) -> int:
        return self.fleet.context

    @property
    def dtype(self) -> torch.dtype:
        return min((getattr(torch, each.facts.dtype) for each in self.fleet.servers), key=lambda kind: kind.itemsize)

    def sync(self, named_tensors: NamedTensors, version: int) -> None:
        """Send weights to every server, with a checksum of what arrived; a collective of all ranks."""
        if self.open:
            raise RuntimeError("requests are in flight; drain completed() before sync()")
        self.version = -1
        self.fleet.publish(named_tensors, version, self.run, self.room)
        self.version = version

    def agree(self) -> None:
        if ranks.size() > 1 and not ranks.is_alone():
            self.fleet.agree()

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests. ValueError with the request's id where it does not fit or says nonsense; none is queued."""
        requests = list(requests)
        for request in requests:
            vllm_requests.check(request, context=self.fleet.context, vocabulary=self.vocabulary)
        if self.version < 0:
            raise RuntimeError("the engine has no weights yet; call r1lab.engines.sync.publish first")
        if not self.open and not any(request.id.turn for request in requests):  # later turns read what is kept
            self.fleet.forget_prefixes()
        sampled = [request for request in requests if border.needs_sampling(request)]
        self.ready.extend(
            border.unsampled(request, "length", self.text_of)
            for request in requests
            if not border.needs_sampling(request)
        )
        self.batches = [*self.unanswered(), *self.batched(sampled)]  # an evaluation's ids come again and again
        self.open |= {request.id: request for request in sampled}
        self.share_out()

    def completed(self) -> Iterator[Rollout]:
        """Rollouts as they finish, until none is left. An error empties the engine."""
        while self.ready or self.open:
            if not self.ready:
                with border.emptied_by_errors(self.clear):
                    self.work()
            while self.ready:
                yield self.ready.popleft()

    def work(self) -> None:
        """Send what there is room for, and take what comes back within a tick."""
        self.fleet.need_one(f"for {len(self.open)} requests")
        self.fleet.look_for_lost()
        if self.sharers != self.fleet.alive:
            self.share_out()
        self.send()
        try:
            outcome = self.fleet.outcomes.get(timeout=TICK_SECONDS)
            while True:
                self.take(outcome)
                outcome = self.fleet.outcomes.get_nowait()
        except Empty:
            pass
        for server in self.fleet.alive:
            if server.flights and server.silent_for() > self.deadline:
                count = len(server.flights)
                self.lose(server, f"no token of {count} requests for {self.deadline:g} s (engine.deadline)")

    def batched(self, requests: Sequence[Request]) -> Iterator[tuple[int, list[Request]]]:
        """What is sent together, each with the number of its server: a draw's go to one server."""
        servers = self.fleet.servers
        for number, server in enumerate(servers):
            own = [request for request in requests if request.id.draw % len(servers) == number]
            if server.facts.batches and own:
                yield number, own
            elif own:
                yield from ((number, [request]) for request in own)

    def unanswered(self) -> list[tuple[int, list[Request]]]:
        """Batches of which a request is open."""
        return [each for each in self.batches if any(request.id in self.open for request in each[1])]

    def share_out(self) -> None:
        """Queue every batch with an open request that no server works on at the server that it belongs to."""
        self.sharers = alive = self.fleet.alive
        flying = {request_id for server in alive for request_id in server.flights}
        self.waiting = {server.url: deque() for server in alive}
        self.batches = self.unanswered()
        for number, batch in self.batches if alive else ():
            if batch[0].id not in flying:
                home = self.fleet.servers[number]
                home = alive[batch[0].id.draw % len(alive)] if home.why else home
                self.waiting[home.url].append(batch)

    def send(self) -> None:
        for server in self.fleet.alive:
            waiting = self.waiting.get(server.url, ())
            # Each rank takes its part of what it decodes at once: what waits behind others' gives no sign of life.
            most = max(1, min(self.max_num_seqs, server.facts.max_num_seqs) // ranks.size())
            while waiting and len(server.flights) < most:
                server.start(waiting.popleft(), self.fleet.parcel.label)

    def take(self, outcome: FlightOutcome) -> None:
        """Requests sent together ended: rollouts, or the end of their server."""
        server, asked = outcome.server, list(zip(outcome.requests, outcome.answers))
        if outcome.life != server.life or outcome.requests[0].id not in server.flights:
            return
        for request, answer in asked:
            why = None if request.id in self.aborted else self.trouble(request, answer, outcome.error)
            if why is not None:
                self.lose(server, why)
                return
        for request, answer in asked:
            del server.flights[request.id]
            if request.id in self.open:
                is_aborted = request.id in self.aborted
                self.ready.append(self.rollout(request, answer, self.fleet.parcel, is_aborted))
                del self.open[request.id]
            self.aborted.discard(request.id)
            self.losses.pop(request.id, None)

    def trouble(self, request: Request, answer: ServerAnswer, error: Gone | ServerRefusal | None) -> str | None:
        """Why the server cannot be trusted any more, None where it can. RunError where the request is to blame."""
        name = border.name_of(request)
        if isinstance(error, ServerRefusal) and error.status in (400, 422):
            raise RunError(f"{name}: {error}")
        if error is not None:
            return str(error)
        if answer.finish_reason not in ("stop", "length"):
            return f"{name} ended there with {answer.finish_reason!r}, which nobody asked for"
        return answer.strange(self.fleet.parcel.label)

    def rollout(self, request: Request, answer: ServerAnswer, parcel: Parcel, is_aborted: bool = False) -> Rollout:
        reason = "abort" if is_aborted or answer.finish_reason is None else answer.finish_reason
        versions = [(parcel.version, len(answer.token_ids))]
        sampled = VllmCompletion(answer.token_ids, answer.logprobs, reason, answer.stop_reason, versions)
        return vllm_requests.rollout(request, sampled, self.text_of)

    def lose(self, server: Server, why: str) -> None:
        """Give a server up and sample its requests again. RunError where that happens too often to one request."""
        for request in self.fleet.lose(server, why):
            if request.id in self.aborted:
                self.give_back(request.id)
            if request.id not in self.open:  # of a batch whose others are still wanted
                continue
            self.losses[request.id] += 1
            if self.losses[request.id] >= MOST_LOSSES:
                raise RunError(
                    f"{border.name_of(request)} was lost with its server {MOST_LOSSES} times, {server.url} the last "
                    f"({why}); see that server's log"
                )
        self.share_out()

    def abort(self, request_ids: Iterable[RequestId]) -> None:
        """These end now, of a batch once nobody waits for the others; `completed` still yields them."""
        wanted = set(request_ids) & self.open.keys()
        flights = {key: flight for server in self.fleet.alive for key, flight in server.flights.items()}
        for request_id in wanted - flights.keys():
            self.give_back(request_id)
        self.aborted |= wanted & flights.keys()
        for flight in {flights[request_id] for request_id in wanted & flights.keys()}:
            if all(request.id in self.aborted for request in flight.requests):
                flight.cut()
        self.share_out()

    def give_back(self, request_id: RequestId) -> None:
        """Yield an aborted request without any sampled token."""
        self.aborted.discard(request_id)
        self.ready.append(border.unsampled(self.open.pop(request_id), "abort", self.text_of))

    def sleep(self) -> None:
        """Servers have accelerators of their own."""

    def wake(self) -> None:
        """Nothing slept."""

    def clear(self) -> None:
        """Forget every request."""
        for server in self.fleet.servers:
            server.drop()
        self.open.clear()
        self.batches.clear()
        self.ready.clear()
        self.aborted.clear()
        self.losses.clear()
        self.share_out()

    def close(self) -> None:
        self.clear()
        self.fleet.close()
        for close in self.close_servers:
            close()
        self.model = None
