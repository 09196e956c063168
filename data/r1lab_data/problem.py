"""What a problem is. Not where it comes from (`r1lab_data.loaders`, `r1lab_data.tasks`), not its rendering
(`r1lab.rollout.renderer`)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


class DataError(ValueError):
    """A dataset that cannot be used: one line with the value, what is allowed and the remedy."""


@dataclass(frozen=True)
class Problem:
    """One problem with a checkable answer."""

    id: str
    """Unique in the run: `<source>/<row>` unless the data has a column of ids."""
    prompt: str | tuple[dict[str, str], ...]
    """Text, or chat messages `{"role", "content"}`."""
    answer: str | dict
    """What its verifier needs, and nothing the policy sees. Never empty; `{"any": [...]}`: each of these is right."""
    verifier: str = ""
    """Key into the run's table of verifiers; empty: the run's default."""
    solution: str | None = None
    """A demonstration: the completion a good policy could have written, or None; of several turns a `Conversation`."""
    source: str = ""
    """Name of the source in the recipe; metrics are kept per source."""
    meta: dict = field(default_factory=dict)
    """Whatever else the row holds; passed on to the verifier, never trained on."""


class Conversation(str):
    """A demonstration of several turns: as a text the assistant's alone, joined by line breaks; `messages` say who said
    what, first and last the assistant."""

    messages: tuple[dict[str, str], ...]

    def __new__(cls, messages: Iterable[Mapping[str, str]]) -> "Conversation":
        said = tuple({"role": each["role"], "content": each["content"]} for each in messages)
        made = super().__new__(cls, "\n".join(each["content"] for each in said if each["role"] == "assistant"))
        made.messages = said
        return made

    def __getnewargs__(self) -> tuple:
        return (self.messages,)


class RowError(DataError):
    """One row makes no problem; others may."""
