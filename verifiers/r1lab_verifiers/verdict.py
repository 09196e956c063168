"""The input and the output of a verifier: Item and Verdict. Not what training pays for a verdict
(`r1lab.rollout.reward`)."""

from collections.abc import Awaitable
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Literal, Protocol, get_args

Status = Literal[
    "correct", "partial", "wrong", "no_answer", "unparsable", "timeout", "crash", "crossing", "undecided", "abstained",
    "error",
]  # fmt: skip
UNSCORED = frozenset({"abstained", "error"})
"""Statuses without a score: the verifier has nothing to say of this problem, or it could not judge."""
STATUSES: tuple[str, ...] = get_args(Status)
RANGE_REMEDY = "scale it; what training pays is the recipe's, as in reward: {score: {wrong: -1}}"
MAX_EXTRACTED_CHARACTERS, MAX_REASON_CHARACTERS = 200, 500
"""What is kept of them: verdicts go into every row of the rollout table."""


@dataclass(frozen=True)
class Item:
    """One completion to judge. Picklable, holds no tensor."""

    completion: str
    """The text the policy wrote, without special tokens and the stop string that ended it."""
    answer: Any
    """The gold answer in the form the problem's verifier reads: a text, or a mapping."""
    prompt: str | tuple[dict[str, str], ...] = ""
    """The problem as the data gives it, before any template."""
    problem_id: str = ""
    finish: str = "stop"
    """`eos`, `stop`, `length` or `abort`."""
    num_tokens: int = 0
    """Tokens of the completion."""
    meta: dict = field(default_factory=dict)
    """The problem's other columns."""


@dataclass(frozen=True)
class Verdict:
    """What is true of a completion, and why."""

    score: float | None
    """In [0, 1]; None exactly where status is `error` or `abstained`."""
    status: Status
    """Whose fault what is: `error` is ours, `abstained` nobody's, every other status is the completion's."""
    extracted: str | None = None
    """The answer as it was read, shortened."""
    reason: str = ""
    """One line for people."""
    steps: tuple[tuple[int, float], ...] | None = None
    """(end_char, score) for each step of a process reward, or None."""
    seconds: float = 0.0
    """Wall seconds of the check; a time, so it never decides anything."""
    has_failed: bool = field(default=False, compare=False)
    """Whether the check itself failed each time (it hung, crashed, died): the status was laid on the completion, or is
    an error. Said by the pool alone and not kept in tables; the timeout of a program, which its verifier reports, is no
    failed check."""

    def __post_init__(self):
        if self.status not in STATUSES:
            raise ValueError(f"verdict status {self.status!r} is unknown; use one of {', '.join(STATUSES)}")
        if self.status in UNSCORED:
            if self.score is not None:
                raise ValueError(f"a verdict of status {self.status} has score None, got {self.score!r}")
        elif not isinstance(self.score, (int, float)) or not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score {self.score!r} is outside [0, 1]; {RANGE_REMEDY}")


class Verifier(Protocol):
    """What a verifier is: anything with `verify`. `async def verify` needs `isolated = True` in its class."""

    def verify(self, item: Item) -> "Verdict | float | bool | Awaitable | None": ...


def tidy(verdict: Verdict) -> Verdict:
    """The same verdict with plain types, its texts shortened and made plain."""
    if _is_tidy(verdict):
        return verdict
    return Verdict(
        status=verdict.status,
        score=None if verdict.score is None else float(verdict.score),
        extracted=None if verdict.extracted is None else plain(verdict.extracted, MAX_EXTRACTED_CHARACTERS),
        reason=plain(verdict.reason, MAX_REASON_CHARACTERS),
        steps=None if verdict.steps is None else tuple((int(end), float(score)) for end, score in verdict.steps),
        seconds=float(verdict.seconds),
        has_failed=False,
    )


def _is_tidy(verdict: Verdict) -> bool:
    """Whether `tidy` would change nothing: so it is with nearly all, which is quick to see."""
    return (
        type(verdict) is Verdict
        and type(verdict.status) is str
        and type(verdict.score) in (float, NoneType)
        and (verdict.extracted is None or _is_plain(verdict.extracted, MAX_EXTRACTED_CHARACTERS))
        and _is_plain(verdict.reason, MAX_REASON_CHARACTERS)
        and verdict.steps is None
        and type(verdict.seconds) is float
        and verdict.has_failed is False
    )


def _is_plain(text: object, limit: int) -> bool:
    return type(text) is str and len(text) <= limit and text.isprintable()


def plain(text: object, limit: int) -> str:
    """Text of at most `limit` characters that can be written and shown: no lone surrogate, no command to a terminal."""
    text = (text if isinstance(text, str) else str(text))[:limit]
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    return " " if character.isspace() else "?"
