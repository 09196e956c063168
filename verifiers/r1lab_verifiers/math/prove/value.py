"""Decides whether two expressions are equal: by form, by exact numbers, by numbers that reject, by a proof.

The decimal rule: a decimal may stand for a number that no decimal is equal to (1/3, sqrt 2) where it was written with
enough digits and is right in all of them. It never stands for another decimal or an integer: 5.001 is not 5.
"""

from fractions import Fraction
from functools import lru_cache

from r1lab_verifiers.math.prove import normal, proof, sample
from r1lab_verifiers.math.prove.exact import rational
from r1lab_verifiers.math.read.tree import (
    Add,
    Big,
    Call,
    Const,
    Matrix,
    Mul,
    Node,
    Num,
    Percent,
    Pow,
    TooBig,
    Unreadable,
    children,
    contains,
    size,
    symbols,
)

MIN_DIGITS = 4
"""Significant digits that a decimal needs to stand for an exact number."""
MIN_GOLD_DIGITS = 3
"""The same where the gold is the decimal: the data chose that precision."""
FLOAT_DIGITS, FLOAT_UNITS = 16, 10
"""Significant digits of a float's print-out, and units of its last place by which it may be off."""
MAX_WRITTEN_DIGITS = 400
"""Of a decimal that is compared with a constant."""
MAX_NODES_OF_BOTH = 300
FAR_RELATIVE_DIFFERENCE = 1e-9
"""Relative difference that no rounding of thirty digits makes."""


def equal(gold: Node, other: Node, tolerance: float = 0.0) -> bool | None:
    """True, False, or None: the numbers agree, but nothing proves it. Of expressions only; no sets, no relations."""
    if isinstance(gold, Num) and isinstance(other, Num):  # most are
        left, right = gold.value, other.value
        if left == right:
            return True
        if gold.places is other.places is None:
            return _is_near(left, right, tolerance)
    elif gold == other:
        return True
    else:
        try:
            left, right = _rational(gold), _rational(other)
        except (TooBig, ZeroDivisionError):
            return False
    if left is not None and right is not None:
        if left == right or _is_near(left, right, tolerance):
            return True
        return _stands_for(gold, other, left, right) or _is_printed(gold, other, left, right)
    try:
        return _compare(gold, other, left, right, tolerance)
    except (TooBig, ZeroDivisionError, Unreadable, RecursionError, OverflowError, MemoryError):
        return False


_rational = lru_cache(maxsize=4096)(rational)
"""Members of a list are compared with one another many times."""


def _is_near(left: Fraction, right: Fraction, tolerance: float) -> bool:
    return bool(tolerance) and abs(left - right) <= abs(left) * Fraction(tolerance)


def _stands_for(gold: Node, other: Node, left: Fraction, right: Fraction) -> bool:
    """Decimals against fractions that no decimal equals."""
    for written, exact, needed in ((gold, right, MIN_GOLD_DIGITS), (other, left, MIN_DIGITS)):
        decimal = decimal_of(written)
        counterpart = other if written is gold else gold
        if (
            decimal is not None
            and decimal.digits >= needed
            and not _terminates(exact)
            and decimal_of(counterpart) is None
        ):
            return is_rounding(decimal, exact) and (written is other or _is_told_apart(decimal, exact))
    return False


def _is_told_apart(decimal: Num, exact: Fraction) -> bool:
    """Whether a gold decimal has so many places that few fractions of that size round to it: 0.333 may be 1/3, while
    1.414 need not be 99/70."""
    return 2 * exact.denominator**2 <= 10 ** max(0, decimal.places or 0)


def _is_simple(node: Node, decimal: Num) -> bool:
    """Whether an expression is no decimal in disguise: 4 pi for 12.6, not sqrt(9.87) for 3.14."""
    literals = [part for part in _parts(node) if isinstance(part, Num)]
    digits = sum(len(str(abs(part.value.numerator))) + len(str(part.value.denominator)) - 1 for part in literals)
    return all(part.places is None for part in literals) and digits <= decimal.digits + 2


def _parts(node: Node) -> list[Node]:
    found = [node]
    for part in found:
        found.extend(children(part))
    return found


def _is_printed(gold: Node, other: Node, left: Fraction, right: Fraction) -> bool:
    """Whether one is the other as a float prints it: 0.30000000000000004."""
    for written, exact in ((gold, right), (other, left)):
        decimal = decimal_of(written)
        if decimal is not None and (decimal.places or 0) >= MIN_DIGITS and decimal.digits >= FLOAT_DIGITS:
            difference = abs(decimal.value - exact) * Fraction(10) ** (decimal.places or 0)
            if difference <= FLOAT_UNITS and decimal.digits <= FLOAT_DIGITS + 2:
                return True
    return False


def _terminates(value: Fraction) -> bool:
    bottom = value.denominator
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    return bottom == 1


def decimal_of(node: Node) -> Num | None:
    """The decimal literal that the node is, its sign and powers of ten (1.2 x 10^3) included."""
    match node:
        case Num(_, places) if places is not None:
            return node
        case Mul((Num(sign), inner)) if sign == -1:
            decimal = decimal_of(inner)
            return None if decimal is None else Num(-decimal.value, decimal.places)
        case Mul((inner, Pow(Num(ten), Num() | Mul() as exponent))) if ten == 10:
            decimal, power = decimal_of(inner), rational(exponent)
            if decimal is None or power is None or power.denominator != 1 or abs(power) > 400:
                return None
            return Num(decimal.value * Fraction(10) ** int(power), (decimal.places or 0) - int(power))
    return None


def is_rounding(decimal: Num, exact, mp=None) -> bool:
    """Whether the decimal is the exact number, rounded or cut at its last place; a float's print-out may be off by a
    few units of that."""
    is_float = FLOAT_DIGITS <= decimal.digits <= FLOAT_DIGITS + 2 and (decimal.places or 0) >= MIN_DIGITS
    unit = Fraction(10) ** -(decimal.places or 0)
    if isinstance(exact, Fraction):
        difference = abs(decimal.value - exact)
        if is_float and difference <= FLOAT_UNITS * unit:
            return True
        return difference * 2 <= unit or (difference < unit and abs(decimal.value) < abs(exact))
    mp = mp or sample.context()
    value = mp.mpf(decimal.value.numerator) / decimal.value.denominator
    step = mp.mpf(unit.numerator) / unit.denominator
    difference = abs(value - exact)
    if is_float and difference <= FLOAT_UNITS * step:
        return True
    return difference * 2 <= step * (1 + mp.mpf(10) ** -12) or (difference < step and abs(value) < abs(exact))


def _compare(gold: Node, other: Node, left, right, tolerance: float) -> bool | None:
    if _has_foreign(gold) or _has_foreign(other):
        return _by_parts(gold, other, tolerance)
    if _differ_plainly(gold, other):
        return _is_approximation(gold, other, tolerance)
    if size(gold) + size(other) <= MAX_NODES_OF_BOTH and _same_form(gold, other):
        return True
    ends = _infinite(gold), _infinite(other)
    if any(ends) and not any(contains(each, lambda part: isinstance(part, Big)) for each in (gold, other)):
        return ends[0] == ends[1]
    try:
        agrees = sample.agree_at_points(gold, other)
    except sample.Unknown:
        return _unknown(gold, other, tolerance)
    if agrees is False or (agrees and any(map(decimal_of, (gold, other)))):
        return _is_approximation(gold, other, tolerance)
    return True if proof.prove(gold, other) else None if agrees else False


def _differ_plainly(gold: Node, other: Node) -> bool:
    """Whether they differ by far at one point, which costs least to know."""
    if sample.is_counting(gold) or sample.is_counting(other):
        return False
    is_complex = sample.has_imaginary(gold) or sample.has_imaginary(other)
    here, there = _at_first_point(gold, is_complex), _at_first_point(other, is_complex)
    if here is None or there is None:
        return False
    (left, left_scale), (right, right_scale) = here, there
    return abs(left - right) > FAR_RELATIVE_DIFFERENCE * max(1, abs(left), abs(right), left_scale, right_scale)


@lru_cache(maxsize=4096)
def _at_first_point(node: Node, is_complex: bool):
    """The value there and the largest magnitude met; None where it has none."""
    evaluate = sample.Evaluator({name: sample.sample_point(name, 0) for name in symbols(node)}, is_complex)
    try:
        return evaluate(node), evaluate.scale
    except (sample.Undefined, sample.Unknown, TooBig, ZeroDivisionError, ValueError, OverflowError):
        return None


def _infinite(node: Node) -> int:
    """1 for infinity, -1 for its negative, 0 for anything else."""
    match node:
        case Const("oo"):
            return 1
        case Mul((Num(sign), Const("oo"))):
            return (sign > 0) - (sign < 0)
    return 0


def _same_form(gold: Node, other: Node) -> bool:
    try:
        return normal.is_equal(gold, other)
    except (sample.Unknown, TooBig, ZeroDivisionError):
        return False


def _is_approximation(gold: Node, other: Node, tolerance: float) -> bool:
    """A decimal for a constant, or two constants within the tolerance."""
    if symbols(gold) or symbols(other):
        return False
    for written, exact, needed in ((gold, other, MIN_GOLD_DIGITS), (other, gold, MIN_DIGITS)):
        decimal = decimal_of(written)
        if decimal is not None and needed <= decimal.digits <= MAX_WRITTEN_DIGITS:
            if written is gold and not _is_simple(exact, decimal):
                return False
            mp = sample.precise(decimal.digits)
            value = _number(exact, mp)
            return value is not None and is_rounding(decimal, value, mp)
    if not tolerance:
        return False
    left, right = _number(gold), _number(other)
    return left is not None and right is not None and abs(left - right) <= abs(left) * tolerance


def _number(node: Node, mp=None):
    try:
        return sample.Evaluator({}, False, mp)(node)
    except (sample.Undefined, sample.Unknown, TooBig, ZeroDivisionError, ValueError):
        return None


def _unknown(gold: Node, other: Node, tolerance: float) -> bool | None:
    """Limits, integrals, functions nobody knows: the same form over equal parts, or a proof."""
    if _by_parts(gold, other, tolerance):
        return True
    return proof.prove(gold, other) is True


def _by_parts(gold: Node, other: Node, tolerance: float) -> bool | None:
    """Equal where both are the same kind of node over equal parts (of sums and products, in any order)."""
    if type(gold) is not type(other) or _shell(gold) != _shell(other):
        return False
    left, right = list(children(gold)), list(children(other))
    if len(left) != len(right) or not left:
        return False
    if isinstance(gold, Add | Mul):
        return _unordered(left, right, tolerance)
    return all(equal(a, b, tolerance) for a, b in zip(left, right))


def _unordered(left: list[Node], right: list[Node], tolerance: float) -> bool:
    right = list(right)
    for part in left:
        at = next((at for at, each in enumerate(right) if equal(part, each, tolerance)), None)
        if at is None:
            return False
        del right[at]
    return True


def _shell(node: Node) -> tuple:
    return tuple(
        getattr(node, name, None)
        for name in ("name", "kind", "variable", "op", "ops", "brackets", "digits", "base", "words")
    )


def _has_foreign(node: Node) -> bool:
    """Whether something in it is no number: a matrix, a list, a set."""
    if isinstance(node, Add | Mul | Pow | Call | Percent | Num):
        return any(map(_has_foreign, children(node)))
    return isinstance(node, Matrix) or type(node).__name__ in (
        "Seq",
        "SetOp",
        "Relation",
        "Ratio",
        "Quantity",
        "Based",
        "Text",
        "ChosenOption",
    )
