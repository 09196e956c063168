"""The typed tree that an answer is read into, and the guards on its size.

Not a computer algebra system: no node simplifies itself, and none is ever evaluated by Python's own parser.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from operator import attrgetter
from typing import Any

MAX_NODES = 2000
MAX_DEPTH = 100
"""Nesting of brackets, roots and fractions; deeper than any answer, shallower than Python's stack."""
MAX_DIGITS = 10_000
"""Decimal digits of an exact number; anything that would have more is only compared by its form."""
MAX_FACTORIAL = 2000
MAX_RANGE = 1000
"""Terms of a sum or product that is added up."""


class Unreadable(ValueError):
    """The text is no mathematics that this parser knows."""


class TooBig(ArithmeticError):
    """A guard refused to compute: the expression can only be compared by its form."""


class Node:
    """Any part of an answer."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Num(Node):
    """A number, exact, with how it was written: 1.50 is another node than 1.5, its places say what it rounds."""

    value: Fraction
    places: int | None = None
    """Digits written behind the decimal point (fewer than none: 12e3 has -3); None for an integer or anything exact."""

    @property
    def digits(self) -> int:
        """Significant digits written."""
        return len(str(abs(int(self.value * Fraction(10) ** (self.places or 0)))).lstrip("0"))


@dataclass(frozen=True, slots=True)
class Sym(Node):
    """A variable; `...` too."""

    name: str


@dataclass(frozen=True, slots=True)
class Const(Node):
    """pi, e, i or oo."""

    name: str


@dataclass(frozen=True, slots=True)
class Add(Node):
    """A sum."""

    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Mul(Node):
    """A product; a quotient has a power -1 in it."""

    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Pow(Node):
    """A power; a root has a fraction as its exponent."""

    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function by its canonical name (`expression.FUNCTIONS`); `pm` stands for both signs of its argument."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Big(Node):
    """sum, prod, int or lim over a bound variable."""

    kind: str
    variable: str
    low: Node | None
    high: Node | None
    body: Node


@dataclass(frozen=True, slots=True)
class Seq(Node):
    """Several members. kind: `list` (bare, `1, 2`), `set` ({1, 2}), `tuple` (in round or square brackets) or `cases`
    (pairs of a value and its condition)."""

    kind: str
    items: tuple[Node, ...]
    brackets: str = ""
    """`()`, `[)`, `(]` or `[]` for a tuple; two members in them may be an interval."""


@dataclass(frozen=True, slots=True)
class SetOp(Node):
    """cup, cap or setminus."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Builder(Node):
    """A set by its conditions: {head : conditions}."""

    head: Node
    conditions: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Matrix(Node):
    """A matrix, row by row."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Relation(Node):
    """`a < b = c`: sides (a, b, c), ops (<, =)."""

    sides: tuple[Node, ...]
    ops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ratio(Node):
    """`3:2:1`"""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Percent(Node):
    """A value with a percent sign."""

    value: Node


@dataclass(frozen=True, slots=True)
class Quantity(Node):
    """A value with a unit or a counted noun."""

    value: Node
    unit: str


@dataclass(frozen=True, slots=True)
class Based(Node):
    """Digits in a stated base, such as 204_5."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class TimeOfDay(Node):
    """A time of day, in minutes since midnight."""

    minutes: int
    is_marked: bool
    """Whether am or pm was said (else 1:30 may be either)."""


@dataclass(frozen=True, slots=True)
class Text(Node):
    """Words, made uniform."""

    words: str


@dataclass(frozen=True, slots=True)
class Prose(Node):
    """A sentence with mathematics in it that is not all that it says: `max at $x=2$, min at $x=5$`."""

    words: str
    """Made uniform, with \\x00 where a formula or number stands."""
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ChosenOption(Node):
    """An option of a multiple-choice problem: its letter and, where known, its text."""

    letter: str
    text: str = ""


ZERO, ONE, MINUS_ONE, HALF = (Num(Fraction(n)) for n in (0, 1, -1, Fraction(1, 2)))


def add(*args: Node) -> Node:
    """A sum; of one term, that term."""
    return args[0] if len(args) == 1 else Add(args)


def mul(*args: Node) -> Node:
    """A product; of one factor, that factor."""
    return args[0] if len(args) == 1 else Mul(args)


def neg(node: Node) -> Node:
    """The negative; a number stays a number."""
    if isinstance(node, Num):
        return Num(-node.value, node.places)
    return Mul((MINUS_ONE, node))


def div(top: Node, bottom: Node) -> Node:
    """The quotient, as a product with a power -1."""
    return Mul((top, Pow(bottom, MINUS_ONE)))


def sub(left: Node, right: Node) -> Node:
    """The difference, as a sum with a negative."""
    return Add((left, neg(right)))


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below."""
    below = _BELOW.get(type(node))
    return () if below is None else below(node)


_BELOW: dict[type, Callable[[Any], tuple[Node, ...]]] = {
    Add: attrgetter("args"),
    Mul: attrgetter("args"),
    Call: attrgetter("args"),
    Pow: attrgetter("base", "exponent"),
    Seq: attrgetter("items"),
    Ratio: attrgetter("parts"),
    Relation: attrgetter("sides"),
    Big: lambda node: tuple(part for part in (node.low, node.high, node.body) if part is not None),
    SetOp: attrgetter("left", "right"),
    Builder: lambda node: (node.head, *node.conditions),
    Matrix: lambda node: tuple(cell for row in node.rows for cell in row),
    Percent: lambda node: (node.value,),
    Quantity: lambda node: (node.value,),
}
"""How `children` finds them: by the type, since most nodes are leaves, which a match would know last."""


def rebuild(node: Node, parts: list[Node]) -> Node:
    """The same kind of node over other children (as `children` lists them)."""
    match node:
        case Add():
            return Add(tuple(parts))
        case Mul():
            return Mul(tuple(parts))
        case Call(name, _):
            return Call(name, tuple(parts))
        case Pow():
            return Pow(*parts)
        case Seq(kind, _, brackets):
            return Seq(kind, tuple(parts), brackets)
        case Ratio():
            return Ratio(tuple(parts))
        case Relation(_, ops):
            return Relation(tuple(parts), ops)
        case SetOp(op, _, _):
            return SetOp(op, *parts)
        case Percent():
            return Percent(*parts)
        case Quantity(_, unit):
            return Quantity(parts[0], unit)
        case Big(kind, variable, low, high, _):
            left = iter(parts)
            return Big(kind, variable, low and next(left), high and next(left), next(left))
        case Builder():
            return Builder(parts[0], tuple(parts[1:]))
        case Matrix(rows):
            left = iter(parts)
            return Matrix(tuple(tuple(next(left) for _ in row) for row in rows))
    return node


def symbols(node: Node) -> frozenset[str]:
    """Names of the free variables."""
    if isinstance(node, Sym):
        return frozenset((node.name,))
    found = frozenset().union(*map(symbols, children(node)))
    return found - {node.variable} if isinstance(node, Big) else found


def size(node: Node) -> int:
    """Number of nodes."""
    return 1 + sum(map(size, children(node)))


def is_unknown_function(node: Node) -> bool:
    """Whether it is a function that only has a name: f(x), f^{-1}(x)."""
    return isinstance(node, Call) and (len(node.name) == 1 or node.name.endswith("^-1"))


def contains(node: Node, test) -> bool:
    """Whether a node in it passes the test."""
    left = [node]
    while left:
        part = left.pop()
        if test(part):
            return True
        left += children(part)
    return False


def substitute(node: Node, name: str, value: Node) -> Node:
    """The node with a variable replaced by a value."""
    if isinstance(node, Sym):
        return value if node.name == name else node
    parts = children(node)
    return rebuild(node, [substitute(part, name, value) for part in parts]) if parts else node
