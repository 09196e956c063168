"""The verifier `regex`: the answer contains a match. The weakest built-in: the pattern decides what it proves.

A pattern that backtracks for ever is bounded by the pool's deadline and nothing else.
"""

import re
from dataclasses import dataclass
from typing import Any

from r1lab_verifiers.text.region import final_region
from r1lab_verifiers.verdict import Item, Verdict


@dataclass(frozen=True)
class Regex:
    """Searches the text after the thinking (inside the last `<answer>`, if there is one)."""

    pattern: str | None = None
    """Python's syntax; None: the problem's answer is the pattern."""
    ignore_case: bool = False
    whole: bool = False
    """The pattern must match the whole text, white space around it aside."""

    def __post_init__(self):
        if self.pattern is not None:
            self.compiled(self.pattern)

    def compiled(self, pattern: Any) -> re.Pattern:
        """Raises ValueError for what is no pattern, or one that matches the empty text and so everything."""
        try:
            compiled = re.compile(pattern, re.IGNORECASE if self.ignore_case else 0)
        except (re.error, TypeError) as error:
            raise ValueError(f"regex: {str(pattern)[:80]!r} is not a pattern: {error}") from error
        if compiled.search(""):
            raise ValueError(f"regex: {str(pattern)[:80]!r} matches the empty text, so anything would score")
        return compiled

    def verify(self, item: Item) -> Verdict:
        try:
            pattern = self.compiled(item.answer if self.pattern is None else self.pattern)
        except ValueError as error:
            return Verdict(None, "error", reason=str(error))
        text = final_region(item.completion).strip()
        match = pattern.fullmatch(text) if self.whole else pattern.search(text)
        return Verdict(1.0, "correct", match[0]) if match else Verdict(0.0, "wrong", reason="no match")

    def check(self, answer: str | dict) -> str | None:
        """Why the problem's answer is no pattern, or None."""
        try:
            self.compiled(answer if self.pattern is None else self.pattern)
        except ValueError as error:
            return str(error).removeprefix("regex: ")
        return None

    def witness(self, answer: str | dict) -> str:
        return str(answer)
