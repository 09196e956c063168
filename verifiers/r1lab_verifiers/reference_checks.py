"""Verifiers that ask another one about an answer instead of a completion. For audits of golds; no built-ins.

They run where that verifier would, in the pool, so that what a user's verifier does to an answer stays bounded there.
"""

from dataclasses import dataclass, field, replace

from r1lab_verifiers.plugin import Live, Resolved, load
from r1lab_verifiers.verdict import Item, Verdict


@dataclass
class Wording:
    """What the three have in common: the verifier that is asked, `of`."""

    of: Resolved
    live: Live = field(init=False, repr=False)

    def __post_init__(self):
        self.live = self.of.build()

    def judged(self, item: Item, completion: str) -> Verdict:
        return self.live.verify(replace(item, completion=completion))


class Reference(Wording):
    """Judges the completion that the verifier makes of the gold answer; the item's own is not looked at."""

    def verify(self, item: Item) -> Verdict:
        return self.judged(item, self.live.witness(item.answer))


class Stated(Wording):
    """Judges an answer: the item's completion is one, bare, and is put as the verifier puts a gold answer."""

    def verify(self, item: Item) -> Verdict:
        return self.judged(item, self.live.witness(item.completion))


class Kind(Wording):
    """Says what kind of answer the gold is read as, in `extracted`, by the verifier's method `describe`."""

    def verify(self, item: Item) -> Verdict:
        return Verdict(1.0, "correct", str(self.live.target.describe(item.answer)))


def reference(verifier: Resolved) -> Resolved:
    return Resolved(f"{__name__}:Reference", {"of": verifier})


def stated(verifier: Resolved) -> Resolved:
    return Resolved(f"{__name__}:Stated", {"of": verifier})


def kind(verifier: Resolved) -> Resolved | None:
    """None where the verifier has no method `describe`."""
    return Resolved(f"{__name__}:Kind", {"of": verifier}) if hasattr(load(verifier.path), "describe") else None
