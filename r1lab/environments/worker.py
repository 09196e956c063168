"""What runs inside a forked worker: makes environments, plays their actions, calls functions, answers in JSON.

Not trusted: whatever an environment does to this process, the parent reads only frames of plain JSON with the right
number. An instance held here is a cache: it is made again from its actions wherever it is missing.
"""

import hashlib
import json
import math
import os
import pickle
import random
import socket
import struct
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy  # at once: a call that first imported it would draw before it is seeded

from r1lab.environments.protocol import Turn, cut
from r1lab.environments.resolve import ResolvedEnvironment
from r1lab.seeds import derive
from r1lab_data import Problem
from r1lab_sandbox.forkserver import frames
from r1lab_sandbox.isolation import limits
from r1lab_verifiers.plugin import as_verdict, load
from r1lab_verifiers.pool.worker import describe
from r1lab_verifiers.verdict import plain

MAX_HELD = 256
"""Instances that a worker holds; the one that was asked longest ago goes first."""
MAX_OBSERVATION_CHARACTERS = 100_000
MAX_INFO_CHARACTERS = 4_000
MAX_INFO_INTEGER = 2**63 - 1
"""What tables hold; with thousands of digits JSON cannot be written."""
RESERVED = ("verdict", "failed", "text", "observation", "cut")
"""Names in a turn's `info` that are ours (`r1lab.rollout.episode`)."""
NUMBER = struct.Struct("!Q")


class NotATurn(TypeError):
    """An environment that answers what no environment may answer: nobody's action is to blame."""


@dataclass
class Held:
    """An instance and how far it was played."""

    target: Any
    is_replayable: bool
    num_actions: int = 0


Live = OrderedDict[str, Held]


@dataclass(frozen=True)
class ImportRequest:
    """Request: import what stands at a dotted path."""

    path: str

    def __call__(self, live: Live) -> dict[str, Any]:
        load(self.path)
        return {}


@dataclass(frozen=True)
class CallRequest:
    """Request: call a function with keyword arguments."""

    path: str
    arguments: dict[str, Any]
    seed: int

    def __call__(self, live: Live) -> dict[str, Any]:
        _seed(self.seed, 0)
        try:
            return {"value": shown(load(self.path)(**self.arguments))}
        except Exception as error:  # the tool's own error is what the model reads
            return {"raised": describe(error)}


@dataclass(frozen=True)
class PlayRequest:
    """Request: what the environment says after its actions so far, or its verdict on them."""

    key: str
    environment: ResolvedEnvironment
    problem: Problem
    seed: int
    actions: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    """Digests of the answers to `reset` and all actions but the last."""
    wants_verdict: bool = False

    @property
    def num_replayed(self) -> int:
        """Actions that are played before the one that is asked about."""
        return len(self.actions) if self.wants_verdict else max(0, len(self.actions) - 1)

    def __call__(self, live: Live) -> dict[str, Any]:
        held = live.pop(self.key, None)  # put back once it has answered: what raised in between is not kept
        answer: dict[str, Any] = {}
        if held is None or held.num_actions != self.num_replayed:
            if self.actions and not self.environment.replayable:
                raise NotATurn(
                    f"{self.environment.path}: the worker that held it is gone, and it cannot be played again"
                )
            _seed(self.seed, 0)
            held = Held(self.environment.make(self.problem, self.seed), self.environment.replayable)
            _seed(self.seed, 0)
            answer = {"observation": _observation(held.target.reset()), "done": False, "reward": None, "info": {}}
            for action in self.actions[: self.num_replayed]:
                self._compare(answer, held.num_actions)
                answer = self._step(held, action)
            if self.actions:
                self._compare(answer, held.num_actions)
        if self.wants_verdict:
            return {"verdict": _ended(held.target, self.environment.path)}
        if self.actions:
            answer = self._step(held, self.actions[-1])
        live[self.key] = held
        for key in [key for key, each in live.items() if each.is_replayable][: max(0, len(live) - MAX_HELD)]:
            del live[key]
        return answer

    def _step(self, held: Held, action: str) -> dict[str, Any]:
        held.num_actions += 1
        _seed(self.seed, held.num_actions)
        return as_answer(held.target.step(action), self.environment.path)

    def _compare(self, answer: dict[str, Any], place: int) -> None:
        """NotATurn where a replay answers otherwise than before."""
        if place < len(self.known) and digest_of(answer) != self.known[place]:
            raise NotATurn(
                f"{self.environment.path}: played again, it answered otherwise at turn {place} "
                f"({str(answer['observation'])[:60]!r}); say replayable = False, or draw nothing but from the seed"
            )


@dataclass(frozen=True)
class WorkerReply:
    """A worker's answer."""

    seconds: float
    outcome: dict[str, Any]
    """What was asked for, or `failed` (an exception of the environment) or `error` (none may answer so)."""


def serve(sock: socket.socket, *, cpu_seconds: float) -> None:
    """Answer requests until the parent closes. cpu_seconds: processor time for one, a backup to its deadline."""
    owner, live, reader = os.getpid(), Live(), frames.Reader(sock)
    while (frame := reader.receive()) is not None:
        start = time.monotonic()
        limits.renew_cpu(cpu_seconds)
        (number,) = NUMBER.unpack_from(frame)
        try:
            outcome = pickle.loads(memoryview(frame)[NUMBER.size :])(live)
        except NotATurn as error:
            outcome = {"error": plain(str(error), 400)}
        except BaseException as error:  # the environment's border: SystemExit and KeyboardInterrupt are a plug-in's too
            outcome = {"failed": describe(error)}
        if os.getpid() != owner:
            os._exit(0)  # the environment forked and this is its child
        frames.send(sock, json.dumps([number, time.monotonic() - start, outcome]).encode())


def encode(number: int, request: Any) -> bytes:
    """A request as a frame, with the number that its reply must have."""
    return NUMBER.pack(number) + pickle.dumps(request)


def decode(frame: bytes, number: int) -> WorkerReply:
    """A worker's frame; ValueError where it is not what was asked for."""
    try:
        answered, seconds, outcome = json.loads(frame)
        if answered != number or not isinstance(outcome, dict):
            raise ValueError("the worker answered another request")
        return WorkerReply(max(0.0, float(seconds)), outcome)
    except (TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"the worker answered nonsense ({type(error).__name__})") from error


def as_answer(turn: Any, path: str) -> dict[str, Any]:
    """A Turn as plain data. NotATurn where it is none, or its reward no number."""
    if not isinstance(turn, Turn):
        raise NotATurn(f"{path} returned {type(turn).__name__} from step; return r1lab.environments.protocol.Turn")
    reward = turn.reward
    if reward is not None:
        if isinstance(reward, bool) or not isinstance(reward, int | float) or not math.isfinite(reward):
            raise NotATurn(f"{path} returned the reward {reward!r}; give a finite number or None")
        reward = float(reward)
    return {
        "observation": _observation(turn.observation), "done": bool(turn.done), "reward": reward,
        "info": _info(turn.info),
    }  # fmt: skip


def digest_of(answer: dict[str, Any]) -> str:
    """Of what the model reads and is paid, by which a replay is known to be one."""
    told = json.dumps([answer["observation"], answer["done"], answer["reward"]])
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def shown(value: Any) -> str:
    """What a function returned, as text: a text as it is, plain data as JSON. Raises where a value has no text, as a
    whole number of thousands of digits."""
    if isinstance(value, str):
        return _readable(value)
    try:
        return _readable(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return _readable(str(value))


def _observation(text: Any) -> str | None:
    if text is not None and not isinstance(text, str):
        raise NotATurn(f"an observation is {type(text).__name__}; give a text or None")
    return None if text is None else _readable(text)


def _readable(text: str) -> str:
    """At most so many characters, cut in the middle; no half of a surrogate pair, which no tokenizer reads."""
    return cut(text.encode("utf-8", "replace").decode(), MAX_OBSERVATION_CHARACTERS)


def _info(info: Any) -> dict[str, Any]:
    """Plain values under short names; what is none, or too much, is left out."""
    kept: dict[str, Any] = {}
    for name, value in info.items() if isinstance(info, dict) else ():
        if isinstance(value, float) and not math.isfinite(value):
            continue
        if isinstance(value, int) and abs(value) > MAX_INFO_INTEGER:
            continue
        if isinstance(name, str) and name not in RESERVED and isinstance(value, bool | int | float | str | None):
            kept[plain(name, 60)] = plain(value, 500) if isinstance(value, str) else value
    return kept if len(json.dumps(kept)) <= MAX_INFO_CHARACTERS else {}


def _ended(target: Any, path: str) -> dict[str, Any] | None:
    """The environment's verdict, None where it says nothing; it is closed where it can be."""
    said = None
    if callable(say := getattr(target, "verdict", None)):
        verdict = as_verdict(say(), path)
        said = {name: getattr(verdict, name) for name in ("score", "status", "extracted", "reason")}
    if callable(close := getattr(target, "close", None)):
        close()
    return said


def _seed(seed: int, place: int) -> None:
    """What an environment draws must not depend on what this worker did before."""
    own = derive(seed, "environment", place)
    random.seed(own)
    numpy.random.seed(own % 2**32)
