"""Exact rational arithmetic on expression trees, with limits: a Fraction, or None where the value is not rational.

Not simplification: radicals that do not come out, constants and symbols are None. TooBig where a guard refuses.
"""

import math
from fractions import Fraction
from functools import reduce

from r1lab_verifiers.math.read.tree import (
    MAX_DIGITS,
    MAX_FACTORIAL,
    MAX_RANGE,
    Add,
    Big,
    Call,
    Mul,
    Node,
    Num,
    Percent,
    Pow,
    Sym,
    TooBig,
    children,
    contains,
    substitute,
    symbols,
)

MAX_UNROLLED_SIZE = 40_000
"""Nodes that an answer's sums and products may have, written out."""
FREE_BOUND = 20
"""What a bound counts as that is a free variable."""
MAX_BITS = int(MAX_DIGITS * 3.33)
_HUNDRED = Fraction(100)


def rational(node: Node) -> Fraction | None:
    """The node's value where it is rational and cheap to know. TooBig, and ZeroDivisionError."""
    match node:
        case Num(value):
            return value
        case Add(args):
            return _fold(args, lambda left, right: _guard(left + right), Fraction(0))
        case Mul(args):
            return _fold(args, lambda left, right: _guard(left * right), Fraction(1))
        case Pow(base, exponent):
            return _power(rational(base), rational(exponent))
        case Percent(value):
            found = rational(value)
            return None if found is None else found / _HUNDRED
        case Call(name, args) if name in _CALLS:
            values = [rational(arg) for arg in args]
            return None if None in values else _CALLS[name](*values)
        case Big("sum" | "prod" as kind, variable, Node() as low, Node() as high, body):
            return _series(kind, variable, rational(low), rational(high), body)
    return None


def _fold(args: tuple[Node, ...], join, start: Fraction) -> Fraction | None:
    total, is_known = start, True
    for arg in args:
        value = rational(arg)  # all of them are looked at: a guard in any must be heard
        if value is None:
            is_known = False
        elif is_known:
            total = join(total, value)
    return total if is_known else None


def _guard(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise TooBig(f"a number of more than {MAX_DIGITS} digits")
    return value


def _power(base: Fraction | None, exponent: Fraction | None) -> Fraction | None:
    if base is None or exponent is None:
        return None
    if exponent.denominator != 1:
        return _rooted(base, exponent)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits > 1 and abs(exponent.numerator) * bits > MAX_BITS:
        raise TooBig("a power of more digits than any answer has")
    if base == 0 and exponent == 0:
        return Fraction(1)
    return Fraction(base) ** (
        int(exponent) if bits > 1 or base == 0 else exponent.numerator % 2 or (2 if exponent else 0)
    )


def _rooted(base: Fraction, exponent: Fraction) -> Fraction | None:
    """A perfect root; of a negative number the real one where its degree is odd, else none."""
    if exponent.denominator > 64 or (base < 0 and exponent.denominator % 2 == 0):
        return None
    if base < 0:
        root = _rooted(-base, exponent)
        return root if root is None or exponent.numerator % 2 == 0 else -root
    top, bottom = (integer_root(part, exponent.denominator) for part in (base.numerator, base.denominator))
    return None if top is None or bottom is None else _power(Fraction(top, bottom), Fraction(exponent.numerator))


def integer_root(value: int, degree: int) -> int | None:
    """The exact root of a natural number, or None."""
    if value < 2:
        return value
    if degree == 2:
        root = math.isqrt(value)
        return root if root * root == value else None
    if value.bit_length() > 4096:
        return None
    low, high = 0, 1 << -(-value.bit_length() // degree)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
    return low if low**degree == value else None


def _factorial(value: Fraction) -> Fraction | None:
    if value.denominator != 1 or value < 0:
        return None
    if value > MAX_FACTORIAL:
        raise TooBig("a factorial of more digits than any answer has")
    return Fraction(math.factorial(int(value)))


def _binomial(top: Fraction, bottom: Fraction) -> Fraction | None:
    if top.denominator != 1 or bottom.denominator != 1 or bottom < 0:
        return None
    if top < 0:
        return None
    if min(bottom, top - bottom) * max(1, int(top).bit_length()) > MAX_BITS:
        raise TooBig("a binomial coefficient of more digits than any answer has")
    return Fraction(math.comb(int(top), int(bottom)))


def _gcd(*values: Fraction) -> Fraction:
    """Also of fractions: gcd(1/2, 3) = 1/2."""
    bottom = math.lcm(*(value.denominator for value in values))
    return Fraction(math.gcd(*(int(value * bottom) for value in values)), bottom)


def _lcm(*values: Fraction) -> Fraction:
    return Fraction(
        math.lcm(*(value.numerator for value in values)), math.gcd(*(value.denominator for value in values))
    )


def _mod(value: Fraction, modulus: Fraction) -> Fraction:
    return value - modulus * math.floor(value / modulus)


_CALLS = {
    "abs": abs,
    "floor": lambda value: Fraction(math.floor(value)),
    "ceil": lambda value: Fraction(math.ceil(value)),
    "round": lambda value: Fraction(math.floor(value + Fraction(1, 2))),
    "sgn": lambda value: Fraction((value > 0) - (value < 0)),
    "gcd": _gcd,
    "lcm": _lcm,
    "max": lambda *values: max(values),
    "min": lambda *values: min(values),
    "mod": _mod,
    "factorial": _factorial,
    "binom": _binomial,
    "re": lambda value: value,
    "conj": lambda value: value,
    "im": lambda value: Fraction(0),
}


def _series(kind: str, variable: str, low: Fraction | None, high: Fraction | None, body: Node) -> Fraction | None:
    if low is None or high is None or low.denominator != 1 or high.denominator != 1:
        return None
    if high - low > MAX_RANGE:
        raise TooBig("a sum over more terms than is worth adding")
    values = [rational(substitute(body, variable, Num(Fraction(at)))) for at in range(int(low), int(high) + 1)]
    terms = [value for value in values if value is not None]
    if len(terms) < len(values):
        return None
    if kind == "sum":
        return reduce(lambda left, right: _guard(left + right), terms, Fraction(0))
    return reduce(lambda left, right: _guard(left * right), terms, Fraction(1))


def unrolled_size(node: Node, tops: dict[str, int] | None = None) -> int:
    """How many nodes it has with its sums and products written out; what cannot be foreseen counts as the most.

    tops: the largest values of the indices around it.
    """
    tops = tops or {}
    if not isinstance(node, Big) or node.kind not in ("sum", "prod") or node.low is None or node.high is None:
        return 1 + sum(unrolled_size(child, tops) for child in children(node))
    low, high = _top(node.low, tops), _top(node.high, tops)
    terms = max(1, min(high - low + 1 if not symbols(node.low) else high + 1, MAX_RANGE))
    body = unrolled_size(node.body, {**tops, node.variable: max(abs(low), abs(high))})
    return unrolled_size(node.low, tops) + unrolled_size(node.high, tops) + terms * body


def _top(bound: Node, tops: dict[str, int]) -> int:
    """The largest value of a bound."""
    if isinstance(bound, Sym):
        return tops.get(bound.name, FREE_BOUND)
    names = symbols(bound)
    if contains(bound, lambda each: isinstance(each, Big)) or names & tops.keys():
        return MAX_RANGE
    if names:
        return FREE_BOUND
    value = rational(bound)
    return MAX_RANGE if value is None else math.ceil(value)
