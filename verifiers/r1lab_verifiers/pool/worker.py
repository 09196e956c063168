"""What runs inside a forked worker: builds verifiers, judges one item at a time, answers in JSON.

Not trusted: whatever a verifier does to this process, the parent reads only frames of plain JSON with the right number.
"""

import json
import os
import pickle
import random
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, replace
from json.encoder import encode_basestring_ascii as quote
from pathlib import Path
from typing import NamedTuple

from r1lab_sandbox.forkserver import frames
from r1lab_sandbox.isolation import limits
from r1lab_verifiers.plugin import Live, Resolved
from r1lab_verifiers.verdict import MAX_REASON_CHARACTERS, Item, Verdict, plain, tidy

MAX_REPLY_BYTES = 1 << 20
SETTLE_SECONDS = 0.02
RENEW_SECONDS = 1.0
"""Between two times that the limit of processor time is moved on."""
NUMBER = struct.Struct("!Q")
_DECODER = json.JSONDecoder()


def serve(sock: socket.socket, *, cpu_seconds: float) -> None:
    """Answer requests until the parent closes. cpu_seconds: processor time for one, a backup to its deadline."""
    owner, live, calm = os.getpid(), {}, 1
    reader, renew_at = frames.Reader(sock), 0.0
    while (frame := reader.receive()) is not None:
        start = time.monotonic()
        if start >= renew_at:
            limits.renew_cpu(cpu_seconds)
            renew_at = start + RENEW_SECONDS
        try:
            outcome = _request(frame)(live)
        except BaseException as error:  # the verifier border: SystemExit and KeyboardInterrupt are a plug-in's too
            outcome = describe(error)
        if os.getpid() != owner:
            os._exit(0)  # the verifier forked and this is its child
        calm, is_tired = _left_running(calm)
        (number,) = NUMBER.unpack_from(frame)
        frames.send(sock, _encode(number, time.monotonic() - start, is_tired, outcome))


@dataclass(frozen=True)
class BuildRequest:
    """Request: make a verifier and keep it."""

    name: str
    resolved: Resolved

    def __call__(self, live: dict[str, Live]) -> None:
        live[self.name] = self.resolved.build()


class CheckRequest(NamedTuple):
    """Request: judge one item, or in its place the problem's witness."""

    name: str
    item: Item
    is_witness: bool = False
    solution: str | None = None
    """The witness, where the problem has one; else the verifier makes it."""

    def __call__(self, live: dict[str, Live]) -> Verdict:
        verifier = live[self.name]
        if not verifier.is_seeded:
            random.seed(0)  # the verdict must not depend on what this worker judged before
            if numpy := sys.modules.get("numpy"):
                numpy.random.seed(0)
        return verifier.verify(self.item_to_check(verifier))

    def item_to_check(self, verifier: Live) -> Item:
        """The item, or the same one with the witness as its completion."""
        if not self.is_witness:
            return self.item
        text = verifier.witness(self.item.answer) if self.solution is None else self.solution
        return replace(self.item, completion=text, finish="stop", num_tokens=0)


def encode(number: int, request: BuildRequest | CheckRequest) -> bytes:
    """A request as a frame, with the number that its reply must have."""
    if isinstance(request, CheckRequest):  # a bare tuple is packed and read several times as fast as the objects
        item = request.item
        fields = item.completion, item.answer, item.prompt, item.problem_id, item.finish, item.num_tokens, item.meta
        return NUMBER.pack(number) + pickle.dumps((request.name, request.is_witness, request.solution, *fields))
    return NUMBER.pack(number) + pickle.dumps(request)


def _request(frame: bytes) -> BuildRequest | CheckRequest:
    """What `encode` made a frame of."""
    sent = pickle.loads(memoryview(frame)[NUMBER.size :])
    if isinstance(sent, BuildRequest):
        return sent
    name, is_witness, solution, *fields = sent
    return CheckRequest(name, Item(*fields), is_witness, solution)


class Reply(NamedTuple):
    """A worker's answer."""

    seconds: float
    """What the request took, as the worker says."""
    is_tired: bool
    """Whether something was left running that would slow down what comes next."""
    outcome: Verdict | str | None
    """The verdict; or why there is none; None to a BuildRequest that worked."""


def decode(frame: bytes, number: int) -> Reply:
    """A worker's frame; ValueError where it is not what was asked for."""
    try:
        text = frame.decode()
        (answered, seconds, is_tired, outcome), end = _DECODER.raw_decode(text)
        if answered != number or end != len(text):
            raise ValueError("the worker answered another request")
        seconds = max(0.0, float(seconds))
        if isinstance(outcome, list):
            score, status, extracted, reason, steps = outcome
            outcome = tidy(Verdict(score, status, extracted, reason, steps, seconds))
        elif outcome is not None:
            outcome = plain(outcome, MAX_REASON_CHARACTERS)
    except (TypeError, AttributeError, LookupError, RecursionError, OverflowError) as error:
        raise ValueError(f"the worker answered nonsense ({type(error).__name__})") from error
    return Reply(seconds, bool(is_tired), outcome)


def _encode(number: int, seconds: float, is_tired: bool, outcome: Verdict | str | None) -> bytes:
    """A Reply to the request of a number, as JSON: lists, which are packed and read faster than objects."""
    head = f"[{number}, {seconds!r}, {'true' if is_tired else 'false'}, "
    if not isinstance(outcome, Verdict):
        return f"{head}{json.dumps(outcome)}]".encode()
    score = "null" if outcome.score is None else repr(outcome.score)
    extracted = "null" if outcome.extracted is None else quote(outcome.extracted)
    steps = "null" if outcome.steps is None else json.dumps(outcome.steps)
    frame = f"{head}[{score}, {quote(outcome.status)}, {extracted}, {quote(outcome.reason)}, {steps}]]".encode()
    if len(frame) > MAX_REPLY_BYTES:
        return _encode(number, seconds, is_tired, "the verdict's steps do not fit in 1 MiB")
    return frame


def describe(error: BaseException) -> str:
    """An exception in one line."""
    try:
        return plain(f"{type(error).__name__}: {error}", 400)
    except BaseException:  # the verifier border: an exception whose own text raises
        return type(error).__name__


def _left_running(calm: int) -> tuple[int, bool]:
    """(threads known to be idle, whether a new one keeps the processor busy): it would slow down every later check."""
    count = threading.active_count()
    if count <= calm:
        return calm, False
    start = _seconds_wanted()
    time.sleep(SETTLE_SECONDS)
    return count, _seconds_wanted() - start > SETTLE_SECONDS / 2


def _seconds_wanted() -> float:
    """Processor time of all threads and, where the kernel says it, the time they were ready and had no processor."""
    try:
        fields = [
            Path(f"/proc/self/task/{task}/schedstat").read_text().split() for task in os.listdir("/proc/self/task")
        ]
        return sum(int(ran) + int(waited) for ran, waited, _ in fields) / 1e9
    except (OSError, ValueError):
        return time.process_time()
