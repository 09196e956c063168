"""Decides whether a failed check counts against the completion or is an error of ours.

Pure; who runs what, and when, is `r1lab_verifiers.pool.pool`."""

from dataclasses import dataclass
from typing import Literal

from r1lab_verifiers.verdict import Verdict


@dataclass(frozen=True)
class Failure:
    """A check that came to no verdict."""

    kind: Literal["timeout", "crash"]
    """`crash`: an exception, the memory limit, or a worker that died."""
    reason: str
    seconds: float = 0.0


Run = Verdict | Failure


def blamed_verdict(first: Run, retry: Run | None = None, witness: Run | None = None) -> Verdict:
    """The verdict on a completion that was run once, again alone where that failed, then its problem's witness.

    A completion is to blame only where it failed twice and the witness, which is known to be harmless, was judged.
    """
    if isinstance(first, Verdict):
        return first
    if isinstance(retry, Verdict):
        return retry
    last = retry or first
    if is_passed(witness):
        return Verdict(0.0, last.kind, reason=last.reason, has_failed=True)
    why = "and again alone" if witness is None else f"the reference fails as well ({witness.reason})"
    return Verdict(None, "error", reason=f"{last.kind}: {last.reason}; {why}", has_failed=True)


def is_passed(witness: Run | None) -> bool:
    """Whether the problem can be judged at all. An `error` verdict says that it cannot; a wrong one that it can."""
    return isinstance(witness, Verdict) and witness.status != "error"


def failure_of(verdict: Verdict) -> Literal["", "timeout", "crash", "error"]:
    """How a check came to no verdict: it hung, it crashed, or what it returned is none; empty where it came to one."""
    if verdict.has_failed and verdict.status != "error":
        return "timeout" if verdict.status == "timeout" else "crash"
    for kind in ("timeout", "crash"):
        if verdict.has_failed and verdict.reason.startswith(f"{kind}: "):
            return kind
    return "error" if verdict.status == "error" else ""
