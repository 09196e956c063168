"""Trigonometric functions in terms of sine and cosine, and their exact values at multiples of pi/4 and pi/6.

Pure: nodes in, nodes out. Other angles are left to numbers and to the proof.
"""

from fractions import Fraction

from r1lab_verifiers.math.prove.exact import rational
from r1lab_verifiers.math.read.tree import (
    HALF,
    MINUS_ONE,
    ONE,
    ZERO,
    Add,
    Call,
    Const,
    Mul,
    Node,
    Num,
    Pow,
    children,
    contains,
    div,
    neg,
    rebuild,
)

ODD_OR_EVEN = {"sin": -1, "cos": 1, "arcsin": -1, "arctan": -1, "sinh": -1, "cosh": 1, "tanh": -1, "abs": 1}
_ROOT2, _ROOT3 = (div(Pow(Num(Fraction(n)), HALF), Num(Fraction(2))) for n in (2, 3))
_SINES = {Fraction(0): ZERO, Fraction(1, 6): HALF, Fraction(1, 4): _ROOT2, Fraction(1, 3): _ROOT3, Fraction(1, 2): ONE}


def in_simpler_functions(name: str, args: tuple[Node, ...]) -> Node | None:
    """The function written with simpler ones, or its value; None where it stays as it is."""
    if len(args) != 1:
        return None
    arg = args[0]
    match name:
        case "tan":
            return div(Call("sin", args), Call("cos", args))
        case "cot":
            return div(Call("cos", args), Call("sin", args))
        case "sec":
            return Pow(Call("cos", args), MINUS_ONE)
        case "csc":
            return Pow(Call("sin", args), MINUS_ONE)
        case "sinh" | "cosh":
            up, down = Pow(Const("e"), arg), Pow(Const("e"), neg(arg))
            return Mul((HALF, Add((up, down if name == "cosh" else neg(down)))))
        case "tanh" | "coth":
            pair = Call("sinh", args), Call("cosh", args)
            return div(*pair) if name == "tanh" else div(*reversed(pair))
        case "sin" | "cos":
            turns = half_turns(arg)
            return None if turns is None else _sine(turns + (Fraction(1, 2) if name == "cos" else 0))
        case "arctan" | "arcsin" | "arccos" | "arccot":
            return _inverse(name, arg)
    return None


def on_unit_circle(exponent: Node) -> Node | None:
    """e to the exponent as cosine + i sine, where it is a rational multiple of i pi whose sine is known."""
    if not contains(exponent, lambda each: each == Const("i")):
        return None
    zero, one, two = (half_turns(_replaced(exponent, Const("i"), Num(Fraction(k)))) for k in (0, 1, 2))
    if one is None or zero != 0 or two != 2 * one:
        return None
    cosine, sine = _sine(one + Fraction(1, 2)), _sine(one)
    return None if cosine is None or sine is None else Add((cosine, Mul((Const("i"), sine))))


def _replaced(node: Node, old: Node, new: Node) -> Node:
    if node == old:
        return new
    parts = children(node)
    return rebuild(node, [_replaced(part, old, new) for part in parts]) if parts else node


def half_turns(node: Node) -> Fraction | None:
    """The angle in units of pi, where it is a rational multiple of it."""
    if isinstance(node, Call) and node.name == "deg":
        value = rational(node.args[0])
        return None if value is None else value / 180
    if rational(node) == 0:
        return Fraction(0)
    if not _mentions_pi(node):
        return None
    zero, one, two = (
        rational(_degrees_undone(_replaced(node, Const("pi"), Num(Fraction(k))), Fraction(k))) for k in (0, 1, 2)
    )
    return None if zero != 0 or one is None or two != 2 * one else one


def _mentions_pi(node: Node) -> bool:
    return contains(node, lambda each: each == Const("pi") or (isinstance(each, Call) and each.name == "deg"))


def _degrees_undone(node: Node, pi: Fraction) -> Node:
    """With every degree as pi / 180, for that value of pi."""
    parts = [_degrees_undone(part, pi) for part in children(node)]
    if isinstance(node, Call) and node.name == "deg":
        return Mul((parts[0], Num(pi / 180)))
    return rebuild(node, parts) if parts else node


def _sine(turns: Fraction) -> Node | None:
    turns %= 2
    sign = turns >= 1
    turns %= 1
    turns = min(turns, 1 - turns)
    found = _SINES.get(turns)
    return None if found is None else neg(found) if sign else found


def _inverse(name: str, arg: Node) -> Node | None:
    value = rational(arg)
    known = {
        ("arctan", 1): Fraction(1, 4), ("arctan", -1): Fraction(-1, 4), ("arctan", 0): Fraction(0),
        ("arcsin", 1): Fraction(1, 2), ("arcsin", Fraction(1, 2)): Fraction(1, 6), ("arcsin", 0): Fraction(0),
        ("arccos", 0): Fraction(1, 2), ("arccos", 1): Fraction(0), ("arccos", Fraction(1, 2)): Fraction(1, 3),
        ("arccos", -1): Fraction(1),
    }.get((name, value))  # fmt: skip
    return None if known is None or value is None else Mul((Num(known), Const("pi")))
