r"""Says whether an answer is finished: carried out as far as the gold answer is, not the task put once more.

Knows form only, not whether values agree. An operator that names a task (a sum, an integral, a limit, gcd, mod, the
sine of a special angle ...) is finished only where the gold holds it too. Where the gold is one rational number, sums,
differences and products of plain numbers are not either: 3+4, 123\cdot456. Forms that answers are usually left in are:
5!, \binom52, 2^{12}, 2^3\cdot3, 1\times10^3, \frac{14}{2}, 16-4\pi.
"""

from r1lab_verifiers.math.prove import trig
from r1lab_verifiers.math.prove.exact import rational
from r1lab_verifiers.math.read.tree import (
    ZERO,
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
    Quantity,
    Relation,
    Seq,
    SetOp,
    Sym,
    TooBig,
    children,
    contains,
    symbols,
)

TASKS = frozenset(("det", "gcd", "lcm", "mod", "diff", "floor", "ceil", "round", "max", "min", "tr", "sgn", "arg"))
"""Functions whose value is asked for."""
LEFT_STANDING = frozenset(("factorial", "binom", "abs", "deg", "pm", "mp", "based"))
"""Functions in which a rational number may be left."""
_CIRCLE = ("sin", "cos")
"""With i beside them they are a complex number's polar form."""


def is_finished(reading: Node, gold: Node) -> bool:
    """Whether nothing in the reading is left to do that the gold has done."""
    if isinstance(reading, Num):  # most are
        return True
    is_same = reading == gold
    match reading:
        case Relation((*_, Call("mod", (value, _))), ops) if "==" in ops:
            reading = value  # 24 is congruent to 3 modulo 7
        case Relation(sides, _):
            reading = sides[-1]
        case Quantity(value, _) | Percent(value):
            reading = value
    if isinstance(reading, Num):
        return True
    parts = _parts(reading)
    if any(isinstance(part, Mul) and ZERO in part.args for part in parts):
        return False  # x0 is nobody's answer
    if is_same:
        return True
    known = {name for part in _parts(gold) if (name := _task(part))}
    is_polar = Const("i") in parts
    if any(name and name not in known and not (is_polar and name in _CIRCLE) for name in map(_task, parts)):
        return False
    if not _is_one_number(gold):
        return True
    called = LEFT_STANDING | {part.name for part in _parts(gold) if isinstance(part, Call)}
    left = (isinstance(part, Call) and part.name not in called for part in parts)
    return not any(left) and not any(map(_is_plain_arithmetic, parts))


def _parts(node: Node) -> list[Node]:
    found = [node]
    for part in found:
        found.extend(children(part))
    return found


def _task(node: Node) -> str | None:
    """The name of the task that a node puts, if it does."""
    match node:
        case Num() | Sym() | Const():  # most are
            return None
        case Big(kind, _, _, _, _):
            return kind
        case SetOp("cap", _, _):
            return "cap"
        case Call("max" | "min" as name, args) if any(symbols(arg) for arg in args):
            return None if len(args) > 1 else name
        case Call(name, _) if name in TASKS:
            return name
        case Call(name, args) if (known := trig.in_simpler_functions(name, args)) is not None and _is_special(known):
            return name
        case Mul(args) | Add(args) if sum(isinstance(arg, Matrix) for arg in args) > 1:
            return "matrices"
        case Pow(Matrix(), _):
            return "matrices"
    return None


def _is_special(value: Node) -> bool:
    """Whether a function comes to a constant: tan(pi/4) to a quotient of two sines whose values are known."""
    if contains(value, lambda part: isinstance(part, Call) and part.name not in ("sin", "cos")):
        return False
    calls = [part for part in _parts(value) if isinstance(part, Call)]
    return not symbols(value) and all(trig.in_simpler_functions(call.name, call.args) is not None for call in calls)


def _is_one_number(gold: Node) -> bool:
    match gold:
        case Relation(sides, _):
            return _is_one_number(sides[-1])
        case Quantity(value, _) | Percent(value):
            return _is_one_number(value)
    try:
        return rational(gold) is not None and not any(map(_is_plain_arithmetic, _parts(gold)))
    except (TooBig, ZeroDivisionError):
        return False


def _is_plain_arithmetic(node: Node) -> bool:
    """A sum or product of integers and decimals: 3+4, 2*3+4; not a sign before one, not 3*10^5."""
    match node:
        case Mul((Num(sign), Num())) if sign == -1:
            return False
        case Add(args) | Mul(args):
            return all(isinstance(arg, Num) or _is_plain_arithmetic(arg) for arg in args)
    return False


def members_finished(reading: Node, gold: Node) -> bool:
    """`is_finished`, of lists, sets and tuples member by member."""
    if not isinstance(reading, Seq):
        return is_finished(reading, gold)
    wanted = gold.items if isinstance(gold, Seq) else (gold,)
    if len(wanted) != len(reading.items):
        return all(is_finished(item, gold) for item in reading.items)
    numbers = [item for item in wanted if _is_one_number(item)]
    like = numbers[0] if numbers and len(numbers) == len(wanted) else gold
    return all(is_finished(item, like) for item in reading.items)
