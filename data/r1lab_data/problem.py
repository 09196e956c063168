"""What a problem is. Not where it comes from (`r1lab_data.loaders`, `r1lab_data.tasks`), not its rendering
(`r1lab.rollout.renderer`)."""

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
    """A demonstration: the completion a good policy could have written, or None."""
    source: str = ""
    """Name of the source in the recipe; metrics are kept per source."""
    meta: dict = field(default_factory=dict)
    """Whatever else the row holds; passed on to the verifier, never trained on."""


class RowError(DataError):
    """One row makes no problem; others may."""
