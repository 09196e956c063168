"""Times of day and calendar dates, in the ways people write them. Text in, nodes out; no arithmetic with them."""

import re

from r1lab_verifiers.math.read.tree import Clock, Text

_CLOCK = re.compile(
    r"([0-9]{1,2})(?::([0-5][0-9])(?::00)?)?\s*(?:([ap])\.?\s*m\.?)?(?:\s*(?:o'?clock|hours))?", re.IGNORECASE
)
_NAMED = {"noon": 720, "midnight": 0}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"((?:{'|'.join(_MONTHS)})[a-z]*)\.?"
_DAY = r"([0-9]{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:,?\s+([0-9]{4}))?"
_DATES = (
    (re.compile(rf"{_MONTH}\s+{_DAY}{_YEAR}"), (1, 2, 3)),
    (re.compile(rf"(?:the\s+)?{_DAY}\s+(?:of\s+)?{_MONTH}{_YEAR}"), (2, 1, 3)),
    (re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})"), (2, 3, 1)),
)
"""Patterns, and which of their groups are month, day and year."""


def clock(text: str) -> Clock | None:
    """A time of day in minutes: 8:34, 8:34 p.m., 3 PM, noon."""
    if text.lower() in _NAMED:
        return Clock(_NAMED[text.lower()], True)
    match = _CLOCK.fullmatch(text)
    if match is None or not (match[2] or match[3]) or int(match[1]) > 24:
        return None
    hour = int(match[1])
    if match[3] and 1 <= hour <= 12:
        hour = hour % 12 + (12 if match[3].lower() == "p" else 0)
    return Clock(hour * 60 + int(match[2] or 0), bool(match[3]) or hour > 12 or match[1].startswith("0"))


def date(text: str) -> Text | None:
    """A date as year, month and day: May 5, 2020; 5 May 2020; 2020-05-05. The year may be left out in both."""
    for pattern, (month, day, year) in _DATES:
        if match := pattern.fullmatch(text.lower()):
            number = _MONTHS.index(match[month][:3]) + 1 if match[month].isalpha() else int(match[month])
            return Text(f"date {match[year] or ''}-{number}-{int(match[day])}")
    return None
