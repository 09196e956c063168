"""Words around an answer that deny it, doubt it or take it back. Says nothing about what the answer is."""

import re

_WRONG = r"(?:wrong|incorrect|false|a\s+mistake|out|eliminated|excluded|impossible|ruled|invalid|untrue)"
_RIGHT = r"(?:the\s+)?(?:correct|right|best|true|answer|it|possible|valid|an?\s+option)"
_NOT = r"(?:\s*n['\u2019]t|\s+not)"
_BEFORE = re.compile(
    # "I would not choose", "it isn't", "x \neq "; not "notes", "not only"
    r"(?:\b(?:not|never|neither|nor|cannot|avoid|instead\s+of|rather\s+than)|n['\u2019]t|\u2260|!=|\\neq?)"
    r"(?:\s+(?:be|equal|equal\s+to|exactly))?[\s$*(]*$",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    # " is wrong", "?", " cannot be the answer", " or not"; not ", since A is wrong"
    rf"[\s*$`)%]*+(?:\?|or\s+not\b|[,.:]?\s*(?:which\s+)?(?:(?:is|was|are|would\s+be|seems|looks|must\s+be){_NOT}?"
    rf"(?:\s+(?:clearly|definitely|obviously|also|therefore|thus))?\s+{_WRONG}\b"
    rf"|(?:(?:is|was|are|would\s+be){_NOT}|can(?:not|['\u2019]t|\s+not)\s+be)\s+{_RIGHT}\b))",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    # "But that is wrong.", "No, it is not correct"; not "it is wrong to say"
    rf"\b(?:that|this|it|my\s+answer)(?:(?:['\u2019]s|\s+is|\s+was|\s+would\s+be){_NOT}?\s+{_WRONG}"
    rf"|(?:['\u2019]s|\s+is|\s+was|\s+would\s+be){_NOT}\s+(?:correct|right|true))\b"
    r"(?!\s+(?:to|that|if|because|for|when|of)\b)|\bscratch\s+that\b",
    re.IGNORECASE,
)
# "Answer: 5, or maybe "; not "for "
_HEDGE = re.compile(r"\b(?:or|maybe|perhaps|possibly|alternatively)[\s,*(]*$", re.IGNORECASE)
MAX_BEFORE_CHARACTERS, MAX_BEHIND_CHARACTERS = 40, 60


def is_denied(text: str, start: int, end: int) -> bool:
    """Whether what stands at `start` to `end` is denied or doubted by the words next to it."""
    before = text[max(0, start - MAX_BEFORE_CHARACTERS) : start]
    return bool(_BEFORE.search(before) or _BEHIND.match(text, end, end + MAX_BEHIND_CHARACTERS))


def is_taken_back(text: str, end: int) -> bool:
    """Whether a later sentence takes back what ended at `end`."""
    return _TAKEN_BACK.search(text, end) is not None


def is_alternative(text: str, start: int) -> bool:
    """Whether the words before `start` make what follows one answer more."""
    return _HEDGE.search(text[max(0, start - MAX_BEFORE_CHARACTERS) : start]) is not None
