r"""Answers that are words: names, yes and no, choices. Text in, nodes out; no mathematics."""

import re
from fractions import Fraction

from r1lab_verifiers.math.read.times import date
from r1lab_verifiers.math.read.tree import Choice, Num, Text

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
    "negative infinity": ("minus infinity", "diverges to negative infinity"),
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
_LETTER_AND_TEXT = re.compile(
    r"\s*(?:\(([A-Z])\)|([A-Z])\s*[.):])\s+(?!(?:or|and|not|but)\b|[,;/&+^=])(\S.*)", re.DOTALL
)
_OPTION = re.compile(r"(?<![^\s}$,;&])(?:\([A-Z]\)|[A-Z][.):])\s+\S|(?<![^\s}$,;&])\([A-Z]\)(?=\s*\Z)")
"""Another option's mark within an option's text: then several are named."""
_LETTER_THEN_WORD = re.compile(r"\s*([A-Z])[ \t]+([A-Z]?[a-z]{2,}[^\n]*)(?:\n.*)?", re.DOTALL)


_NUMERALS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]


def unwrap(text: str) -> str:
    r"""Without \text{...} and the like around words."""
    if "\\" in text or "~" in text:
        for _ in range(6):
            text, count = _WRAPPED.subn(r" \1 ", text)
            if not count:
                break
        text = re.sub(r"\\[,;:! ]|\\quad|~", " ", text)
    return text.strip()


def words(text: str) -> Text:
    """Words made uniform: case, spaces, quotes, articles, full stops, and some that mean the same."""
    plain = unwrap(text).replace("\\", " \\")
    if len(plain.strip()) == 1:
        return Text(plain.strip())
    plain = re.sub(r"[\s_]+", " ", re.sub(r"[\"`*${}]|[.!?,](?=\s|$)", " ", plain)).strip().casefold()
    plain = re.sub(r"^(?:the|a|an)\s+", "", plain)
    plain = re.sub(r"\s*([-/,'&()])\s*", r"\1", plain)
    return date(plain) or Text(_MEANING.get(plain, plain))


def numeral(text: str) -> Num | None:
    """A small number in letters."""
    return Num(Fraction(_NUMERALS.index(text.lower()))) if text.lower() in _NUMERALS else None


def choice(text: str, is_gold: bool) -> Choice | None:
    """`B`, `(B)`, `B.`, `(B) text`, `B. text`; a gold may also be `B text`."""
    plain = unwrap(text)
    if match := _LETTER.fullmatch(plain):
        return Choice(match[1].upper()) if match[1].isupper() or len(plain) > 1 else None
    if (match := _LETTER_AND_TEXT.fullmatch(plain)) and not _OPTION.search(match[3]):
        return Choice(match[1] or match[2], match[3].strip())
    if is_gold and (match := _LETTER_THEN_WORD.fullmatch(plain)):
        return Choice(match[1], match[2].strip())
    return None
