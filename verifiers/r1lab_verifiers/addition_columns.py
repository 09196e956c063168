"""The verifier `addition_columns`: an addition worked column by column, each column a step with a score of its own. Not
for additions that are worked in another way: of those the answer alone is a step.

    7+5=12, 4+8+1=13, 3+2+1=6. Answer: 632      # of 347+285: columns from the ones upward, `+1` after a carry
"""

import re
from dataclasses import dataclass, replace

from r1lab_data.tasks.addition import worked_columns
from r1lab_verifiers.numeric import Numeric
from r1lab_verifiers.verdict import Item, Verdict

# "347+285" in "What is 347+285?"; nothing in "347+285+1"
_SUM = re.compile(r"(?<![0-9+.])([0-9]{1,12})\+([0-9]{1,12})(?![0-9+.]?[0-9])")
# "4+8+1=13" in "4+8+1=13, 3"; nothing in "14+8=22"
_COLUMN = re.compile(r"(?<![0-9+])[0-9]\+[0-9](?:\+1)?=[0-9]{1,2}(?![0-9])")

MAX_PROMPT_CHARACTERS = 10_000


@dataclass(frozen=True)
class AdditionColumns:
    """Right where the last number is the sum that the prompt asks for."""

    steps: bool = True
    """Say of each column too whether it is right. The first columns written are compared with those of the sum, in
    order; the answer is the last step, which reaches the completion's end."""

    def verify(self, item: Item) -> Verdict:
        verdict = Numeric().verify(item)
        if verdict.score is None or not self.steps:
            return verdict
        return replace(verdict, steps=tuple(_steps(item.completion, _columns(item.prompt), verdict.score)))

    def check(self, answer: str | dict) -> str | None:
        """Why the gold answer cannot be used, or None."""
        return Numeric().check(answer)

    def witness(self, answer: str | dict) -> str:
        return f"Answer: {answer}"


def _columns(prompt: object) -> list[str]:
    """The columns of the sum that a prompt asks for; none where that is of numbers of unequal length, or missing."""
    asked = _SUM.search(prompt[:MAX_PROMPT_CHARACTERS]) if isinstance(prompt, str) else None
    if asked is None or len(asked[1]) != len(asked[2]):
        return []
    return worked_columns(int(asked[1]), int(asked[2]))[0].split(", ")


def _steps(text: str, columns: list[str], of_answer: float) -> list[tuple[int, float]]:
    """(end, score) of each step; what is written beyond the sum's columns belongs to the answer."""
    written = zip(_COLUMN.finditer(text), columns, strict=False)
    steps = [(match.end(), float(match[0] == right)) for match, right in written]
    is_more = text[steps[-1][0] if steps else 0 :].strip()
    return [*steps, (len(text), of_answer)] if is_more else steps
