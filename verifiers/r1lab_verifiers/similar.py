"""The verifier `similar`: how much of the answer's text the completion has, as of a step of a solution (SRL, arXiv
2510.25992). Not whether it is right: of numbers that is `numeric`, of equal texts `exact`."""

from dataclasses import dataclass
from difflib import SequenceMatcher

from r1lab_verifiers.text.region import final_region
from r1lab_verifiers.verdict import Item, Verdict

MAX_CHARACTERS = 2_000
"""Of each text that are compared: matching takes time by their product."""


@dataclass(frozen=True)
class Similar:
    """The score is 2 M / T, M the characters in matching blocks of the two texts and T those of both, white space made
    uniform; what stands behind the thinking is compared, and of several lines all."""

    def verify(self, item: Item) -> Verdict:
        gold = "" if isinstance(item.answer, dict) else " ".join(str(item.answer).split())
        if not gold or len(gold) > MAX_CHARACTERS:
            reason = f"similar: the answer is no text of 1 to {MAX_CHARACTERS:,} characters"
            return Verdict(None, "error", reason=reason)
        said = " ".join(final_region(item.completion).split())
        if not said:
            return Verdict(0.0, "no_answer", reason="empty")
        # What is beyond the limit matches nothing, and counts in the length all the same.
        matcher = SequenceMatcher(None, said[:MAX_CHARACTERS], gold, autojunk=False)
        matched = sum(block.size for block in matcher.get_matching_blocks())
        score = 2 * matched / (len(said) + len(gold))
        status = "correct" if score == 1 else "partial" if score else "wrong"
        return Verdict(score, status, said[:MAX_CHARACTERS])

    def check(self, answer: str | dict) -> str | None:
        """Why the gold answer cannot be used, or None."""
        if isinstance(answer, dict) or not answer.strip():
            return "similar: the answer must be a text"
        return (
            f"similar: {len(answer):,} characters are more than {MAX_CHARACTERS:,}"
            if (len(answer) > MAX_CHARACTERS)
            else None
        )

    def witness(self, answer: str | dict) -> str:
        return str(answer)
