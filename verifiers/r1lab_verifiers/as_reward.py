"""Verifiers as reward functions of TRL and verl, for people who stay with their trainer.

They judge in worker processes with deadlines, one pool in each process: made at the first call, closed at its end, and
made anew in a child that was forked. Not those trainers' own functions as verifiers
(`r1lab_verifiers.reward_functions`).
"""

import atexit
import json
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from r1lab_data.answers import ANY, text_of
from r1lab_verifiers.plugin import Resolved, needs_answer
from r1lab_verifiers.pool.pool import Pool
from r1lab_verifiers.verdict import Item, Verdict


@dataclass(frozen=True)
class PoolLimits:
    """What a pool allows: processes at once, seconds of a check, MiB of a process."""

    workers: int = 2
    deadline: float = 5.0
    memory_mb: int = 2048


_POOLS: dict[PoolLimits, Pool] = {}
_LOCK = threading.Lock()


def verdicts(verifier: Resolved, items: Sequence[Item], limits: PoolLimits) -> list[Verdict]:
    """In their order. What cannot be judged, or sent to a worker, is an `error`; SandboxError where a verifier of
    programs finds no isolation."""
    key = f"{verifier.path}#{json.dumps(verifier.settings, sort_keys=True, default=str)}"
    with _LOCK:
        if limits not in _POOLS:
            _POOLS[limits] = Pool({}, **vars(limits))
        pool = _POOLS[limits]
        pool.add(key, verifier)
    return [_result(future) for future in [pool.submit(item, key) for item in items]]


def _result(future: Any) -> Verdict:
    try:
        return future.result()
    except Exception as error:
        return Verdict(None, "error", reason=f"it cannot be sent to a worker: {type(error).__name__}: {error}"[:500])


@atexit.register
def close() -> None:
    """End the workers of this process."""
    with _LOCK:
        while _POOLS:
            _POOLS.popitem()[1].close()


def _forget() -> None:
    """In a forked child the threads that drive the workers are gone, and the workers are the parent's."""
    global _LOCK
    _LOCK = threading.Lock()  # another thread may have held it
    _POOLS.clear()


os.register_at_fork(after_in_child=_forget)


def trl_function(verifier: Resolved, name: str, answer: str, limits: PoolLimits) -> Callable[..., list[float | None]]:
    """A reward function as TRL calls it. answer: the dataset's column with the gold answer."""
    is_warned = False

    def judge(prompts, completions, completion_ids=None, log_extra=None, **columns) -> list[float | None]:
        nonlocal is_warned
        golds = columns.get(answer)
        if golds is None and needs_answer(verifier):
            known = ", ".join(column for column, values in columns.items() if isinstance(values, list)) or "none"
            raise ValueError(f"reward {name!r}: the dataset has no column {answer!r}; there are: {known}; give answer=")
        items = [
            Item(
                completion=_said(completions[row]),
                answer="" if golds is None else gold_answer(golds[row]),
                prompt=prompts[row] if isinstance(prompts[row], str) else tuple(prompts[row]),
                num_tokens=len(completion_ids[row]) if completion_ids else 0,
                meta={key: values[row] for key, values in columns.items() if isinstance(values, list)},
            )
            for row in range(len(completions))
        ]
        judged = verdicts(verifier, items, limits)
        if log_extra is not None:
            log_extra(f"{name} verdict", [verdict.status for verdict in judged])
        error = next((verdict.reason for verdict in judged if verdict.status == "error"), None)
        if error is not None and not is_warned:
            is_warned = True
            warnings.warn(f"reward {name!r}: not every completion can be judged: {error}", stacklevel=2)
        return [verdict.score for verdict in judged]

    judge.__name__ = judge.__qualname__ = name
    return judge


def verl_score(verifier: Resolved, item: Item, limits: PoolLimits) -> dict[str, float | str]:
    """What verl takes for a score: the number, whether it is right, and why. verl knows no missing score: 0."""
    (verdict,) = verdicts(verifier, [item], limits)
    return {"score": verdict.score or 0.0, "acc": float(verdict.score == 1.0), "verdict": verdict.status}


def gold_answer(value: Any) -> str | dict:
    """A dataset's cell as a verifier's answer: text, a mapping as it is, a list as several that are right."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list | tuple) and len(value) > 1:
        return {ANY: [text_of(each) or "" for each in value]}
    return text_of(value) or ""


def _said(completion: Any) -> str:
    """The assistant's words of a completion: a text, or chat messages."""
    if isinstance(completion, str):
        return completion
    return "\n".join(str(each["content"]) for each in completion if each.get("role", "assistant") == "assistant")
