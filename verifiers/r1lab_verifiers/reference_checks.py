"""Verifiers that check gold answers instead of completions, for audits of data sets; no built-ins.

They run where that verifier would, in the pool, so that what a user's verifier does to an answer stays bounded there.
"""

import re
from dataclasses import dataclass, field, replace

from r1lab_verifiers.plugin import Live, Resolved, load
from r1lab_verifiers.verdict import Item, Verdict

# "so <<7>>", the marks with what is between them; not "<7>"
_FRAMED = re.compile(r"<<(.*?)>>", re.DOTALL)


@dataclass
class AsksVerifier:
    """Asks another verifier; the base of the checks."""

    verifier: Resolved
    live: Live = field(init=False, repr=False)

    def __post_init__(self):
        self.live = self.verifier.build()

    def verdict_on(self, item: Item, completion: str) -> Verdict:
        """The other verifier\'s verdict on a completion of ours in place of the item\'s."""
        return self.live.verify(replace(item, completion=completion))


class ReferenceCheck(AsksVerifier):
    """Judges the completion that the verifier makes of the gold answer; the item's own is not looked at."""

    def verify(self, item: Item) -> Verdict:
        return self.verdict_on(item, self.live.witness(item.answer))


class StatedAnswerCheck(AsksVerifier):
    """Judges an answer: the item's completion is one, bare, and is put as the verifier puts a gold answer."""

    def verify(self, item: Item) -> Verdict:
        return self.verdict_on(item, self.live.witness(item.completion))


class AnswerKindCheck(AsksVerifier):
    """Says what kind of answer the gold is read as, in `extracted`, by the method `describe`, and in `reason` why
    it may be read as less than it says, by the method `doubt`."""

    def verify(self, item: Item) -> Verdict:
        return Verdict(1.0, "correct", str(self.live.describe(item.answer)), self.live.doubt(item.answer))


class FramedCheck(AsksVerifier):
    """Judges a completion in which what stands between `<<` and `>>` is put as the verifier puts a gold answer."""

    def verify(self, item: Item) -> Verdict:
        return self.verdict_on(item, _FRAMED.sub(lambda match: self.live.witness(match[1]), item.completion))


def framed(verifier: Resolved) -> Resolved:
    """What judges a completion with marked answers."""
    return Resolved(f"{__name__}:FramedCheck", {"verifier": verifier})


def reference(verifier: Resolved) -> Resolved:
    """What judges the completion that the verifier makes of a gold answer."""
    return Resolved(f"{__name__}:ReferenceCheck", {"verifier": verifier})


def stated(verifier: Resolved) -> Resolved:
    """What judges a bare answer."""
    return Resolved(f"{__name__}:StatedAnswerCheck", {"verifier": verifier})


def kind(verifier: Resolved) -> Resolved | None:
    """What names the kind of a gold answer; None where the verifier has no method `describe`."""
    if not hasattr(load(verifier.path), "describe"):
        return None
    return Resolved(f"{__name__}:AnswerKindCheck", {"verifier": verifier})
