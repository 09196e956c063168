"""Parses answers that are words: names, yes and no, choices, numbers in letters, times of day, dates.

Text in, nodes out; no mathematics."""

import re
from fractions import Fraction

from r1lab_verifiers.math.read.hedges import is_no_unit
from r1lab_verifiers.math.read.tree import ChosenOption, Num, Quantity, Text, TimeOfDay

# "\text{east}"; not "east"
_WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mbox|hbox|operatorname|emph|underline)\*?\s*\{([^{}]*)\}"
)
_MEANINGS = {
    "diverges": ("divergent", "is divergent"),
    "converges": ("convergent", "is convergent"),
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
        "\u65e0\u89e3",
        "\u7121\u89e3",
        "\u043d\u0435\u0442 \u0440\u0435\u0448\u0435\u043d\u0438\u0439",
        "sin soluci\u00f3n",
        "keine l\u00f6sung",
        "pas de solution",
    ),
    "undefined": ("does not exist", "dne", "not defined", "undefined", "limit does not exist"),
    "infinity": ("infinite", "infinitely many", "infinitely many solutions", "infinity", "diverges to infinity"),
    "negative infinity": ("minus infinity", "diverges to negative infinity"),
    "yes": ("yes", "y", "true", "correct", "\u662f", "\u5bf9", "\u0434\u0430", "s\u00ed", "oui", "ja", "sim"),
    "no": ("no", "n", "false", "incorrect", "\u5426", "\u4e0d\u662f", "\u043d\u0435\u0442", "non", "nein"),
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
    r"\s*(?:\(([A-Z])\)|([A-Z])\s*[.):]|\(([a-h])\))\s+(?!(?:or|and|not|but)\b|[,;/&+^=])(\S.*)", re.DOTALL
)
# "7 (B) 12"; not "f(B) 12"
_OPTION = re.compile(r"(?<![^\s}$,;&])(?:\([A-Z]\)|[A-Z][.):])\s+\S|(?<![^\s}$,;&])\([A-Z]\)(?=\s*\Z)")
"""Another option's mark within an option's text: then several are named."""
# "No, C."; not "No solution"
_OTHER_LETTER = re.compile(
    r"(?:\A|[\s,.;])(?i:no|wait|actually|sorry|rather|i\s+mean)\b[\s,:.!]*(?i:it'?s\s+|it\s+is\s+|the\s+answer\s+is\s+)?\(?[A-H]\)?[\s.]*\Z"
)
# "B(4)", "C (b = 2)"; not "f(4)"
_LETTER_AND_VALUE = re.compile(r"\s*([A-H])\s*\(\s*([^()]*(?:\([^()]*\)[^()]*)*)\s*\)\s*")
# "A, B, D", "A and C"; not "A"
_LETTERS = re.compile(r"[\s({\[]*[A-H](?:(?:\s*(?:[,;/&]|\band\b|,\s*and\b)\s*|\s+)\(?[A-H]\)?)+[\s)}\].]*")
# "ABD"; not "BAD"
_GLUED_LETTERS = re.compile(r"(?=[A-H]{2,8}\Z)A?B?C?D?E?F?G?H?")
# " is wrong"; not " is the one"
_DENIAL = re.compile(
    r"\b(?:wrong|incorrect|false|not|never|eliminated|excluded|ruled|impossible|or|maybe|perhaps)\b|n't\b|\?", re.I
)
# "Yes, since", "False (no overflow"; not "no solution", "yesterday"
_VERDICT = re.compile(r"(yes|no|true|false)\s*(?=[,.;:(\u2014\u2013-]|because\b|since\b|as\b|\Z)", re.IGNORECASE)
# ", no.", "or"; not "no overflow"
_OTHER_VERDICT = re.compile(
    r"(?:[,.;:]|\band\b)\s*(?:yes|no|true|false)\s*(?:[,.;:]|\Z)|\b(?:or|but|maybe|perhaps|wait|actually)\b|\?",
    re.IGNORECASE,
)
# "B twelve"; not "B 12"
_LETTER_THEN_WORD = re.compile(r"\s*([A-Z])[ \t]+([A-Z]?[a-z]{2,}[^\n]*)(?:\n.*)?", re.DOTALL)


_NUMERALS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
             "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"]  # fmt: skip
_VALUES = {word: value for value, word in enumerate(_NUMERALS)}
_VALUES |= {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_VALUES |= {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_DENOMINATORS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7}
_DENOMINATORS |= {"eighth": 8, "ninth": 9, "tenth": 10, "hundredth": 100, "thousandth": 1000}
# "twenty-five"; not "five apples"
_NUMERAL_WORDS = re.compile(
    rf"(?:(?:negative|minus)\s+)?(?:(?:{'|'.join([*_VALUES, *_DENOMINATORS])})s?|and|an?)"
    rf"(?:[\s-]+(?:(?:{'|'.join([*_VALUES, *_DENOMINATORS])})s?|and|an?))*"
)
# "five apples", "twenty-five small boxes"; not "five", "one of them"
_COUNTED = re.compile(
    rf"((?:{'|'.join(_VALUES)})(?:[\s-]+(?:{'|'.join(_VALUES)}))*)\s+(?!more\b|the\b|and\b|{'|'.join(_DENOMINATORS)})"
    r"([A-Za-z]{3,}(?:\s+[A-Za-z]{2,}){0,2})[.\s]*",
    re.IGNORECASE,
)
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


# "a\,b"; not "\alpha"
_TEX_SPACES = re.compile(r"(?<!\\)\\[,;:! ]|\\quad|~")
# the full stop of "east."; not the point of "3.5"
_STOPS = re.compile(r"[\"`*${}]|[.!,](?=\s|$)")
# "a_b", "a  b"; not "ab"
_GAPS = re.compile(r"[\s_]+")
# "the east"; not "then"
_ARTICLE = re.compile(r"^(?:the|a|an)\s+")
# "a - b"; not "a b"
_JOINTS = re.compile(r"\s*([-/,'&()])\s*")


def unwrap(text: str) -> str:
    r"""Without \text{...} and the like around words."""
    if "\\" in text or "~" in text:
        for _ in range(6):
            text, count = _WRAPPED.subn(r" \1 ", text)
            if not count:
                break
        text = _TEX_SPACES.sub(" ", text)
    return text.strip()


def words(text: str) -> Text:
    """Words made uniform: case, spaces, quotes, articles, full stops, and some that mean the same."""
    plain = unwrap(text).replace("\\", " \\")
    if len(plain.strip()) == 1:
        return Text(plain.strip())
    plain = _ARTICLE.sub("", _GAPS.sub(" ", _STOPS.sub(" ", plain)).strip().casefold())
    plain = _JOINTS.sub(r"\1", plain)
    return calendar_date(plain) or Text(_MEANING.get(plain, plain))


def numeral(text: str) -> Num | None:
    """A number in letters: seven, twenty-five, negative two hundred and five, one half, two and three quarters."""
    text = text.lower().strip(" .")
    if not text or not _NUMERAL_WORDS.fullmatch(text):
        return None
    sign, body = (-1, text.split(None, 1)[1]) if text.startswith(("negative ", "minus ")) else (1, text)
    # "two and a half"; not "two halves"
    body = re.sub(r"\band\s+an?\b", "one", body)
    # "twenty-five"; not "twenty"
    parts = [word for word in re.split(r"[\s-]+", body) if word not in ("and", "a", "an")]
    value = _fraction_in_words(parts) if parts else None
    return None if value is None else Num(sign * value)


def counted_in_words(text: str) -> Quantity | None:
    """Five apples; None where the words behind the number are no noun."""
    match = _COUNTED.fullmatch(text)
    number = numeral(match[1]) if match and not is_no_unit(match[2]) else None
    return None if number is None or match is None else Quantity(number, match[2])


def _fraction_in_words(parts: list[str]) -> Fraction | None:
    bottom = _DENOMINATORS.get(parts[-1].removesuffix("s")) if parts[-1] != "seconds" else None
    if bottom is None:
        whole = _whole_in_words(parts)
        return None if whole is None else Fraction(whole)
    if parts[:-1] and (top := _whole_in_words(parts[-2:-1])) is not None:
        rest = parts[:-2]
    else:
        top, rest = (1, parts[:-1])
    whole = _whole_in_words(rest) if rest else 0
    return None if whole is None else whole + Fraction(top, bottom)


def _whole_in_words(parts: list[str]) -> int | None:
    """Units and tens added, hundreds and thousands multiplied; None where the words do not go together."""
    total = group = 0
    last = 1000
    for word in parts:
        value = _VALUES.get(word)
        if value is None:
            return None
        if value >= 1000:
            total, group, last = total + (group or 1) * value, 0, 1000
        elif value == 100 and group < 100:
            group, last = (group or 1) * 100, 100
        elif value < 100 and (last >= 100 or (last >= 20 and value < 10)):
            group, last = group + value, value
        else:
            return None
    return total + group if parts else None


def choice(text: str, is_gold: bool) -> ChosenOption | None:
    """`B`, `(B)`, `B.`, `(b) text`, `B. text`, `B(4)`; a gold may also be `B text`. Not `(B) is wrong`."""
    plain = unwrap(text)
    if match := _LETTER.fullmatch(plain):
        return ChosenOption(match[1].upper()) if match[1].isupper() or len(plain) > 1 else None
    if (match := _LETTER_AND_TEXT.fullmatch(plain)) and not _OPTION.search(match[4]):
        return (
            None
            if _denies_option(match[4]) or _OTHER_LETTER.search(match[4])
            else ChosenOption((match[1] or match[2] or match[3]).upper(), match[4].strip())
        )
    if match := _LETTER_AND_VALUE.fullmatch(plain):
        return ChosenOption(match[1], match[2])
    if is_gold and (match := _LETTER_THEN_WORD.fullmatch(plain)):
        return ChosenOption(match[1], match[2].strip())
    return None


def _denies_option(text: str) -> bool:
    """Whether what stands behind an option's letter speaks of the option: `is wrong`."""
    # "is wrong"; not "isosceles"
    return (
        re.match(r"(?:is|was|are|can|would|could|seems|looks)\b|n't", text) is not None
        and _DENIAL.search(text) is not None
    )


def yes_or_no(text: str) -> Text | None:
    """Yes or no (true, false) with what is said for it: `Yes, v is constant`. Not `no or yes`."""
    match = _VERDICT.match(text)
    if match is None or _OTHER_VERDICT.search(text, match.end()):
        return None
    return Text(_MEANING[match[1].lower()])


def several_letters(text: str) -> Text | None:
    """Several options of one problem, in any order: `A, B, D`, `ABD`."""
    plain = unwrap(text)
    letters = [each for each in plain if "A" <= each <= "H"]
    if not (_LETTERS.fullmatch(plain) or _GLUED_LETTERS.fullmatch(plain)) or len(set(letters)) < len(letters):
        return None
    return Text(f"options {' '.join(sorted(letters))}")


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
