"""The verifier `numeric`: one number, compared exactly. Not for expressions, sets or LaTeX mathematics (`math`).

Which number counts is a setting; of several only one can, so listing candidates gains nothing, and "5 or 6" is refused.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from r1lab_verifiers.text.number import Reading, numbers, read_first, read_only, simplify
from r1lab_verifiers.text.region import after_marker, boxes, final_region
from r1lab_verifiers.verdict import Item, Verdict

EXTRACT = ("last", "after", "boxed", "whole")
# " apples or maybe "; not ", for "
_HEDGE_BEFORE = re.compile(r"[\s%$*]*(?:[A-Za-z]+\s+){0,2}?[,;|]?\s*or[\s*]*(?:maybe|perhaps|possibly)?[\s*$]*")
# " cm = "; not ". So "
_GOES_ON = re.compile(
    r"[\s%$*]*(?:[A-Za-z]+\s+){0,2}?(?:[-+*/\u00d7\u00f7=^,;|~]|\\times|\\cdot|or\b|and\b|to\b)[\s*$]*"
)


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
        if abs(reading.value - gold.value) > abs(gold.value) * Fraction(self.tolerance):
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


def _last(region: str, _) -> Reading | Verdict:
    text = simplify(region)
    before, last = None, None
    for reading in numbers(text):
        before, last = last, reading
    if last is None:
        return Verdict(0.0, "no_answer", reason="no number")
    if before and before.value != last.value and _HEDGE_BEFORE.fullmatch(text[before.end : last.start]):
        return Verdict(0.0, "wrong", f"{before.text} or {last.text}", "several answers offered")
    return last


def _after(region: str, marker: str) -> Reading | Verdict:
    tail = after_marker(region, marker)
    if tail is None:
        return Verdict(0.0, "no_answer", reason=f"no {marker!r}")
    text = simplify(tail.lstrip().partition("\n")[0])
    first = read_first(text)
    if first is None:
        return Verdict(0.0, "no_answer", reason=f"no number right after {marker!r}")
    goes_on = _GOES_ON.match(text, first.end)
    if goes_on and (more := read_first(text[goes_on.end() :])) and more.value != first.value:
        return Verdict(0.0, "wrong", text[: goes_on.end() + more.end], "more than one number")
    return first


def _boxed(region: str, _) -> Reading | Verdict:
    inside_boxes = boxes(region)
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
