"""Canonical forms that prove equality: sums of monomials over atoms, as a fraction. No search, no heuristics.

Atoms are variables, constants, square-free radicals, and functions of canonical arguments. Two expressions whose
cross-multiplied difference has no term left are equal; a difference with terms left proves nothing.
"""

import math
from fractions import Fraction

from r1lab_verifiers.math.prove import trig
from r1lab_verifiers.math.prove.exact import rational
from r1lab_verifiers.math.prove.poly import ONE, I, Poly, constant, divide, merge, plus, power, times
from r1lab_verifiers.math.prove.sample import Unknown
from r1lab_verifiers.math.read.tree import Add, Call, Const, Mul, Node, Num, Percent, Pow, Sym, TooBig, div, sub

MAX_FACTORED = 10**12
E = ("c", "e")


def is_equal(left: Node, right: Node) -> bool:
    """Whether both have the same canonical form. False says nothing. Raises Unknown, TooBig, ZeroDivisionError."""
    (a, b), (c, d) = as_fraction(left), as_fraction(right)
    return (a == c and b == d) or not plus(times(a, d), times(c, b), -1)


def as_fraction(node: Node) -> tuple[Poly, Poly]:
    """Numerator and denominator."""
    match node:
        case Num(value):
            return constant(value), ONE
        case Sym(name):
            return {((("s", name), Fraction(1)),): Fraction(1)}, ONE
        case Const("i"):
            return {((I, Fraction(1)),): Fraction(1)}, ONE
        case Const(name):
            return {((("c", name), Fraction(1)),): Fraction(1)}, ONE
        case Add(args):
            total = ({}, ONE)
            for arg in args:
                top, bottom = as_fraction(arg)
                if bottom == total[1]:
                    total = plus(total[0], top), bottom
                else:
                    total = plus(times(total[0], bottom), times(top, total[1])), times(total[1], bottom)
            return total
        case Mul(args):
            total = (ONE, ONE)
            for arg in args:
                top, bottom = as_fraction(arg)
                total = divide(times(total[0], top), times(total[1], bottom))
            return total
        case Percent(value):
            return as_fraction(Mul((value, Num(Fraction(1, 100)))))
        case Pow(base, exponent):
            return power_as_fraction(base, exponent)
        case Call(name, args):
            return function_as_fraction(name, args)
    raise Unknown(type(node).__name__)


def power_as_fraction(base: Node, exponent: Node) -> tuple[Poly, Poly]:
    """Numerator and denominator of a power."""
    value = rational(exponent)
    if value is None:
        return _symbolic_power(base, exponent)
    top, bottom = as_fraction(base)
    if not top:
        if value <= 0:
            raise ZeroDivisionError
        return {}, ONE
    if value.denominator == 1:
        count = abs(int(value))
        pair = power(top, count), power(bottom, count)
        return divide(*pair) if value > 0 else divide(*reversed(pair))
    return (
        divide(_root(top, value), _root(bottom, value))
        if _is_positive(bottom)
        else (_opaque((top, bottom), value), ONE)
    )


def _is_positive(poly: Poly) -> bool:
    return all(value > 0 for value in poly.values()) and all(
        _is_positive_atom(atom) for each in poly for atom, _ in each
    )


def _is_positive_atom(atom: tuple) -> bool:
    return atom[0] in ("p", "c")


def _root(poly: Poly, exponent: Fraction) -> Poly:
    """A broken power: positive factors come out, what is left is an atom."""
    content = _content(poly)
    rest = {monomial: value / content for monomial, value in poly.items()}
    root = _prime_powers(content, exponent)
    if len(rest) == 1:
        ((monomial, sign),) = rest.items()
        outer = tuple((atom, power_of_atom * exponent) for atom, power_of_atom in monomial if _is_positive_atom(atom))
        inner = tuple((atom, power_of_atom) for atom, power_of_atom in monomial if not _is_positive_atom(atom))
        scale, outer = merge((), outer)
        root = times(root, {outer: scale})
        if sign < 0 and not inner and exponent.denominator == 2:  # the principal root of a negative number
            return times(root, power({((I, Fraction(1)),): Fraction(1)}, exponent.numerator % 4))
        if not inner and sign > 0:
            return root
        if sign > 0 and len(inner) == 1 and inner[0][0][0] == "s" and inner[0][1] == 1:
            return times(root, {((inner[0][0], exponent),): Fraction(1)})
        rest = {inner: sign}
    return times(root, _opaque((rest, ONE), exponent))


def _opaque(pair: tuple[Poly, Poly], exponent: Fraction) -> Poly:
    return {((("b", hashable(*pair)), exponent),): Fraction(1)}


def _content(poly: Poly) -> Fraction:
    top = math.gcd(*(value.numerator for value in poly.values()))
    return Fraction(top, math.lcm(*(value.denominator for value in poly.values())))


def _prime_powers(value: Fraction, exponent: Fraction) -> Poly:
    if max(value.numerator, value.denominator) > MAX_FACTORED:
        raise TooBig("a number that is not worth factoring")
    parts = [(prime, count * exponent) for prime, count in prime_factors(value.numerator)]
    parts += [(prime, -count * exponent) for prime, count in prime_factors(value.denominator)]
    scale, monomial = merge((), tuple((("p", prime), each) for prime, each in parts))
    return {monomial: scale}


def prime_factors(value: int) -> list[tuple[int, int]]:
    """Prime factors of a natural number by trial division (up to MAX_FACTORED)."""
    factors, divisor = [], 2
    while divisor * divisor <= value:
        count = 0
        while value % divisor == 0:
            value //= divisor
            count += 1
        if count:
            factors.append((divisor, count))
        divisor += 1 if divisor == 2 else 2
    return [*factors, (value, 1)] if value > 1 else factors


def _symbolic_power(base: Node, exponent: Node) -> tuple[Poly, Poly]:
    """b^(2n+1) = b (b^n)^2, for whole coefficients, or any where b is positive."""
    if base == Const("e") and (turned := trig.on_unit_circle(exponent)) is not None:
        return as_fraction(turned)
    top, bottom = as_fraction(exponent)
    known = rational(base)
    is_positive = base == Const("e") or (
        known is not None and known > 0 and max(known.numerator, known.denominator) < MAX_FACTORED
    )
    if bottom != ONE or not all(is_positive or value.denominator == 1 for value in top.values()):
        return {((("^", hashable(*as_fraction(base)), hashable(top, bottom)), Fraction(1)),): Fraction(1)}, ONE
    if base == Const("e"):
        bases = [(E, Fraction(1))]
    elif is_positive and known is not None:
        bases = [(("p", prime), Fraction(count)) for prime, count in prime_factors(known.numerator)]
        bases += [(("p", prime), Fraction(-count)) for prime, count in prime_factors(known.denominator)]
    elif isinstance(base, Sym):
        bases = [(("s", base.name), Fraction(1))]
    else:
        bases = [(("k", hashable(*as_fraction(base))), Fraction(1))]
    total = ONE
    for atom, count in bases:
        for monomial, value in top.items():
            if not monomial:
                scale, turned = merge((), ((atom, value * count),))
                total = times(total, {turned: scale})
            else:
                total = times(total, {((("x", atom, monomial), value * count),): Fraction(1)})
    return total, ONE


def hashable(top: Poly, bottom: Poly) -> tuple:
    """A hashable form of a fraction, the same for equal ones in nearly all cases."""
    return tuple(sorted(top.items(), key=repr)), tuple(sorted(bottom.items(), key=repr))


def function_as_fraction(name: str, args: tuple[Node, ...]) -> tuple[Poly, Poly]:
    """Numerator and denominator of a function of canonical arguments."""
    if name == "deg":
        return as_fraction(Mul((args[0], Const("pi"), Num(Fraction(1, 180)))))
    value = rational(Call(name, args))
    if value is not None:
        return constant(value), ONE
    if (known := trig.in_simpler_functions(name, args)) is not None:
        return as_fraction(known)
    if name == "log" and len(args) == 1:
        return _log(args[0]), ONE
    if name == "binom":
        top, bottom = args
        below = Mul((Call("factorial", (bottom,)), Call("factorial", (sub(top, bottom),))))
        return as_fraction(div(Call("factorial", (top,)), below))
    pairs = [as_fraction(arg) for arg in args]
    sign = 1
    keys = tuple(hashable(*pair) for pair in pairs)
    if name in trig.ODD_OR_EVEN and len(args) == 1 and keys[0][0] and keys[0][0][0][1] < 0:
        sign = trig.ODD_OR_EVEN[name]
        keys = (hashable(plus({}, pairs[0][0], -1), pairs[0][1]),)
    if name in ("max", "min", "gcd", "lcm"):
        keys = tuple(sorted(keys, key=repr))
    return {((("f", name, keys), Fraction(1)),): Fraction(sign)}, ONE


def _log(node: Node) -> Poly:
    """The logarithm of a positive rational as a sum over primes; of e^x it is x; of anything else an atom."""
    value = rational(node)
    if value is not None and value > 0 and max(value.numerator, value.denominator) <= MAX_FACTORED:
        parts = [
            *prime_factors(value.numerator),
            *((prime, -count) for prime, count in prime_factors(value.denominator)),
        ]
        return {((("l", prime), Fraction(1)),): Fraction(count) for prime, count in parts}
    if node == Const("e"):
        return ONE
    top, bottom = as_fraction(node)
    if bottom == ONE and len(top) == 1:
        ((monomial, coefficient),) = top.items()
        if coefficient == 1 and monomial and all(atom[0] in ("p",) or atom == E for atom, _ in monomial):
            return {((("l", atom[1]), Fraction(1)),) if atom != E else (): each for atom, each in monomial}
    return {((("f", "log", (hashable(top, bottom),)), Fraction(1)),): Fraction(1)}
