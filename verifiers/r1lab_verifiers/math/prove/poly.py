"""Polynomials over atoms with rational exponents: the arithmetic of `normal`. Knows no nodes."""

from fractions import Fraction

from r1lab_verifiers.math.read.tree import TooBig

MAX_TERMS = 300
MAX_POWER = 40
ONE = {(): Fraction(1)}
I = ("i",)  # noqa: E741

Poly = dict
"""monomial -> coefficient; a monomial is a sorted tuple of (atom, exponent)."""


def constant(value: Fraction) -> Poly:
    """A number as a polynomial."""
    return {(): value} if value else {}


def plus(left: Poly, right: Poly, sign: int = 1) -> Poly:
    """left + sign * right."""
    total = dict(left)
    for monomial, coefficient in right.items():
        value = total.get(monomial, 0) + sign * coefficient
        if value:
            total[monomial] = value
        else:
            total.pop(monomial, None)
    return total


def times(left: Poly, right: Poly) -> Poly:
    """The product, multiplied out; TooBig where that has too many terms."""
    if left is ONE or left == ONE:
        return right
    if right is ONE or right == ONE:
        return left
    if len(left) * len(right) > MAX_TERMS * 20:
        raise TooBig("more terms than are worth expanding")
    total = {}
    for a, x in left.items():
        for b, y in right.items():
            scale, monomial = merge(a, b)
            value = total.get(monomial, 0) + scale * x * y
            if value:
                total[monomial] = value
            else:
                total.pop(monomial, None)
    if len(total) > MAX_TERMS:
        raise TooBig("more terms than are worth expanding")
    return _pythagoras(total)


def merge(left: tuple, right: tuple) -> tuple[Fraction, tuple]:
    """The product of two monomials; whole powers of primes and of i move to the coefficient."""
    exponents = dict(left)
    for atom, exponent in right:
        exponents[atom] = exponents.get(atom, 0) + exponent
    scale, kept = Fraction(1), []
    for atom, exponent in exponents.items():
        if atom[0] == "p":
            whole = exponent.numerator // exponent.denominator
            scale *= Fraction(atom[1]) ** whole
            exponent -= whole
        elif atom == I and exponent.denominator == 1:
            scale *= -1 if exponent % 4 in (2, 3) else 1
            exponent %= 2
        if exponent:
            kept.append((atom, exponent))
    return scale, tuple(sorted(kept, key=repr))


def _pythagoras(poly: Poly) -> Poly:
    """sin^2 = 1 - cos^2, so that one of them is left."""
    for monomial in poly:
        for atom, exponent in monomial:
            if atom[:2] == ("f", "sin") and exponent >= 2 and exponent.denominator == 1:
                rest = tuple(part for part in monomial if part[0] != atom)
                if exponent > 2:
                    rest = merge(rest, ((atom, exponent - 2),))[1]
                cosine = ("f", "cos", atom[2])
                coefficient = poly[monomial]
                others = {each: value for each, value in poly.items() if each != monomial}
                squared = {rest: coefficient, merge(rest, ((cosine, Fraction(2)),))[1]: -coefficient}
                return _pythagoras(plus(others, squared))
    return poly


def divide(top: Poly, bottom: Poly) -> tuple[Poly, Poly]:
    """With a denominator of one term moved into the numerator."""
    if not bottom:
        raise ZeroDivisionError
    if len(bottom) == 1 and bottom != ONE:
        return times(top, inverse(bottom)), ONE
    if top == bottom:
        return ONE, ONE
    return top, bottom


def inverse(poly: Poly) -> Poly:
    """1 / poly, for one of a single term."""
    ((monomial, coefficient),) = poly.items()
    scale, turned = merge((), tuple((atom, -exponent) for atom, exponent in monomial))
    return {turned: scale / coefficient}


def power(poly: Poly, exponent: int) -> Poly:
    """A whole power, multiplied out; TooBig where that has too many terms or digits."""
    if len(poly) == 1:
        ((monomial, coefficient),) = poly.items()
        if abs(exponent) * coefficient.numerator.bit_length() > 33_000:
            raise TooBig("a power of more digits than any answer has")
        scale, raised_ = merge((), tuple((atom, each * exponent) for atom, each in monomial))
        return _pythagoras({raised_: scale * coefficient**exponent})
    if exponent > MAX_POWER:
        raise TooBig("a power of a sum that is not worth expanding")
    total = ONE
    for _ in range(exponent):
        total = times(total, poly)
    return total
