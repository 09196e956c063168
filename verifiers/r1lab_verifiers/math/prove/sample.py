"""Compares two expressions in numbers, at fixed, seeded points to thirty digits. Agreement here is no proof.

Real arithmetic first: a point where the gold is not real says nothing, one where only the answer is not says no. With
an imaginary unit anywhere, everything is complex. Points depend on the names of the variables alone.
"""

import hashlib
from fractions import Fraction
from functools import lru_cache
from typing import Any

from r1lab_verifiers.math.prove.exact import rational
from r1lab_verifiers.math.prove.functions import FUNCTIONS
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
    Sym,
    TooBig,
    contains,
    substitute,
    symbols,
)

DIGITS = 30
NUM_POINTS = 8
MAX_EXPONENT = 100_000
MAX_TERMS = 400
INTEGER_POINTS = 8


class Undefined(ArithmeticError):
    """The expression has no value at this point (or no real one)."""


class Unknown(ArithmeticError):
    """Something that is not computed here: a set, a limit, a function nobody knows."""


@lru_cache(maxsize=1)
def context():
    """The mpmath context of all samples: one of our own, so that nobody else changes its precision."""
    import mpmath

    found = mpmath.MPContext()
    found.dps = DIGITS
    return found


@lru_cache(maxsize=64)
def precise(digits: int):
    """The same for a number of so many digits: a context of more, where thirty do not do."""
    if digits + 10 <= DIGITS:
        return context()
    import mpmath

    found = mpmath.MPContext()
    found.dps = digits + 15
    return found


@lru_cache(maxsize=4096)
def sample_point(name: str, index: int):
    """The value of a variable: points 0-3 positive, 4-7 of either sign, 8-12 small integers, later ones up to 99."""
    seed = int.from_bytes(hashlib.blake2b(f"{name}/{index}".encode(), digest_size=8).digest(), "big")
    share = context().mpf(seed) / 2**64
    if index >= NUM_POINTS:
        return context().mpf(2 + seed % 7 if index < NUM_POINTS + 5 else 10 + seed % 90)
    return share * 2 + context().mpf("0.3") if index < NUM_POINTS // 2 else share * 6 - 3


class Evaluator:
    """Evaluates a node at one point. is_complex: whether a root of a negative number has a value."""

    def __init__(self, values: dict, is_complex: bool, mp=None):
        self.values, self.is_complex, self.mp = values, is_complex, mp or context()
        self.scale = 0.0
        """The largest magnitude met in a sum: what cancellation is measured against."""

    def __call__(self, node: Node):
        match node:
            case Num(value):
                return self.mp.mpf(value.numerator) / value.denominator
            case Sym(name):
                if name not in self.values:
                    raise Unknown(name)
                return self.values[name]
            case Const(name):
                return self._constant(name)
            case Add(args):
                terms = [self(arg) for arg in args]
                self.scale = max(self.scale, *(abs(term) for term in terms))
                return sum(terms[1:], terms[0])
            case Mul(args):
                product = self.mp.mpf(1)
                for arg in args:
                    product = product * self(arg)
                return product
            case Pow(base, exponent):
                return self.power(base, exponent)
            case Percent(value):
                return self(value) / 100
            case Call(name, args):
                return self._call(name, args)
            case Big():
                return self._big(node)
        raise Unknown(type(node).__name__)

    def _constant(self, name: str):
        match name:
            case "pi":
                return +self.mp.pi
            case "e":
                return +self.mp.e
            case "i":
                if not self.is_complex:
                    raise Undefined("imaginary")
                return self.mp.mpc(0, 1)
        raise Unknown(name)

    def power(self, base: Node, exponent: Node):
        """The principal power; in real arithmetic an odd root of a negative number is real."""
        value, by = self(base), self(exponent)
        if abs(by) > MAX_EXPONENT and abs(value) != 1:
            raise TooBig("an exponent beyond any answer's")
        if value == 0:
            if self.mp.re(by) <= 0:
                raise Undefined("division by zero")
            return value
        if not self.is_complex and value < 0 and by != int(by):
            odd = _odd_root(exponent)
            if odd is None:
                raise Undefined("a root of a negative number")
            return -((-value) ** by) if odd else (-value) ** by
        return value**by

    def _call(self, name: str, args: tuple[Node, ...]):
        if name not in FUNCTIONS:
            raise Unknown(name)
        if any(isinstance(arg, Matrix) for arg in args):
            raise Unknown(name)
        found = FUNCTIONS[name](self.mp, *(self(arg) for arg in args))
        if found is None or (not self.is_complex and isinstance(found, self.mp.mpc)):
            raise Undefined(name)
        return found

    def _big(self, node: Big):
        if node.kind not in ("sum", "prod") or node.low is None or node.high is None:
            raise Unknown(node.kind)
        low, high = self(node.low), self(node.high)
        if low != int(low) or high != int(high):
            raise Undefined("a bound that is no integer")
        if high - low > MAX_TERMS:
            raise TooBig("a sum over more terms than is worth adding")
        terms = [self(substitute(node.body, node.variable, Num(Fraction(at)))) for at in range(int(low), int(high) + 1)]
        return self.mp.fsum(terms) if node.kind == "sum" else self.mp.fprod(terms)


def _odd_root(exponent: Node) -> bool | None:
    """Whether a real odd root keeps the sign; None where the exponent is no fraction with an odd denominator."""
    value = rational(exponent)
    if value is None or value.denominator % 2 == 0:
        return None
    return value.numerator % 2 == 1


def has_imaginary(node: Node) -> bool:
    """Whether the imaginary unit stands anywhere in it."""
    return contains(node, lambda each: each == Const("i"))


_COUNTING = ("factorial", "binom")
"""Functions whose variables must be integers."""
_STEPPED = ("floor", "ceil", "round", "mod", "gcd", "lcm")
"""Functions that agree at many points without being the same: looked at further out too."""


def _calls(node: Node, names: tuple[str, ...]) -> bool:
    return contains(node, lambda each: isinstance(each, Call) and each.name in names)


def is_counting(node: Node) -> bool:
    """Whether it counts something by its variables, so that only integers say anything."""
    return _calls(node, _COUNTING) and bool(symbols(node))


def agree_at_points(gold: Node, other: Node, mp=None) -> bool | None:
    """False where they differ at a point, True where they agree at all that count, None where none does.

    Raises Unknown and TooBig as the evaluation does.
    """
    names = sorted(symbols(gold) | symbols(other))
    is_complex = has_imaginary(gold) or has_imaginary(other)
    counted = 0
    start = NUM_POINTS if names and (_calls(gold, _COUNTING) or _calls(other, _COUNTING)) else 0
    is_stepped = _calls(gold, _STEPPED) or _calls(other, _STEPPED)
    for index in range(start, NUM_POINTS + INTEGER_POINTS if names else 1):
        if index == NUM_POINTS and counted >= 3 and not start and not is_stepped:
            break
        same = at_point(gold, other, {name: sample_point(name, index) for name in names}, is_complex)
        if same is False:
            return False
        counted += same is True
    return True if counted >= (2 if names else 1) else None


def at_point(gold: Node, other: Node, values: dict, is_complex: bool) -> bool | None:
    """Whether both have the same value there; None where the gold has none."""
    left, right = Evaluator(values, is_complex), Evaluator(values, is_complex)
    try:
        wanted = left(gold)
    except (Undefined, ZeroDivisionError, ValueError, OverflowError):
        return None
    try:
        given = right(other)
    except (Undefined, ZeroDivisionError, ValueError, OverflowError):
        return False if values or not is_complex else None
    return is_close(wanted, given, max(left.scale, right.scale))


def is_close(left: Any, right: Any, scale: Any = 0, digits: int = DIGITS) -> bool:
    """Equal relative to their size, up to what cancellation among terms of size `scale` may cost."""
    size = max(abs(left), abs(right))
    difference = abs(left - right)
    return difference <= size * context().mpf(10) ** (6 - digits) or difference <= scale * context().mpf(10) ** (
        2 - digits
    )
