r"""Answers that are words: names, yes and no, choices, clock times. Text in, nodes out; no mathematics."""

import re

from verifiers.math.tree import Choice, Clock, Text

_WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mbox|hbox|operatorname|emph|underline)\*?\s*\{([^{}]*)\}"
)
_MEANINGS = {
    "no solution": (
        "none",
        "no solutions",
        "no real solution",
        "no real solutions",
        "empty set",
        "the empty set",
        "empty",
        "there is no solution",
        "there are no solutions",
        "no such number",
        "does not have a solution",
    ),
    "undefined": ("does not exist", "dne", "not defined", "undefined", "limit does not exist"),
    "infinity": ("infinite", "infinitely many", "infinitely many solutions", "infinity", "diverges to infinity"),
    "yes": ("yes", "y"),
    "all real numbers": (
        "all reals",
        "any real number",
        "every real number",
        "the real numbers",
        "real numbers",
        "all real",
    ),
}
_MEANING = {form: meaning for meaning, forms in _MEANINGS.items() for form in forms}
_LETTER = re.compile(r"\s*(?:(?:option|choice|answer)\s*:?\s*)?\(?([A-Z])\)?\s*[.):]?\s*", re.IGNORECASE)
_LETTER_AND_TEXT = re.compile(r"\s*(?:\(([A-Z])\)|([A-Z])\s*[.):])\s+(\S.*)", re.DOTALL)
_LETTER_THEN_WORD = re.compile(r"\s*([A-Z])[ \t]+([A-Z]?[a-z]{2,}[^\n]*)(?:\n.*)?", re.DOTALL)
_CLOCK = re.compile(
    r"([0-9]{1,2}):([0-5][0-9])(?::00)?\s*(?:([ap])\.?\s*m\.?)?(?:\s*(?:o'?clock|hours))?", re.IGNORECASE
)
MAX_WORDS = 300
"""Characters of an answer in words."""


def unwrap(text: str) -> str:
    r"""Without \text{...} and the like around words."""
    for _ in range(6):
        text, count = _WRAPPED.subn(r" \1 ", text)
        if not count:
            break
    return re.sub(r"\\[,;:! ]|\\quad|~", " ", text).strip()


def words(text: str) -> Text:
    """Words made uniform: case, spaces, quotes, articles, full stops, and some that mean the same."""
    plain = unwrap(text).replace("\\", " \\")
    if len(plain.strip()) == 1:
        return Text(plain.strip())
    plain = re.sub(r"[\s_]+", " ", re.sub(r"[\"`*${}]|[.!?,](?=\s|$)", " ", plain)).strip().casefold()
    plain = re.sub(r"^(?:the|a|an)\s+", "", plain)
    plain = re.sub(r"\s*([-/,'&()])\s*", r"\1", plain)
    return Text(_MEANING.get(plain, plain))


def choice(text: str, is_gold: bool) -> Choice | None:
    """`B`, `(B)`, `B.`, `(B) text`, `B. text`; a gold may also be `B text`."""
    plain = unwrap(text)
    if match := _LETTER.fullmatch(plain):
        return Choice(match[1].upper()) if match[1].isupper() or len(plain) > 1 else None
    if match := _LETTER_AND_TEXT.fullmatch(plain):
        return Choice(match[1] or match[2], match[3].strip())
    if is_gold and (match := _LETTER_THEN_WORD.fullmatch(plain)):
        return Choice(match[1], match[2].strip())
    return None


def clock(text: str) -> Clock | None:
    """A time of day in minutes."""
    match = _CLOCK.fullmatch(unwrap(text).strip())
    if match is None or int(match[1]) > 24:
        return None
    hour = int(match[1])
    if match[3] and 1 <= hour <= 12:
        hour = hour % 12 + (12 if match[3].lower() == "p" else 0)
    return Clock(hour * 60 + int(match[2]), bool(match[3]) or hour > 12 or match[1].startswith("0"))


def is_words(text: str) -> bool:
    """Whether a text is words rather than mathematics that could not be read."""
    return re.search(r"[A-Za-z]{2}", unwrap(text)) is not None and "\\" not in unwrap(text)
