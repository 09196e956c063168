"""Verifiers that check gold answers instead of completions, for audits of data sets; no built-ins.

They run where that verifier would, in the pool, so that what a user's verifier does to an answer stays bounded there.
"""

import math
import re
from dataclasses import dataclass, field, replace

from r1lab_verifiers.plugin import Live, Resolved, load
from r1lab_verifiers.reward_functions import RewardFunction
from r1lab_verifiers.verdict import Item, Verdict

# "so <<7>>", the marks with what is between them; not "<7>"
_FRAMED = re.compile(r"<<(.*?)>>", re.DOTALL)
BESIDE = (
    "beside others: it compares the completions of a call, or draws at random; here a completion is judged by itself, "
    "and compared within its group by objective.advantage"
)


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


class AloneCheck(AsksVerifier):
    """Judges another trainer's reward function by what it gives to several completions of a problem, each alone and all
    in one call: score 1 where the numbers are the same and are scores. The item's completion is one of them."""

    def verify(self, item: Item) -> Verdict:
        reward: RewardFunction = self.live.target
        items, alone, failure = [], [], ""
        for completion in self._completions(item):
            candidate = replace(item, completion=completion)
            try:
                (number,) = reward.numbers([candidate])
            except Exception as error:  # the plug-in border; a strange completion may be too much for it
                failure = failure or f"{type(error).__name__}: {error}"
                continue
            if out := reward.out_of_range(number):
                return Verdict(0.0, "wrong", reason=out)
            items.append(candidate)
            alone.append(number)
        if not items:
            return Verdict(0.0, "wrong", reason=f"it fails on every completion: {failure}")
        try:
            together = reward.numbers([*items, items[0]])
        except Exception as error:  # the plug-in border
            return Verdict(0.0, "wrong", reason=f"it fails on several in a call: {type(error).__name__}: {error}")
        for one, other in zip([*alone, alone[0]], together):
            if not _is_same(one, other):
                return Verdict(
                    0.0, "wrong", reason=f"it gives a completion {one} in a call of its own and {other} {BESIDE}"
                )
        return Verdict(1.0, "correct")

    def _completions(self, item: Item) -> list[str]:
        gold = self.live.witness(item.answer)
        written = [gold, rf"\boxed{{{gold}}}", f"<think>\n\n</think>\n<answer>{gold}</answer>", f"#### {gold}"]
        return list(dict.fromkeys([item.completion, *written, "", "I do not know. " * 20]))


def _is_same(one: float | None, other: float | None) -> bool:
    """Up to what a tensor of several rounds otherwise than one of one."""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-6)


def alone(verifier: Resolved) -> Resolved:
    """What judges a reward function of another trainer."""
    return Resolved(f"{__name__}:AloneCheck", {"verifier": verifier})


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
