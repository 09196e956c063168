"""The verifier `exact`: the answer is this text. Not for numbers (`numeric`) or mathematics (`math`)."""

import unicodedata
from dataclasses import dataclass

from r1lab_verifiers.text.denial import is_alternative
from r1lab_verifiers.text.region import after_marker, final_region
from r1lab_verifiers.verdict import Item, Verdict

MAX_SPACE_CHARACTERS = 10_000
"""Characters that a text may be longer than the gold answer by white space alone."""


@dataclass(frozen=True)
class Exact:
    """Compares the text after the thinking (inside the last `<answer>`, if there is one), white space made uniform."""

    after: str | None = None
    """A marker such as `Answer:`: the rest of the line behind the last one is compared."""
    ignore_case: bool = False

    def verify(self, item: Item) -> Verdict:
        gold = None if isinstance(item.answer, dict) else self.normal(str(item.answer))
        if not gold:
            return Verdict(None, "error", reason="exact: the gold answer is no text, or empty")
        text = final_region(item.completion)
        if self.after:
            rest = after_marker(text, self.after) or ""
            if rest and is_alternative(text, len(text) - len(rest) - len(self.after)):
                return Verdict(0.0, "wrong", rest.strip(), "several answers offered")
            text = rest.strip().partition("\n")[0]
        is_long = len(text := text.strip()) > len(str(item.answer)) + MAX_SPACE_CHARACTERS
        found = self.normal(text[:MAX_SPACE_CHARACTERS] if is_long else text)
        if not found:
            return Verdict(0.0, "no_answer", reason="empty")
        return Verdict(1.0, "correct", found) if found == gold and not is_long else Verdict(0.0, "wrong", found)

    def normal(self, text: str) -> str:
        """The text as it is compared: one space for any white space, Unicode in composed form."""
        text = " ".join(unicodedata.normalize("NFC", text).split())
        return text.casefold() if self.ignore_case else text

    def witness(self, answer: str | dict) -> str:
        return f"{self.after} {answer}" if self.after else str(answer)
