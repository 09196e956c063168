"""One server: its facts, its requests in flight, and whether it answers.

Requests are sent one by one, or as one batch to a server that samples whole batches. A thread reads each stream; what
came of it goes into the engine's queue. Which request goes where, and what becomes of one that was lost, is the
engine's (`r1lab.engines.server.engine`).
"""

import math
import socket
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Literal

from r1lab.engines.server.client import Gone, ServerRefusal, Wire, wake_reader
from r1lab.engines.vllm import requests as vllm_requests
from r1lab.records import Request, RequestId

GENERATE, GENERATE_BATCH = "/inference/v1/generate", "/r1lab/generate"
STREAM_TOKENS = 16
"""Tokens between two signs of life of one request."""
NOT_A_NUMBER = -9999.0
"""What a server writes for a log-probability that is NaN or less than this one."""


@dataclass(frozen=True)
class Facts:
    """What a server says of itself."""

    model: str
    """The name it serves."""
    config: dict[str, Any]
    """The text model's, as transformers writes it."""
    dtype: str
    context: int
    """Prompt and completion tokens that fit."""
    max_num_seqs: int
    """Requests decoded at once."""
    seeds: bool
    """Whether a request may have a seed of its own."""
    logprobs_mode: str
    transfer: str
    """The weight transfer it was started with."""
    batches: bool = False
    """Whether it takes requests by batches, each sampled together and with no other."""


@dataclass(eq=False)
class ServerAnswer:
    """The tokens of a request so far, and how it ended."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: Literal["stop", "length", "abort"] | None = None
    stop_reason: int | str | None = None
    spans: list[tuple[str, int, int]] = field(default_factory=list)
    """(label of the weights, start, end) over the tokens; there once it has ended."""

    def take(self, choice: dict) -> None:
        """Add what an event of a stream says of the request."""
        self.token_ids += choice["token_ids"] or ()
        content = (choice["logprobs"] or {}).get("content") or ()
        values = [item["logprob"] for item in content]
        self.logprobs += [value if value > NOT_A_NUMBER else math.nan for value in values]
        if choice["finish_reason"] is not None:
            self.finish_reason, self.stop_reason = choice["finish_reason"], choice["stop_reason"]
            self.spans = [(item["version"], item["start"], item["end"]) for item in choice["weight_versions"] or ()]

    def strange(self, label: str) -> str | None:
        """Why it is not an answer of the weights of that label, None where it is one."""
        named = [found for found, _, _ in self.spans]
        if self.spans and self.spans[-1][2] == len(self.token_ids) and set(named) == {label}:
            return None
        others = f"with weights {', '.join(map(repr, named))}, not {label!r}" if named else f"not by {label!r}"
        return f"it sampled {others}: it was started anew, or another run uses it"


@dataclass(frozen=True, eq=False)
class FlightOutcome:
    """Requests sent together that ended, one way or the other."""

    server: "Server"
    life: int
    """The server's count of restarts when they were sent; an answer from before the last one is void."""
    requests: Sequence[Request]
    answers: Sequence[ServerAnswer]
    """One to each request."""
    error: Gone | ServerRefusal | None


@dataclass(eq=False)
class Flight:
    """Requests sent together that a server is working on."""

    requests: Sequence[Request]
    connection: socket.socket | None = None
    is_cut: bool = False

    def opened(self, connection: socket.socket) -> None:
        self.connection = connection
        if self.is_cut:
            wake_reader(connection)

    def cut(self) -> None:
        """Close the connection; vLLM stops a request whose client is gone."""
        self.is_cut = True
        if self.connection is not None:
            wake_reader(self.connection)


class Server:
    """One server. `why` is empty while it answers, else the reason why it was given up."""

    def __init__(self, wire: Wire, facts: Facts, outcomes: SimpleQueue, eos: Collection[int]):
        self.wire, self.facts, self.outcomes, self.eos = wire, facts, outcomes, eos
        self.flights: dict[RequestId, Flight] = {}
        self.life = 0
        self.heard = self.tried = time.monotonic()
        self.why = ""

    @property
    def url(self) -> str:
        return self.wire.url

    def silent_for(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self.heard

    def start(self, requests: Sequence[Request], label: str) -> None:
        """Send a batch to a server that takes batches, to another one a request; the outcome comes through the
        queue."""
        if not self.flights:
            self.heard = time.monotonic()
        flight = Flight(requests)
        self.flights |= {request.id: flight for request in requests}
        bodies = [self._body(request, label) | {"stream": True} for request in requests]
        route, body = (GENERATE_BATCH, {"requests": bodies}) if self.facts.batches else (GENERATE, bodies[0])
        threading.Thread(target=self._read, args=(flight, route, body, self.life), daemon=True).start()

    def _body(self, request: Request, label: str) -> dict:
        parameters = vllm_requests.parameters(request, self.eos) | {"stream_interval": STREAM_TOKENS}
        if not self.facts.seeds:
            del parameters["seed"]
        forced = {"forced": len(request.forced_ids)} if self.facts.batches else {}
        return forced | {
            "request_id": f"{label}/{request.id}/{self.life}",
            "model": self.facts.model,
            "token_ids": vllm_requests.prompt_ids(request),
            "sampling_params": parameters,
        }

    def hear(self) -> None:
        """A sign of life."""
        self.heard = time.monotonic()

    def _read(self, flight: Flight, route: str, body: dict, life: int) -> None:
        answers, error = [ServerAnswer() for _ in flight.requests], None
        try:
            for event in self.wire.stream(route, body, flight.opened, self.hear):
                for choice in event["choices"]:
                    answers[choice["index"]].take(choice)
        except (Gone, ServerRefusal) as caught:
            error = caught
        except (LookupError, TypeError, AttributeError, ValueError) as caught:
            error = Gone(f"{self.url} sent an event of another shape ({caught!r}); is its vLLM of a supported version?")
        self.outcomes.put(FlightOutcome(self, life, flight.requests, answers, error))

    def lose(self, why: str) -> list[Request]:
        """Give the server up for now; returns its requests in flight, whose answers no longer count."""
        self.why, self.tried = why, time.monotonic()
        return self.drop()

    def drop(self) -> list[Request]:
        """End all requests in flight; returns them."""
        flights = list(dict.fromkeys(self.flights.values()))
        lost = [request for flight in flights for request in flight.requests]
        for flight in flights:
            flight.cut()
        self.flights.clear()
        self.life += 1
        return lost
