"""The grammar's functions in numbers (mpmath). None where a value is not defined."""

import math


def _real(mp, *values) -> bool:
    return all(not isinstance(value, mp.mpc) or value.imag == 0 for value in values)


def _floor(mp, value):
    return mp.floor(value) if _real(mp, value) else None


def _log(mp, value):
    return None if value == 0 else mp.log(value)


def _factorial(mp, value):
    if not _real(mp, value) or mp.re(value) > 100_000 or mp.re(value) < 0:
        return None
    return mp.gamma(value + 1)


def _binom(mp, top, bottom):
    if abs(top) > 100_000 or abs(bottom) > 100_000:
        return None
    return mp.binomial(top, bottom)


def _whole(function):
    def of(mp, *values):
        if any(not _real(mp, value) or value != int(value) for value in values):
            return None
        return mp.mpf(function(*(int(value) for value in values)))

    return of


def _bounded(function):
    """Of huge arguments no digit would be right."""

    def of(mp, value):
        return None if abs(value) > 1e12 else getattr(mp, function)(value)

    return of


def _hyperbolic(function):
    def of(mp, value):
        return None if abs(value) > 1e5 else getattr(mp, function)(value)

    return of


FUNCTIONS = {
    **{name: _bounded(name) for name in ("sin", "cos", "tan", "cot", "sec", "csc")},
    **{name: _hyperbolic(name) for name in ("sinh", "cosh", "tanh", "coth", "sech", "csch")},
    "arcsin": lambda mp, x: mp.asin(x),
    "arccos": lambda mp, x: mp.acos(x),
    "arctan": lambda mp, x: mp.atan(x),
    "arccot": lambda mp, x: mp.acot(x),
    "arcsec": lambda mp, x: mp.asec(x),
    "arccsc": lambda mp, x: mp.acsc(x),
    "arcsinh": lambda mp, x: mp.asinh(x),
    "arccosh": lambda mp, x: mp.acosh(x),
    "arctanh": lambda mp, x: mp.atanh(x),
    "log": _log,
    "abs": lambda mp, x: abs(x),
    "floor": _floor,
    "ceil": lambda mp, x: mp.ceil(x) if _real(mp, x) else None,
    "round": lambda mp, x: mp.floor(x + mp.mpf(1) / 2) if _real(mp, x) else None,
    "sgn": lambda mp, x: mp.sign(x),
    "max": lambda mp, *xs: max(xs) if _real(mp, *xs) else None,
    "min": lambda mp, *xs: min(xs) if _real(mp, *xs) else None,
    "gcd": _whole(math.gcd),
    "lcm": _whole(math.lcm),
    "mod": lambda mp, x, y: mp.fmod(x, y) if _real(mp, x, y) and y else None,
    "factorial": _factorial,
    "binom": _binom,
    "deg": lambda mp, x: x * mp.pi / 180,
    "re": lambda mp, x: mp.re(x),
    "im": lambda mp, x: mp.im(x),
    "arg": lambda mp, x: mp.arg(x),
    "conj": lambda mp, x: mp.conj(x),
}
