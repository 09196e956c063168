r"""Number literals as exact numbers that remember how they were written: 12, 1.50, 6.02e23, 0.\overline{3}."""

import re
from fractions import Fraction

from r1lab_verifiers.math.read.tree import MAX_DIGITS, Num, Unreadable

_REPEATING = re.compile(r"([0-9]*)\.([0-9]*)\\(?:overline|bar|dot)\s*\{([0-9]+)\}(?:([0-9]*)\\dot\{([0-9])\})?")


def number(text: str) -> Num:
    """A decimal number as an exact one that remembers how many places it was written with."""
    text = text.replace("\x1f", "")
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > MAX_DIGITS or len(exponent) > 6 or abs(int(exponent or 0)) > MAX_DIGITS:
        raise Unreadable("more digits than any answer has")
    whole, point, places = mantissa.partition(".")
    digits = len((whole + places).lstrip("0"))
    if not point and not exponent:
        return Num(Fraction(int(whole)), None, digits)
    return Num(Fraction(text), len(places) - int(exponent or 0), digits)


def repeating(text: str) -> Num:
    whole, fixed, cycle, middle, last = _REPEATING.fullmatch(text).groups()
    cycle += (middle or "") + (last or "")
    scale = 10 ** len(fixed)
    value = Fraction(int((whole or "0") + fixed), scale) + Fraction(int(cycle), scale * (10 ** len(cycle) - 1))
    return Num(value)
