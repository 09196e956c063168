"""Sets of real numbers as sorted pieces: unions, intersections and differences of intervals and points.

Numbers are compared to thirty digits; endpoints with variables are not ordered here.
"""

from dataclasses import dataclass
from typing import Any

from r1lab_verifiers.math.prove import sample
from r1lab_verifiers.math.read.tree import (
    Add,
    Builder,
    Const,
    Mul,
    Node,
    Num,
    Relation,
    Seq,
    SetOp,
    Sym,
    TooBig,
    symbols,
)

_COMPARING = ("<", "<=", ">", ">=", "!=")
_CLOSED = {"[": True, "]": True, "(": False, ")": False}


@dataclass(frozen=True)
class Piece:
    """An interval between two real numbers (mpmath's), or the one point where both ends are the same."""

    low: Any
    is_low_in: bool
    high: Any
    is_high_in: bool


def real_set(node: Node) -> list[Piece] | None:
    """The pieces in order, joined where they touch; None where the node is no such set."""
    try:
        found = _pieces(node)
    except (sample.Unknown, sample.Undefined, TooBig, ZeroDivisionError, ValueError, TypeError):
        return None
    return None if found is None else _joined(found)


def is_inequality(node: Node) -> bool:
    """A comparison of one bare variable with something, or several of them in a list."""
    if isinstance(node, Seq):
        return node.kind == "list" and len(node.items) > 1 and all(map(is_inequality, node.items))
    return (
        isinstance(node, Relation)
        and all(op in _COMPARING for op in node.ops)
        and any(isinstance(side, Sym) for side in node.sides)
    )


def same_pieces(left: list[Piece], right: list[Piece]) -> bool:
    """Whether two sets have the same pieces, endpoints included."""
    return len(left) == len(right) and all(
        _close(a.low, b.low) and _close(a.high, b.high) and (a.is_low_in, a.is_high_in) == (b.is_low_in, b.is_high_in)
        for a, b in zip(left, right)
    )


def _pieces(node: Node) -> list[Piece] | None:
    match node:
        case Seq("tuple", (low, high), brackets):
            a, b = _end(low), _end(high)
            ins = _CLOSED[brackets[0]] and abs(a) != _inf(), _CLOSED[brackets[1]] and abs(b) != _inf()
            return [Piece(a, ins[0], b, ins[1])] if a < b or (a == b and all(ins)) else []
        case Seq("set", items):
            return [Piece(value, True, value, True) for value in map(_end, items)]
        case Sym("R"):
            return [Piece(-_inf(), False, _inf(), False)]
        case SetOp(op, left, right):
            a, b = _pieces(left), _pieces(right)
            if a is None or b is None:
                return None
            a, b = _joined(a), _joined(b)
            return a + b if op == "cup" else _intersect(a, b if op == "cap" else _complement(b))
        case Add((left, Mul((Num(sign), Seq("set") as right)))) if sign == -1:
            return _pieces(SetOp("setminus", left, right))
        case Builder(Sym() | Relation((Sym(), Sym("R")), ("in",)) as head, conditions):
            return _from_builder(head, conditions)
        case Seq("list", items) if is_inequality(node):
            return _from_system(items)
        case Relation((Sym(), inside), ("in",)):
            return _pieces(inside)
        case Relation(sides, ops):
            return _from_inequality(sides, ops)
    return None


def _inf():
    return sample.context().inf


def _end(node: Node):
    match node:
        case Const("oo"):
            return _inf()
        case Mul((sign, Const("oo"))):
            return -_inf() if getattr(sign, "value", 0) == -1 else _inf()
    if symbols(node):
        raise sample.Unknown("a variable")
    return sample.Evaluator({}, False)(node)


def _close(a, b) -> bool:
    return a == b or (abs(a) != _inf() and abs(b) != _inf() and sample.is_close(a, b, 1e-6))


def _joined(pieces: list[Piece]) -> list[Piece]:
    joined: list[Piece] = []
    for piece in sorted(pieces, key=lambda each: (each.low, not each.is_low_in)):
        last = joined[-1] if joined else None
        if last is None or not (
            piece.low < last.high or (_close(piece.low, last.high) and (piece.is_low_in or last.is_high_in))
        ):
            joined.append(piece)
        elif piece.high > last.high and not _close(piece.high, last.high):
            joined[-1] = Piece(last.low, last.is_low_in, piece.high, piece.is_high_in)
        elif _close(piece.high, last.high) and piece.is_high_in:
            joined[-1] = Piece(last.low, last.is_low_in, last.high, True)
    return joined


def _complement(pieces: list[Piece]) -> list[Piece]:
    gaps, low, is_in = [], -_inf(), False
    for piece in pieces:
        if piece.low > low or (piece.low == low and is_in and not piece.is_low_in):
            gaps.append(Piece(low, is_in, piece.low, not piece.is_low_in and abs(piece.low) != _inf()))
        low, is_in = piece.high, not piece.is_high_in
    if low < _inf():
        gaps.append(Piece(low, is_in, _inf(), False))
    return gaps


def _intersect(left: list[Piece], right: list[Piece]) -> list[Piece]:
    common = []
    for a in left:
        for b in right:
            low, low_in = max((a.low, not a.is_low_in), (b.low, not b.is_low_in))
            high, high_in = min((a.high, a.is_high_in), (b.high, b.is_high_in))
            if low < high or (low == high and not low_in and high_in):
                common.append(Piece(low, not low_in, high, high_in))
    return common


def _from_inequality(sides: tuple[Node, ...], ops: tuple[str, ...]) -> list[Piece] | None:
    """x > 5, -2 <= x < 7, x != 5: one bare variable, numbers around it."""
    names = [at for at, side in enumerate(sides) if isinstance(side, Sym)]
    if len(names) != 1 or any(op not in _COMPARING for op in ops):
        return None
    solutions = [Piece(-_inf(), False, _inf(), False)]
    for at, op in enumerate(ops):
        if names[0] not in (at, at + 1):
            return None
        bound = _end(sides[at + 1] if names[0] == at else sides[at])
        if names[0] == at + 1:
            op = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(op, op)
        solutions = _intersect(solutions, _half_line(bound, op))
    return solutions


def _from_builder(head: Sym | Relation, conditions: tuple[Node, ...]) -> list[Piece] | None:
    """The reals that meet all conditions, each of them on the head's variable."""
    variable = head if isinstance(head, Sym) else head.sides[0]
    solutions = [Piece(-_inf(), False, _inf(), False)]
    for condition in conditions:
        pieces = _pieces(condition) if isinstance(condition, Relation) and variable in condition.sides else None
        if pieces is None:
            return None
        solutions = _intersect(solutions, pieces)
    return solutions


def _from_system(items: tuple[Node, ...]) -> list[Piece] | None:
    """Inequalities of one variable, joined by `and` where that leaves anything and `or` says nothing, by `or` where
    `and` leaves nothing; else nobody knows."""
    solution_sets = [pieces for item in items if (pieces := _pieces(item)) is not None]
    variables = {side for item in items if isinstance(item, Relation) for side in item.sides if isinstance(side, Sym)}
    if len(solution_sets) < len(items) or len(variables) != 1:
        return None
    both, either = solution_sets[0], _joined([piece for pieces in solution_sets for piece in pieces])
    for pieces in solution_sets[1:]:
        both = _intersect(both, pieces)
    if not both:
        return either
    return both if either == [Piece(-_inf(), False, _inf(), False)] else None


def _half_line(bound, op: str) -> list[Piece]:
    match op:
        case "<" | "<=":
            return [Piece(-_inf(), False, bound, op == "<=")]
        case ">" | ">=":
            return [Piece(bound, op == ">=", _inf(), False)]
    return [Piece(-_inf(), False, bound, False), Piece(bound, False, _inf(), False)]
