"""The principle of `rlaif` as a verifier: every column of the sum from the ones upward, then the answer, and nothing
else. Not whether the sum is right, and not what the judge has learned of the principle.

    7+5=12, 4+8+1=13, 3+2+1=6. Answer: 632      # of 347+285: 1.0, and so it would be with another digit behind a `=`
    632                                         # 0.0
    7+5=12, 3+2+1=6. Answer: 632                # 0.857: a column is missing
"""

from dataclasses import dataclass

from r1lab_data.tasks.written_addition import obeys
from r1lab_verifiers.verdict import Item, Verdict


@dataclass(frozen=True)
class WrittenSum:
    """How far a completion is written by the principle, from 0 to 1."""

    def verify(self, item: Item) -> Verdict:
        score = obeys(str(item.prompt), item.completion)
        return Verdict(score, "correct" if score == 1 else "partial" if score else "wrong")

    def check(self, answer: str | dict) -> str | None:
        """The answer is not asked for."""
        return None
