"""Compares equations and inequalities: equal up to a factor, heads such as `y =`, chains, assignments.

Says how a relation may be read as a value; whether values are equal is `value`'s to say.
"""

import re
from fractions import Fraction

from r1lab_verifiers.math.agree.conventions import Agree, Conventions
from r1lab_verifiers.math.prove import normal, sample
from r1lab_verifiers.math.prove.sample import Unknown
from r1lab_verifiers.math.prove.value import equal
from r1lab_verifiers.math.read.tree import (
    Add,
    Call,
    Const,
    Mul,
    Node,
    Num,
    Pow,
    Ratio,
    Relation,
    Seq,
    Sym,
    TooBig,
    children,
    is_unknown_function,
    sub,
    substitute,
    symbols,
)

_PLANES = (frozenset("xyz"), frozenset(("r", "theta")), frozenset(("rho", "theta", "phi")))
"""Names of coordinates."""
MAX_ROUNDING = 0.05
"""Share of a number that its rounded form may be off."""
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def is_comparison(node: Relation) -> bool:
    """Whether all signs of a chain compare by size."""
    return all(op in ("<", "<=", ">", ">=", "!=") for op in node.ops)


def flipped(ops: tuple[str, ...]) -> tuple[str, ...]:
    """The signs of a chain read from its other end."""
    return tuple(_FLIPPED.get(op, op) for op in reversed(ops))


def is_equation(node: Node) -> bool:
    """Whether it is a chain of equals signs."""
    return isinstance(node, Relation) and set(node.ops) <= {"=", "=="}


def is_head(node: Node) -> bool:
    """Whether it only names what is asked for: x, f(x), AB, P(A), A:B, angle ABC."""
    match node:
        case Sym():
            return True
        case Call("abs", (inner,)):
            return is_head(inner)
        case Call(name, args):
            is_name = name in ("angle", "triangle", "overline", "overrightarrow", "vec", "prime")
            return (is_name or is_unknown_function(node)) and bool(symbols(node))
        case Mul(args):
            return all(isinstance(arg, Sym | Const) or is_head(arg) for arg in args) and any(
                isinstance(arg, Sym) for arg in args
            )
        case Ratio(parts) | Seq("tuple", parts, _):
            return all(map(is_head, parts))
    return False


def named_values(node: Node) -> dict[Node, Node] | None:
    """Which name has which value in (p, q) = (5, 3) or p = 5, q = 3; None where that is not all it says."""
    match node:
        case Relation((Seq("tuple", names, _), Seq("tuple", values, _)), ("=",)) if len(names) == len(values):
            return dict(zip(names, values))
        case Seq("list", items, _) if all(isinstance(item, Relation) and item.ops == ("=",) for item in items):
            named = dict(item.sides[:2] for item in items if isinstance(item, Relation) and len(item.sides) == 2)
            return named if len(named) == len(items) else None
    return None


def approximated(node: Node) -> tuple[Node, ...]:
    """The exact and the rounded form of `13/3 ~ 4.33`, where they are near; x ~ 3.14 is an equation."""
    if not isinstance(node, Relation) or "~" not in node.ops:
        return (node,)
    sides, ops = node.sides, tuple("=" if op == "~" else op for op in node.ops)
    if set(ops) != {"="} or (len(sides) == 2 and is_head(sides[0])):
        return (Relation(sides, ops),)
    exact, rounded = sides[: node.ops.index("~") + 1], sides[-1]
    if not _is_near(exact[-1], rounded):
        return ()
    first = exact[0] if len(exact) == 1 else Relation(exact, ops[: len(exact) - 1])
    return (first, rounded)


def _is_near(exact: Node, rounded: Node) -> bool:
    """Whether two numbers differ by less than what any rounding makes of them; also where they are no numbers."""
    if not (is_closed(exact) and is_closed(rounded)):
        return True
    try:
        one, other = (sample.Evaluator({}, False)(side) for side in (exact, rounded))
    except (sample.Undefined, Unknown, TooBig, ZeroDivisionError, ValueError):
        return True
    return abs(one - other) <= MAX_ROUNDING * max(abs(one), abs(other))


def is_function_head(node: Node) -> bool:
    """Whether it names a function or its value: f(x), y."""
    return (isinstance(node, Sym) and node.name in "yfghzwV") or is_unknown_function(node)


def stated_value(node: Relation) -> Node | None:
    """What a chain `head = a = b` comes to: its last side, if all its numbers agree and its head asks for that; else,
    or for an echo, None."""
    first, last = node.sides[0], node.sides[-1]
    if isinstance(last, Call) and last.name == "mod":
        return last.args[0]
    if len(node.sides) == 2 and first in (Const("e"), Const("i")):
        return last  # variables of these names
    closed = [side for side in node.sides if is_closed(side)]
    if isinstance(last, Sym) and len(node.sides) > 2 and len(closed) == len(node.sides) - 1:
        last = closed[-1]  # 36 - 19 = 17 = x
    elif (len(node.sides) == 2 or not is_closed(last)) and not _asks_for(first, last):
        return None
    for side in closed:
        if side is not last and is_closed(last) and equal(side, last) is False and equal(last, side) is False:
            return None
    for at in range(len(node.sides) - 1):
        if node.sides[at] == node.sides[at + 1]:
            return None
    return last


def _asks_for(head: Node, value: Node) -> bool:
    """Whether `head = value` says what the head is: `2x = 5` and `x^2 = 5` determine x, which is not 5; `a + b = 5` and
    `sin x = 5` are what was asked for; `x = x + 1` is nothing."""
    if isinstance(head, Sym):
        return head.name not in symbols(value)
    if is_head(head) or head in (Const("e"), Const("i")):
        return True
    if equal(head, value) is True:
        return True
    if symbols(head) & symbols(value):
        return False
    return len(symbols(head)) != 1 or not _is_algebraic(head)


def _is_algebraic(node: Node) -> bool:
    is_known = isinstance(node, Call) and node.name in ("abs", "log", "factorial")
    return (is_known or isinstance(node, Num | Const | Sym | Add | Mul | Pow)) and all(
        map(_is_algebraic, children(node))
    )


def is_closed(node: Node) -> bool:
    """Whether it is a number: no variable anywhere, and no function that only has a name."""
    return (
        isinstance(node, Num | Const | Add | Mul | Pow | Call)
        and not symbols(node)
        and not is_unknown_function(node)
        and all(map(is_closed, children(node)))
    )


def is_solved(gold: Relation) -> bool:
    """Whether a relation of two sides says what its head is (x = 5, r = d/t), so that 3x + 7 = 22 only puts the task;
    y = 2x + 1 is a curve, which may be written in other ways."""
    head, value = gold.sides
    names = symbols(gold)
    if any(len(names & plane) > 1 for plane in _PLANES):
        return False
    return is_head(head) and not (isinstance(head, Sym) and head.name in symbols(value))


def same_head(gold: Node, other: Node, agree: Agree, conventions: Conventions) -> bool:
    """Whether both name the same: x_1 is x where the other has no index."""
    if isinstance(gold, Sym) and isinstance(other, Sym) and ("_" in gold.name) != ("_" in other.name):
        return gold.name.partition("_")[0] == other.name.partition("_")[0]
    if (name := _derivative(gold)) is not None:
        return name == _derivative(other)
    return bool(agree(gold, other, conventions))


def _derivative(head: Node) -> str | None:
    """y' for what names that derivative: dy/dx, y'(x); None for any other head."""
    match head:
        case Sym(name) if re.fullmatch(r"d[A-Za-z]/d[A-Za-z]", name):  # "dy/dx"; not "d/dx"
            return f"{name[1]}'"
        case Sym(name) | Mul((Sym(name), Sym())) if name.endswith("'"):
            return name
        case Call("dot", (Sym(name),)):
            return f"{name}'"
    return None


def is_written_alike(gold: Node, other: Node) -> bool:
    """Whether both are the same terms and factors, in any order: 2015 = 1500 + 515 is no other sum of 2015."""
    parts, others = children(gold), list(children(other))
    if not parts or type(gold) is not type(other) or len(parts) != len(others):
        return equal(gold, other) is True and not others
    for part in parts:
        at = next((at for at, each in enumerate(others) if is_written_alike(part, each)), None)
        if at is None:
            return False
        del others[at]
    return True


def same_congruence(gold: Relation, other: Relation) -> bool | None:
    """Whether both say that a name leaves the same remainder by the same modulus; None where the gold is none."""
    match gold, other:
        case Relation((name, Call("mod", (value, modulus))), _), Relation((given_name, Call("mod", (given, by))), _):
            same = equal(name, given_name) and equal(modulus, by)
            return bool(same) and equal(Call("mod", (value, modulus)), Call("mod", (given, by))) is True
        case Relation((_, Call("mod", _)), _), _:
            return False
    return None


def same_function(gold: Relation, other: Relation) -> bool | None:
    """y = 2x + 1 and f(x) = 2x + 1 are the same."""
    (a, b), (c, d) = gold.sides, other.sides
    if not (is_function_head(a) and is_function_head(c) and symbols(b)):
        return False
    if isinstance(a, Call) and isinstance(c, Call) and a.name != c.name:
        return False
    if isinstance(a, Call) and isinstance(c, Call) and a.args != c.args:
        match a.args, c.args:
            case (Sym(name),), (Sym(other_name),) if name not in symbols(d):  # f(t) = t^2 for f(x) = x^2
                d = substitute(d, other_name, Sym(name))
            case _:
                return False
    return equal(b, d)


def same_equation(gold: Relation, other: Relation) -> bool | None:
    """Two equations of two sides: the same up to a factor that is not zero."""
    (a, b), (c, d) = gold.sides, other.sides
    if (equal(a, c) and equal(b, d)) or (equal(a, d) and equal(b, c)):
        return True
    return same_function(gold, other) or proportional(sub(a, b), sub(c, d))


def same_inequality(gold: Relation, other: Relation) -> bool | None:
    """Two inequalities of two sides: the same up to a factor, which turns the sign where it is negative."""
    (a, b), (c, d) = gold.sides, other.sides
    left, right = (sub(a, b), gold.ops[0]), (sub(c, d), other.ops[0])
    factor = ratio(left[0], right[0])
    if factor is None:
        return False
    op = right[1] if factor > 0 else _FLIPPED.get(right[1], right[1])
    return op == left[1] and proportional(left[0], right[0])


def proportional(left: Node, right: Node) -> bool | None:
    """Whether left = k right for a number k that is not zero."""
    factor = ratio(left, right)
    if factor is None:
        return False
    try:
        scaled = Mul((Num(factor), right))
        return normal.is_equal(left, scaled) or sample.agree_at_points(left, scaled) is True
    except (Unknown, TooBig, ZeroDivisionError):
        return False


def ratio(left: Node, right: Node) -> Fraction | None:
    """The rational factor between two expressions, guessed at a point and checked at others, or None."""
    names = sorted(symbols(left) | symbols(right))
    if not names or symbols(left) != symbols(right):
        return None
    quotients = []
    for index in range(6):
        values = {name: sample.sample_point(name, index) for name in names}
        try:
            bottom = sample.Evaluator(values, False)(right)
            top = sample.Evaluator(values, False)(left)
            if bottom:
                quotients.append(top / bottom)
        except (sample.Undefined, Unknown, TooBig, ZeroDivisionError, ValueError):
            continue
    if len(quotients) < 2 or not all(sample.is_close(quotients[0], each, 1) for each in quotients[1:]):
        return None
    mp = sample.context()
    guess = Fraction(int(mp.nint(quotients[0] * 10**15)), 10**15).limit_denominator(10**6)
    if guess and sample.is_close(mp.mpf(guess.numerator) / guess.denominator, quotients[0]):
        return guess
    return None
