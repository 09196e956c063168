r"""Reads numbers from text as exact Fractions: 12, 1,234.50, -$3, 1e3, 3/4, 1 1/2, \frac{3}{4}, with % or a unit.

Not LaTeX mathematics (`r1lab_verifiers.math`) and never eval. ASCII digits only: those of other scripts are not read. A
percent sign is dropped, so 50% reads as 50. Roots, powers and multiples of pi are not numbers here.
"""

import re
from collections import deque
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 400
"""Of a number, and the largest exponent: beyond, arithmetic would cost more than the check is worth."""
MAX_TEXT_CHARACTERS, MAX_UNIT_CHARACTERS = 4096, 60
"""Characters of a text that is to be a number, and of the unit after it."""
MAX_WORD_CHARACTERS = 32
"""Characters next to a number that are kept with it."""
_PLAIN = r"(?>[0-9]{1,3}(?:,[0-9]{3})++(?![0-9])(?:\.[0-9]++)?|[0-9]++(?:\.[0-9]++)?|\.[0-9]++)"
# "-$1,234.50"; not "x^2". Possessive (++), so that long digits are not read again from each of them
_NUMBER = re.compile(
    rf"""
    (?<! [\w.^/)\]}}\u221a] ) (?<! [A-Za-z_^]\{{ )               # not inside a word, a date, an exponent, a root
    (?P<sign> -?[$\u20ac\u00a3\u00a5\u20b9]?-? | \+ )
    (?: (?P<whole>[0-9]{{1,6}}) [ ]{{1,3}} (?=[0-9]++\ ?/\ ?[0-9]) )?  # 1 1/2
    (?P<number>{_PLAIN}) (?P<exponent>[eE][-+]?[0-9]++)?+
    (?: \ ?/\ ? (?P<denominator>{_PLAIN}) )?+
    (?! \d | [\u00b2\u00b3\u00b9] | \s{{0,3}} (?: \^ | \*\*\s?[-0-9(] | \\?pi\b | \u03c0 | \u221a | \\sqrt ) )
    """,
    re.VERBOSE,
)
_LATEX = (
    # "\u22125"; not "-5"
    (re.compile("\u2212"), "-"),
    # "50\%"; not "50%"
    (re.compile(r"\\([$%])"), r"\1"),
    # "1{,}234"; not "1,234"
    (re.compile(r"\{,\}"), ","),
    # "1\!234"; not "5!"
    (re.compile(r"\\!"), ""),
    # "1\,234"; not "1\,23"
    (re.compile(r"(?<=[0-9])\\[,;:]?\s?(?=[0-9]{3}(?![0-9]))"), ""),
    # "90^{\circ}"; not "90^2"
    (re.compile(r"\^\{?\\circ\}?"), "\u00b0"),
    # "1\frac12"; not "x\frac12"
    (re.compile(r"(?<=[0-9])(?=\\[dt]?frac)"), " "),
    # "\frac{3}{4}"; not "\frac{x}{4}"
    (re.compile(r"\\[dt]?frac\s*(?:\{(-?[0-9]+)\}|([0-9]))\s*(?:\{([0-9]+)\}|([0-9]))"), r"\1\2/\3\4"),
    # "\text{cm}"; not "cm"
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s*\{([^{}]*)\}"), r" \1 "),
    # "\boxed{7}"; not "\boxed 7"
    (re.compile(r"\\(?:boxed|fbox)\s*\{([^{}]*)\}"), r" \1 "),
)
# " cm^2."; not " x"
_UNIT = re.compile(
    r"\s*%?\s*(?:(?:[A-Za-z\u00b5]{2,}+|[mgslLJNWVAKCFhd\u00b0])(?![A-Za-z])\.?"
    r"(?:\s?\^\{?-?[0-9]\}?|[\u00b2\u00b3])?[ /*\u00b7-]*+)*+[\s.]*"
)
# "dozen eggs"; not "eggs"
_NOT_UNITS = re.compile(
    r"\b(?:is|are|was|wrong|incorrect|or|and|not|to|plus|minus|times|pi|sqrt|squared|cubed|mod|modulo|over|divided|multiplied|choose|xor|factorial|hundred|thousand|[mbtr]illion|dozen|half)\b",
    re.IGNORECASE,
)
# "**x = 7"; not "7"
_HEAD = re.compile(r"(?:\\[(\[]|[\s*_`]|\$(?=\s*[A-Za-z\\])|[A-Za-z]\w{0,20}\s*=)*+")


@dataclass(frozen=True)
class Reading:
    """A number as it stands in a text."""

    text: str
    value: Fraction | None
    """None: refused (a zero denominator, or more digits than MAX_DIGITS)."""
    start: int
    end: int
    before: str = ""
    behind: str = ""
    """What stands next to it, shortened: a currency, a unit."""
    is_undone: bool = False
    """A division that comes out even or has decimals, such as 10/2 or 12.5/5: an exercise, not its result."""


def simplify(text: str) -> str:
    """The text with LaTeX's ways to write plain numbers undone. Readings' positions refer to it."""
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    return text


def last_numbers(text: str, count: int) -> list[Reading]:
    """The last numbers of a simplified text, in order."""
    return [_reading(match) for match in deque(_NUMBER.finditer(text), maxlen=count)]


def read_first(text: str) -> Reading | None:
    """The number that a simplified text begins with, up to a head such as `**` or `x =`."""
    head = _HEAD.match(text)  # matches always, the empty text too
    match = _NUMBER.match(text, head.end() if head else 0)
    return None if match is None else _reading(match)


def read_only(text: str) -> Reading | None:
    """The number that the whole text is, up to a head, a frame ($, **) and a unit; None where it is anything else."""
    text = text.strip()
    if len(text) > MAX_TEXT_CHARACTERS:
        return None
    text = _without_tail(simplify(text))
    if text.endswith("$"):
        text = text.strip().strip("$")
    reading = read_first(text)
    rest = "" if reading is None else text[reading.end :]
    if reading is None or len(rest) > MAX_UNIT_CHARACTERS or not _UNIT.fullmatch(rest) or _NOT_UNITS.search(rest):
        return None
    return reading


def _without_tail(text: str) -> str:
    r"""Without what closes a frame at the end: `**`, `\)`, a full stop."""
    stripped = text.rstrip(" \t\r\n\f\v*_`.")
    while stripped.endswith(("\\)", "\\]")):
        stripped = stripped[:-2].rstrip(" \t\r\n\f\v*_`.")
    return stripped


def _reading(match: re.Match) -> Reading:
    number, exponent, denominator, whole = match.group("number", "exponent", "denominator", "whole")
    start, end = match.span()
    place = {"text": match[0].strip(), "start": start, "end": end}
    place |= {
        "before": match.string[max(0, start - MAX_WORD_CHARACTERS) : start],
        "behind": match.string[end : end + MAX_WORD_CHARACTERS],
    }
    if len(match[0]) > MAX_DIGITS or len(exponent or "") > 6 or abs(int((exponent or "e0")[1:])) > MAX_DIGITS:
        return Reading(value=None, **place)
    value = Fraction(number.replace(",", "") + (exponent or ""))
    is_undone = False
    if denominator is not None:
        divisor = Fraction(denominator.replace(",", ""))
        if divisor == 0:
            return Reading(value=None, **place)
        is_mixed = whole is not None and value < divisor
        value /= divisor
        is_undone = not is_mixed and (value.denominator == 1 or "." in number + denominator)
        value += int(whole) if whole is not None and is_mixed else 0
    return Reading(value=-value if "-" in match["sign"] else value, is_undone=is_undone, **place)
