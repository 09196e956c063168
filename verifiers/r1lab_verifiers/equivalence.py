"""Decides whether two extracted answers are the same answer, for majority votes. Not whether either is right.

Runs in the pool like a verifier, since what a model wrote is compared. A verifier that can tell has a method
`same(one, other) -> bool` on extracted texts; for one without, answers are the same where their texts are.
"""

from dataclasses import dataclass, field

from r1lab_verifiers.plugin import Live, Resolved, load
from r1lab_verifiers.verdict import Item, Verdict


@dataclass(frozen=True)
class SameAnswer:
    """Score 1 where the completion is the same as one of the answer's `texts`; `extracted` is that one's index."""

    path: str
    """Of the verifier whose `same` decides."""
    settings: dict = field(default_factory=dict)
    live: Live = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "live", Resolved(self.path, self.settings).build())

    def verify(self, item: Item) -> Verdict:
        same = self.live.target.same
        for index, text in enumerate(item.answer["texts"]):
            if same(text, item.completion):
                return Verdict(1.0, "correct", str(index))
        return Verdict(0.0, "wrong")

    def witness(self, answer: dict) -> str:
        """One of the texts themselves."""
        return answer["texts"][0]


def same_as(verifier: Resolved) -> Resolved | None:
    """What compares the verifier's extracted answers; None where it has no `same`."""
    if not callable(getattr(load(verifier.path), "same", None)):
        return None
    settings = {"path": verifier.path, "settings": dict(verifier.settings)}
    return Resolved("r1lab_verifiers.equivalence:SameAnswer", settings, preload=verifier.preload)
