"""Parses answers that are words: names, yes and no, choices, numbers in letters, times of day, dates.

Text in, nodes out; no mathematics."""

import re
from fractions import Fraction

from r1lab_verifiers.math.read.tree import ChosenOption, Num, Text, TimeOfDay

# "\text{east}"; not "east"
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
# "Option: (B)."; not "B text"
_LETTER = re.compile(r"\s*(?:(?:option|choice|answer)\s*:?\s*)?\(?([A-Z])\)?\s*[.):]?\s*", re.IGNORECASE)
# "(B) 12 cm"; not "A or B"
_LETTER_AND_TEXT = re.compile(
    r"\s*(?:\(([A-Z])\)|([A-Z])\s*[.):])\s+(?!(?:or|and|not|but)\b|[,;/&+^=])(\S.*)", re.DOTALL
)
# "7 (B) 12"; not "f(B) 12"
_OPTION = re.compile(r"(?<![^\s}$,;&])(?:\([A-Z]\)|[A-Z][.):])\s+\S|(?<![^\s}$,;&])\([A-Z]\)(?=\s*\Z)")
"""Another option's mark within an option's text: then several are named."""
# "B twelve"; not "B 12"
_LETTER_THEN_WORD = re.compile(r"\s*([A-Z])[ \t]+([A-Z]?[a-z]{2,}[^\n]*)(?:\n.*)?", re.DOTALL)


_NUMERALS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
             "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"]  # fmt: skip
# "8:34 p.m."; not "8:99"
_CLOCK = re.compile(
    r"([0-9]{1,2})(?::([0-5][0-9])(?::00)?)?\s*(?:([ap])\.?\s*m\.?)?(?:\s*(?:o'?clock|hours))?", re.IGNORECASE
)
_NAMED = {"noon": 720, "midnight": 0}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"((?:{'|'.join(_MONTHS)})[a-z]*)\.?"
_DAY = r"([0-9]{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:,?\s+([0-9]{4}))?"
_DATES = (
    # "may 5, 2020"; not "5 may"
    (re.compile(rf"{_MONTH}\s+{_DAY}{_YEAR}"), (1, 2, 3)),
    # "the 5th of may"; not "may 5"
    (re.compile(rf"(?:the\s+)?{_DAY}\s+(?:of\s+)?{_MONTH}{_YEAR}"), (2, 1, 3)),
    # "2020-05-05"; not "5-5-2020"
    (re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})"), (2, 3, 1)),
)
"""Patterns, and which of their groups are month, day and year."""


def unwrap(text: str) -> str:
    r"""Without \text{...} and the like around words."""
    if "\\" in text or "~" in text:
        for _ in range(6):
            text, count = _WRAPPED.subn(r" \1 ", text)
            if not count:
                break
        # "a\,b"; not "\alpha"
        text = re.sub(r"\\[,;:! ]|\\quad|~", " ", text)
    return text.strip()


def words(text: str) -> Text:
    """Words made uniform: case, spaces, quotes, articles, full stops, and some that mean the same."""
    plain = unwrap(text).replace("\\", " \\")
    if len(plain.strip()) == 1:
        return Text(plain.strip())
    # the full stop of "east."; not the point of "3.5". "a_b", "a  b"; not "ab"
    plain = re.sub(r"[\s_]+", " ", re.sub(r"[\"`*${}]|[.!?,](?=\s|$)", " ", plain)).strip().casefold()
    # "the east"; not "then"
    plain = re.sub(r"^(?:the|a|an)\s+", "", plain)
    # "a - b"; not "a b"
    plain = re.sub(r"\s*([-/,'&()])\s*", r"\1", plain)
    return calendar_date(plain) or Text(_MEANING.get(plain, plain))


def numeral(text: str) -> Num | None:
    """A small number in letters."""
    return Num(Fraction(_NUMERALS.index(text.lower()))) if text.lower() in _NUMERALS else None


def choice(text: str, is_gold: bool) -> ChosenOption | None:
    """`B`, `(B)`, `B.`, `(B) text`, `B. text`; a gold may also be `B text`."""
    plain = unwrap(text)
    if match := _LETTER.fullmatch(plain):
        return ChosenOption(match[1].upper()) if match[1].isupper() or len(plain) > 1 else None
    if (match := _LETTER_AND_TEXT.fullmatch(plain)) and not _OPTION.search(match[3]):
        return ChosenOption(match[1] or match[2], match[3].strip())
    if is_gold and (match := _LETTER_THEN_WORD.fullmatch(plain)):
        return ChosenOption(match[1], match[2].strip())
    return None


def time_of_day(text: str) -> TimeOfDay | None:
    """A time of day in minutes: 8:34, 8:34 p.m., 3 PM, noon."""
    if text.lower() in _NAMED:
        return TimeOfDay(_NAMED[text.lower()], True)
    match = _CLOCK.fullmatch(text)
    if match is None or not (match[2] or match[3]) or int(match[1]) > 24:
        return None
    hour = int(match[1])
    if match[3] and 1 <= hour <= 12:
        hour = hour % 12 + (12 if match[3].lower() == "p" else 0)
    return TimeOfDay(hour * 60 + int(match[2] or 0), bool(match[3]) or hour > 12 or match[1].startswith("0"))


def calendar_date(text: str) -> Text | None:
    """A date as year, month and day: May 5, 2020; 5 May 2020; 2020-05-05. The year may be left out in both."""
    for pattern, (month, day, year) in _DATES:
        if match := pattern.fullmatch(text.lower()):
            number = _MONTHS.index(match[month][:3]) + 1 if match[month].isalpha() else int(match[month])
            return Text(f"date {match[year] or ''}-{number}-{int(match[day])}")
    return None
