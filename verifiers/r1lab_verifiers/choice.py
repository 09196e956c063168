r"""The verifier `choice`: one letter of several. A hedge over different letters is wrong.

The most explicit form that occurs decides: a box, an <answer>, `answer is C`, a letter alone, an option at the start of
a line. Bare letters in running text are never read: `A` is an article.
"""

import re
from dataclasses import dataclass

from r1lab_verifiers.text.region import boxes, final_region, has_answer_tag
from r1lab_verifiers.verdict import Item, Verdict

# "\text{B}"; not "text B"
_WRAP = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textrm)\s*\{([^{}]*)\}")
_LETTER = r"(?:\(([A-Za-z])\)|([A-Z])\b(?!'))"
# "Option: (B)."; not "B or C"
_ONLY = re.compile(
    r"[\s*$`\"']*(?:(?:option|choice|answer)\s*:?\s*)?\(?([A-Z])\)?(?:[\s*$`\"'.]*|[.):]\s.*)",
    re.IGNORECASE | re.DOTALL,
)
# "The correct option is B"; not "the options are: big ones"
_STATED = re.compile(
    r"\b(?i:answers?|(?:correct|right|best)\s+(?:option|choice))\b(?i:\s+choice|\s+option)?(?i:\s+is|\s+are|\s*:|\s*=)+"
    r"(?i:\s*(?:option|choice|either))?[\s*$`:]*" + _LETTER
)
# "(b) x"; not "A cat"
_LISTED = re.compile(r"^[ \t*$]*(?:\(([A-Za-z])\)|([A-Z])[.):](?=\s|\*|$))", re.MULTILINE)
# " or C"; not ", a cat"
_MORE = re.compile(
    r"[\s*$`)]*(?:(?:,|;)(?=[\s*$`]*\(?[A-Z]\b(?!\s+[a-z]))|/|&|(?i:,?\s*(?:or|and|and/or)\b))"
    r"[\s*$`]*(?i:(?:option|choice)\s+)?(?!I\s+[a-z])" + _LETTER
)


@dataclass(frozen=True)
class Choice:
    """Compares one letter with the gold letter."""

    letters: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    """The letters that are options; others are no answer."""

    def __post_init__(self):
        # "ABCD"; not "A-D"
        if not re.fullmatch(r"[A-Z]{2,26}", str(self.letters)):
            raise ValueError(f"choice: letters {self.letters!r}: give at least two capital letters, such as ABCD")

    def verify(self, item: Item) -> Verdict:
        if reason := self.check(item.answer):
            return Verdict(None, "error", reason=f"choice: {reason}")
        offered = _letters(item.completion)
        if offered is None:
            return Verdict(0.0, "no_answer", reason="no letter")
        if len(offered) > 1:
            return Verdict(0.0, "wrong", " ".join(sorted(offered)), "several different letters")
        letter = min(offered, default="")
        if letter not in self.letters or not letter:
            return Verdict(0.0, "unparsable", letter or None, "the answer's place holds no option")
        if letter != self._gold_letter(item.answer):
            return Verdict(0.0, "wrong", letter)
        return Verdict(1.0, "correct", letter)

    def check(self, answer: str | dict) -> str | None:
        """Why the gold answer cannot be used, or None."""
        if self._gold_letter(answer):
            return None
        return f"the gold answer {str(answer)[:80]!r} is no letter of {self.letters}"

    def _gold_letter(self, answer: object) -> str:
        """The gold letter; empty where the answer is none of the options."""
        match = _ONLY.fullmatch(answer) if isinstance(answer, str) else None
        letter = match[1].upper() if match else ""
        return letter if letter in self.letters else ""

    def witness(self, answer: str | dict) -> str:
        """A statement of the gold letter."""
        gold = _ONLY.fullmatch(str(answer))
        return f"The answer is {gold[1].upper()}" if gold else str(answer)


def _narrow(text: str) -> str:
    """The text with long runs of whitespace shortened: the patterns above are quadratic in them."""
    # "   "; not "  "
    return re.sub(r"\s{3,}+", lambda run: "\n" if "\n" in run[0] else " ", text)


def _letters(completion: str) -> set[str] | None:
    """The letters offered where the answer stands; empty: that place holds none; None: no such place."""
    region = _narrow(_WRAP.sub(r"\1", final_region(completion)))
    if boxed := boxes(region):
        return set().union(*(_only(text) for text in boxed))
    if has_answer_tag(completion):
        return _only(region)
    if found := _collect(_STATED, region):
        return found
    if "\n" not in region.strip() and (found := _only(region)):
        return found
    return _collect(_LISTED, region) or None


def _only(text: str) -> set[str]:
    """The letter that a text is, or all letters of a list such as `A, B`."""
    # "**(b)"; not "Both"
    start = re.match(r"[\s*$`]*(?:\(([A-Za-z])\)|([A-Za-z])\b)", text)
    if start and _MORE.match(text, start.end()):
        return _chain(text, start)
    match = _ONLY.fullmatch(text)
    return {match[1].upper()} if match else set()


def _collect(pattern: re.Pattern, text: str) -> set[str]:
    return set().union(*(_chain(text, match) for match in pattern.finditer(text)))


def _chain(text: str, match: re.Match | None) -> set[str]:
    """The letter matched and those joined to it: `A or B`, `A, B and C`."""
    letters = set()
    while match:
        letters.add((match[1] or match[2]).upper())
        match = _MORE.match(text, match.end())
    return letters
