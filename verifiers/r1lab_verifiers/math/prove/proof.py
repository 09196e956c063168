"""Asks sympy to prove that two expressions are equal, as the last step. Built node by node, never from text.

The budget counts Python calls, not seconds, so the verdict does not depend on the machine.
"""

import random
import sys
from contextlib import contextmanager

from r1lab_verifiers.math.prove.sample import Unknown
from r1lab_verifiers.math.read.names import pairs
from r1lab_verifiers.math.read.tree import Add, Big, Call, Const, Mul, Node, Num, Percent, Pow, Sym, contains, size

MAX_NODES_OF_BOTH = 120
MAX_CALLS = 250_000
"""Calls of Python functions for one proof."""
_NAMES = pairs(
    """
    log log abs Abs arcsin asin arccos acos arctan atan arccot acot arcsec asec arccsc acsc arcsinh asinh arccosh acosh
    arctanh atanh ceil ceiling floor floor factorial factorial binom binomial gcd gcd lcm lcm max Max min Min sgn sign
    mod Mod re re im im conj conjugate sin sin cos cos tan tan cot cot sec sec csc csc sinh sinh cosh cosh tanh tanh
    coth coth sech sech csch csch
    """
)
"""What sympy calls the grammar's functions."""


class Spent(BaseException):
    """The budget ran out. Not an Exception: sympy catches those."""


def prove(left: Node, right: Node) -> bool | None:
    """True or False where sympy decides; None where it does not, or not within the budget."""
    if size(left) + size(right) > MAX_NODES_OF_BOTH:
        return None
    import sympy
    from sympy.core import cache
    from sympy.core import random as own_random

    # the budget and sympy's random points are the same in every proof, whatever was proved before
    cache.clear_cache()
    own_random.seed(0)
    state = random.getstate()  # some of sympy's modules draw from the global generator, which is the caller's
    random.seed(0)
    try:
        with _budget(MAX_CALLS):
            return _decide(sympy, _build(sympy, left) - _build(sympy, right))
    except (Spent, Exception):  # sympy raises anything; whatever it is, it is no proof
        return None
    finally:
        random.setstate(state)


@contextmanager
def _budget(calls: int):
    """Raise Spent after so many calls of Python functions. What a late import calls is free: only the first proof of
    a process would pay it. A profiler that is set already is lost."""
    left, importing = calls, None

    def tick(frame, event, argument):
        nonlocal left, importing
        if event == "call" and importing is None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                importing = frame
                return
            left -= 1
            if left < 0:
                raise Spent
        elif frame is importing and event == "return":
            importing = None

    def ignored(unraisable):
        """In a generator's end Python drops an exception, and the profiler with it: the next call raises again."""
        if unraisable.exc_type is Spent:
            sys.setprofile(tick)
        else:
            hook(unraisable)

    hook, sys.unraisablehook = sys.unraisablehook, ignored
    sys.setprofile(tick)
    try:
        yield
    finally:
        sys.setprofile(None)
        sys.unraisablehook = hook


def _decide(sympy, difference) -> bool | None:
    attempts = (
        lambda each: sympy.expand(sympy.expand_trig(each)),
        sympy.simplify,
        lambda each: sympy.simplify(sympy.expand_log(each, force=True)),
    )
    for attempt in attempts:
        result = attempt(difference)
        if result == 0:
            return True
    return difference.equals(0)


def _build(sympy, node: Node):
    match node:
        case Num(value):
            return sympy.Rational(value.numerator, value.denominator)
        case Sym(name):
            return sympy.Symbol(name, real=True)
        case Const(name):
            return {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "oo": sympy.oo}[name]
        case Add(args):
            return sympy.Add(*(_build(sympy, arg) for arg in args))
        case Mul(args):
            return sympy.Mul(*(_build(sympy, arg) for arg in args))
        case Pow(base, exponent):
            return sympy.Pow(_build(sympy, base), _build(sympy, exponent))
        case Percent(value):
            return _build(sympy, value) / 100
        case Call("deg", (value,)):
            return _build(sympy, value) * sympy.pi / 180
        case Call("diff", (body, Sym(name))):
            return sympy.Derivative(_build(sympy, body), sympy.Symbol(name, real=True)).doit()
        case Call(name, args) if name in _NAMES:
            return getattr(sympy, _NAMES[name])(*(_build(sympy, arg) for arg in args))
        case Big(kind, variable, low, high, body) if not contains(body, lambda each: isinstance(each, Big)):
            return _big(sympy, kind, variable, low, high, body)
    raise Unknown(type(node).__name__)


def _big(sympy, kind: str, variable: str, low: Node | None, high: Node | None, body: Node):
    name, inner = sympy.Symbol(variable, real=True), _build(sympy, body)
    match kind:
        case "sum" | "prod" if low is not None and high is not None:
            whole = {"sum": sympy.Sum, "prod": sympy.Product}[kind]
            return whole(inner, (name, _build(sympy, low), _build(sympy, high))).doit()
        case "int" if low is not None and high is not None:
            return sympy.Integral(inner, (name, _build(sympy, low), _build(sympy, high))).doit()
        case "int":
            return sympy.Integral(inner, name).doit()
        case "lim" if low is not None:
            return sympy.limit(inner, name, _build(sympy, low))
    raise Unknown(kind)
