"""What runs inside a forked worker: builds verifiers, judges one item at a time, answers in JSON.

Not trusted: whatever a verifier does to this process, the parent reads only frames of plain JSON with the right number.
"""

import json
import os
import pickle
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass, replace
from json.encoder import encode_basestring_ascii as quote
from pathlib import Path

from r1lab_sandbox.forkserver import frames
from r1lab_sandbox.isolation import limits
from r1lab_verifiers.plugin import Live, Resolved
from r1lab_verifiers.verdict import Item, Verdict, plain, tidy

MAX_REPLY_BYTES = 1 << 20
SETTLE_SECONDS = 0.02
FIELDS = ("score", "status", "extracted", "reason", "steps")
RENEW_SECONDS = 1.0
"""Between two times that the limit of processor time is moved on."""
NUMBER = struct.Struct("!Q")


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
            reply: dict = _request(frame)(live)
        except BaseException as error:  # the verifier border: SystemExit and KeyboardInterrupt are a plug-in's too
            reply = {"failure": describe(error)}
        if os.getpid() != owner:
            os._exit(0)  # the verifier forked and this is its child
        calm, reply["tired"] = _left_running(calm)
        reply["seconds"] = time.monotonic() - start
        (reply["number"],) = NUMBER.unpack_from(frame)
        frames.send(sock, _encode(reply))


@dataclass(frozen=True)
class BuildRequest:
    """Request: make a verifier and keep it."""

    name: str
    resolved: Resolved

    def __call__(self, live: dict[str, Live]) -> dict:
        live[self.name] = self.resolved.build()
        return {}


@dataclass(frozen=True)
class CheckRequest:
    """Request: judge one item, or in its place the problem's witness."""

    name: str
    item: Item
    is_witness: bool = False
    solution: str | None = None
    """The witness, where the problem has one; else the verifier makes it."""

    def __call__(self, live: dict[str, Live]) -> dict:
        verifier = live[self.name]
        if not verifier.is_seeded:
            random.seed(0)  # the verdict must not depend on what this worker judged before
        verdict = verifier.verify(self.item_to_check(verifier))
        return {"verdict": {name: getattr(verdict, name) for name in FIELDS}}

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


def decode(frame: bytes, number: int) -> dict:
    """A worker's frame, with `verdict` as a Verdict; ValueError where it is not what was asked for."""
    try:
        reply = json.loads(frame.decode())
        if reply["number"] != number:
            raise ValueError("the worker answered another request")
        reply["seconds"] = max(0.0, float(reply["seconds"]))
        if "verdict" in reply:
            reply["verdict"] = tidy(Verdict(**reply["verdict"], seconds=reply["seconds"]))
    except (TypeError, AttributeError, LookupError, RecursionError, OverflowError) as error:
        raise ValueError(f"the worker answered nonsense ({type(error).__name__})") from error
    return reply


def _encode(reply: dict) -> bytes:
    if "verdict" in reply and reply["verdict"]["steps"] is None:
        return _encode_short(**reply)
    frame = json.dumps(reply).encode()
    if len(frame) > MAX_REPLY_BYTES:
        kept = {name: reply[name] for name in ("number", "seconds", "tired")}
        frame = json.dumps(kept | {"failure": "the verdict's steps do not fit in 1 MiB"}).encode()
    return frame


def _encode_short(verdict: dict, tired: bool, seconds: float, number: int) -> bytes:
    """JSON of a verdict without steps, as nearly all are: json.dumps takes several times as long."""
    score = "null" if verdict["score"] is None else repr(verdict["score"])
    extracted = "null" if verdict["extracted"] is None else quote(verdict["extracted"])
    texts = f'"status": {quote(verdict["status"])}, "extracted": {extracted}, "reason": {quote(verdict["reason"])}'
    tail = f'"tired": {"true" if tired else "false"}, "seconds": {seconds!r}, "number": {number}'
    return f'{{"verdict": {{"score": {score}, {texts}, "steps": null}}, {tail}}}'.encode()


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
