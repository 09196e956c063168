"""What an environment is and what it answers. Not which there are (`resolve`), nor how they are run (`host`)."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from r1lab_verifiers.verdict import Verdict


@dataclass(frozen=True)
class Turn:
    """The answer to one turn of the model."""

    observation: str | None = None
    """What the model reads next; None: nothing."""
    done: bool = False
    """Whether the episode ends here; the observation is then not read."""
    reward: float | None = None
    """Of this turn, any finite number."""
    info: dict[str, Any] = field(default_factory=dict)
    """Plain values to keep beside the turn, such as counts; `calls` and `failed_calls` are metrics."""


def cut(text: str, most: int) -> str:
    """The text or, where it has more characters than `most`, its beginning and its end around a mark."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters cut ...]\n{text[-half:]}"


class Environment(Protocol):
    """The world of one episode, made as `Class(problem, seed, **settings)` in a worker. A class need not inherit.

    It must be a function of its problem, its seed and the actions so far: a worker that is lost is made up for by
    making a new one and playing the actions again. `random` and numpy are seeded before every call.
    """

    replayable: bool = True
    """False: it reaches outside (network, simulated users), so it is kept where it is and what fails is not retried."""
    role: str = "user"
    """Who an observation is from under a chat template: `user` or `tool`."""
    stop_after: tuple[str, ...] = ()
    """Strings that end the model's turn and stay in its text."""

    def reset(self) -> str | None:
        """What the model reads before its first turn, behind the prompt."""
        ...

    def step(self, text: str) -> Turn:
        """The answer to a turn, the text without special tokens and what ended it."""
        ...

    def verdict(self) -> "Verdict | float | bool":
        """What `verifier: environment` says of the episode; may be left out."""
        ...
