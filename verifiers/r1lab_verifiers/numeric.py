"""The verifier `numeric`: one number, compared exactly. Not for expressions, sets or LaTeX mathematics (`math`).

Which number counts is a setting; of several only one can, so listing candidates gains nothing, and "5 or 6" is refused.
Where gold and answer both name a unit or a currency, they are converted (500 cents are $5) or clash (5 cents are not).
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from r1lab_verifiers.math.read import units
from r1lab_verifiers.text.denial import is_alternative, is_denied, is_taken_back
from r1lab_verifiers.text.number import Reading, last_numbers, read_first, read_only, simplify
from r1lab_verifiers.text.region import MAX_TAIL_CHARACTERS, after_marker, boxes, final_region, tail
from r1lab_verifiers.verdict import Item, Verdict

EXTRACT = ("last", "after", "boxed", "whole")
MAX_BOXES = 100
"""Boxes that are compared, from the end."""
MAX_BETWEEN_CHARACTERS = 80
"""Between two numbers of which the second may be a hedge of the first."""
_MAYBE = r"(?:maybe|perhaps|possibly|alternatively)"
# " apples or maybe ", " (or "; not ", for "
_HEDGE_BEFORE = re.compile(
    rf"[\s%$*]*(?:[A-Za-z]+(?:\s+|(?=[,;|(]))){{0,2}}?[,;|(]?\s*(?:(?:and/)?or\b[\s*]*{_MAYBE}?|(?:but\s+|and\s+)?{_MAYBE})[\s*$]*"
)
# " + "; not " = ", "\n- "
_OPERATOR = re.compile(r"[ \t$]*(?:[-+*/\u00d7\u00f7\u2013]|\\times|\\cdot|\\div)[ \t$]*")
# " cm = ", " (or "; not ". So "
_GOES_ON = re.compile(
    r"[\s%$*]*(?:[A-Za-z]+\s+){0,2}?(?:[-+*/\u00d7\u00f7=^,;|~]|\\times|\\cdot|\(?(?:or|and|to|maybe|perhaps)\b)[\s*$]*"
)
_CURRENCIES = {"$": "usd", "\u20ac": "eur", "\u00a3": "gbp", "\u00a5": "jpy", "\u20b9": "inr"}
# "EUR "; not "Europe "
_CURRENCY_BEFORE = re.compile(r"\b(usd|eur|gbp|jpy|inr)\s?$", re.IGNORECASE)
# " cents", "%", " cm^2"; not ". So"
_UNIT_BEHIND = re.compile(
    r"[\s*$]*(%|[\u00a2\u20ac\u00a3\u00a5\u20b9]|(?:square\s+|cubic\s+)?[A-Za-z]+(?:\s?\^\{?-?[0-9]\}?)?(?:\s?/\s?[A-Za-z]+)?)"
)
_SPELLED = {"%": "percent", "\u00a2": "cent", "yen": "jpy", "rupees": "inr", "rupee": "inr", **_CURRENCIES}
_OWN = frozenset({"percent", *_CURRENCIES.values()})
_NO_UNIT = frozenset({"in", "a", "an", "as", "n", "j", "k", "v", "w", "vs", "pound", "pounds"})
"""Words of running text that are units too, and a unit that is a currency too."""


@dataclass(frozen=True)
class Numeric:
    """Exact comparison of ints, decimals and fractions; gold `1,234` equals `1234.0`."""

    extract: str = "last"
    """`last`: the last number after the thinking. `after`: the one right behind the last `after` marker. `boxed`: the
    whole last box, which must be one number; boxes that differ are a hedge. `whole`: all text after the thinking."""
    after: str | None = None
    """The marker, such as `Answer:`; given alone it means `extract: after`."""
    tolerance: float = 0.0
    """Largest difference relative to the gold number."""

    def __post_init__(self):
        if self.after and self.extract == "last":
            object.__setattr__(self, "extract", "after")
        if self.extract not in EXTRACT:
            raise ValueError(f"numeric: extract {self.extract!r} is unknown; use one of {', '.join(EXTRACT)}")
        if (self.extract == "after") != bool(self.after):
            raise ValueError("numeric: `extract: after` and the marker `after: ...` go together")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"numeric: tolerance {self.tolerance!r} is outside [0, 1); it is relative, 0.01 is 1 %")

    def verify(self, item: Item) -> Verdict:
        gold = None if isinstance(item.answer, dict) else read_only(str(item.answer))
        if gold is None or gold.value is None:
            return Verdict(None, "error", reason=f"numeric: {self.check(item.answer)}")
        reading = _READERS[self.extract](final_region(item.completion), self.after)
        if isinstance(reading, Verdict):
            return reading
        if reading.value is None:
            return Verdict(0.0, "unparsable", reading.text, "a zero denominator or too many digits")
        if reading.is_undone:
            return Verdict(0.0, "wrong", reading.text, "a division left undone")
        factor = _conversion(gold, reading)
        if factor is None:
            return Verdict(0.0, "wrong", reading.text, "in another unit or currency")
        if abs(reading.value * factor - gold.value) > abs(gold.value) * Fraction(self.tolerance):
            return Verdict(0.0, "wrong", reading.text, f"not {gold.text}")
        return Verdict(1.0, "correct", reading.text)

    def check(self, answer: str | dict) -> str | None:
        """Why the gold answer cannot be used, or None."""
        gold = None if isinstance(answer, dict) else read_only(str(answer))
        return f"the gold answer {str(answer)[:80]!r} is not a number" if gold is None or gold.value is None else None

    def same(self, one: str, other: str) -> bool:
        """Whether two extracted answers are one number, within the tolerance of the greater."""
        a, b = (None if reading is None else reading.value for reading in map(read_only, (one, other)))
        if a is None or b is None:
            return one.strip() == other.strip()
        return abs(a - b) <= max(abs(a), abs(b)) * Fraction(self.tolerance)

    def witness(self, answer: str | dict) -> str:
        """The gold answer where the setting `extract` looks for it."""
        head = {"after": f"{self.after} ", "boxed": r"\boxed{"}.get(self.extract, "")
        return f"{head}{answer}{'}' if self.extract == 'boxed' else ''}"


def _conversion(gold: Reading, reading: Reading) -> Fraction | None:
    """What the answer is multiplied with to be in the gold's unit; 1 where either names none, None where they clash."""
    wanted, given = _measure(gold), _measure(reading)
    if wanted is None or given is None:
        return Fraction(1)
    return given[0] / wanted[0] if given[1] == wanted[1] else None


def _measure(reading: Reading) -> tuple[Fraction, object] | None:
    """The unit at a number, as how many of its base unit and which; None where there is none that is known."""
    behind = _UNIT_BEHIND.match(reading.behind)
    word = _SPELLED.get(behind[1].lower(), behind[1].lower()) if behind else ""
    if word in _OWN:
        return Fraction(1), ((word, 1),)
    if word not in _NO_UNIT and word and (known := units.measure(word)):
        return known
    symbol, before = reading.text.lstrip("-")[:1], _CURRENCY_BEFORE.search(reading.before)
    # "$5$" is a formula, "$5" an amount.
    if symbol in _CURRENCIES and not (symbol == "$" and reading.behind.startswith("$")):
        return Fraction(1), ((_CURRENCIES[symbol], 1),)
    return (Fraction(1), ((before[1].lower(), 1),)) if before else None


def _last(region: str, _) -> Reading | Verdict:
    text = simplify(tail(region))
    *others, last = [None, *last_numbers(text, 2)]
    if last is None:
        return Verdict(0.0, "no_answer", reason="no number")
    before, between = others[-1], text[others[-1].end : last.start] if others[-1] else ""
    if before and before.value != last.value and len(between) <= MAX_BETWEEN_CHARACTERS:
        is_range = between.strip(" *$") == "and" and text[: before.start].rstrip(" *$").endswith("between")
        if _HEDGE_BEFORE.fullmatch(between) or is_range:
            return Verdict(0.0, "wrong", f"{before.text} or {last.text}", "several answers offered")
    if before and _OPERATOR.fullmatch(between):
        return Verdict(0.0, "wrong", f"{before.text}{between}{last.text}", "an operation left undone")
    return _unless_denied(text, last)


def _unless_denied(text: str, reading: Reading) -> Reading | Verdict:
    unit = _UNIT_BEHIND.match(text, reading.end, reading.end + MAX_BETWEEN_CHARACTERS)
    ends = {reading.end, unit.end() if unit else reading.end}
    if any(is_denied(text, reading.start, end) for end in ends) or is_taken_back(text, reading.end):
        return Verdict(0.0, "wrong", reading.text, "denied, doubted or taken back")
    return reading


def _after(region: str, marker: str) -> Reading | Verdict:
    rest = after_marker(region, marker)
    if rest is None:
        return Verdict(0.0, "no_answer", reason=f"no {marker!r}")
    if is_alternative(region, len(region) - len(rest) - len(marker)):
        return Verdict(0.0, "wrong", rest.strip()[:50], "several answers offered")
    whole = simplify(rest.lstrip()[:MAX_TAIL_CHARACTERS])
    text = whole.partition("\n")[0]
    first = read_first(text)
    if first is None:
        return Verdict(0.0, "no_answer", reason=f"no number right after {marker!r}")
    goes_on = _GOES_ON.match(text, first.end)
    if goes_on and (more := read_first(text[goes_on.end() :])) and more.value != first.value:
        return Verdict(0.0, "wrong", text[: goes_on.end() + more.end], "more than one number")
    return _unless_denied(whole, first)


def _boxed(region: str, _) -> Reading | Verdict:
    inside_boxes = boxes(tail(region))[-MAX_BOXES:]
    if not inside_boxes:
        return Verdict(0.0, "no_answer", reason="no box")
    last = read_only(inside_boxes[-1])
    if last is None:
        return Verdict(0.0, "unparsable", inside_boxes[-1], "the box does not hold one number")
    for text in inside_boxes[:-1]:
        other = read_only(text)
        if other is None or other.value != last.value:
            return Verdict(0.0, "wrong", f"{text[:50]} and {inside_boxes[-1][:50]}", "boxes that differ")
    return last


def _whole(region: str, _) -> Reading | Verdict:
    if not region.strip():
        return Verdict(0.0, "no_answer", reason="empty")
    return read_only(region) or Verdict(0.0, "unparsable", region.strip(), "not one number and nothing else")


_READERS = {"last": _last, "after": _after, "boxed": _boxed, "whole": _whole}
