"""Whether two answers agree, by their types. The gold decides what is asked for, so the rules are not symmetrical: a gold
`x = 5` accepts 5 and a gold inequality accepts the interval, a gold interval accepts no inequality (it may restate the
problem)."""

from dataclasses import dataclass

from verifiers.math import relations, units
from verifiers.math.realset import real_set, same_pieces
from verifiers.math.tree import (
    Add,
    Based,
    Call,
    Choice,
    Clock,
    Const,
    Matrix,
    Mul,
    Node,
    Num,
    Percent,
    Pow,
    Quantity,
    Ratio,
    Relation,
    Seq,
    SetOp,
    Sym,
    Text,
    children,
    contains,
    div,
    mul,
    neg,
    rebuild,
)
from verifiers.math.value import equal
from verifiers.math.words import words

MAX_MEMBERS = 200


@dataclass(frozen=True)
class Conventions:
    """What the conventions of A5 leave open; the defaults are those of the public labels."""

    percent: str = "both"
    lists: str = "unordered"
    inequality_for_interval: bool = False
    tolerance: float = 0.0


def agree(gold: Node, other: Node, by: Conventions) -> bool | None:
    """True, False, or None where numbers agree and nothing proves it."""
    if gold == other and not isinstance(other, Relation):
        return True
    for rule in (_words, _wrapped, _relations, _sets, _members, _matrices):
        found = rule(gold, other, by)
        if found is not NotImplemented:
            return found
    return equal(gold, other, by.tolerance)


def _words(gold: Node, other: Node, by: Conventions):
    match gold, other:
        case Text(), Text():
            return gold.words == other.words
        case Choice(letter, text), Choice(given, given_text):
            return letter == given and (not text or not given_text or words(text) == words(given_text))
        case Choice(_, text), Text(given):
            return bool(text) and words(text).words == given
        case (_, Choice(_, text)) if text and not isinstance(gold, Choice):
            from verifiers.math.answer import read

            return any(agree(gold, each, by) is True for each in read(text))
        case Clock(minutes, marked), Clock(given, given_marked):
            return minutes == given or (
                not (marked and given_marked) and (minutes - given) % 720 == 0 and (marked or given_marked)
            )
        case Text(name), _ if name in ("infinity", "no solution", "all real numbers"):
            return _same_meaning(name, other)
        case _, Text(name) if name in ("infinity", "no solution", "all real numbers"):
            return _same_meaning(name, gold)
        case Text(name), Relation():
            return _truth(other) is (name == "true") if name in ("true", "false") else False
    if isinstance(gold, Text | Choice | Clock) or isinstance(other, Text | Choice | Clock):
        return False
    return NotImplemented


def _same_meaning(name: str, node: Node) -> bool:
    match name:
        case "infinity":
            return node == Const("oo")
        case "no solution":
            return node == Seq("set", ())
    return node == Sym("R") or (isinstance(node, Relation) and node.ops == ("in",) and node.sides[1] == Sym("R"))


def _truth(node: Relation) -> bool | None:
    """Of a statement about finite sets."""
    sides = tuple(side.items if isinstance(side, Seq) and side.kind == "set" else (side,) for side in node.sides)
    match (*sides, *node.ops):
        case (left, right, op):
            inside = all(any(equal(a, b) for b in right) for a in left)
            around = all(any(equal(a, b) for b in left) for a in right)
            return {"subseteq": inside, "supseteq": around, "subset": inside, "supset": around}.get(op)
    return None


def _wrapped(gold: Node, other: Node, by: Conventions):
    """Units, percent signs, bases, ratios."""
    match gold, other:
        case Quantity(value, unit), Quantity(given, other_unit):
            return False if units.clash(unit, other_unit) else agree(value, given, by)
        case Quantity(value, _), _:
            return agree(value, other, by)
        case _, Quantity(given, _):
            return agree(gold, given, by)
        case Percent(value), Percent(given):
            return agree(value, given, by)
        case (Percent(value), _) | (_, Percent(value)) if not isinstance(gold, Relation | Seq) and not isinstance(
            other, Relation | Seq
        ):
            plain = other if isinstance(gold, Percent) else gold
            share = div(value, Num(_hundred()))
            tries = {"both": (share, value), "share": (share,), "number": (value,)}[by.percent]
            pairs = [(each, plain) if isinstance(gold, Percent) else (plain, each) for each in tries]
            return any(agree(left, right, by) is True for left, right in pairs)
        case Based(digits, base), Based(given, other_base):
            return base == other_base and digits.lstrip("0") == given.lstrip("0")
        case Ratio(parts), Ratio(given):
            return (
                len(parts) == len(given)
                and _is_counted(parts)
                and _is_counted(given)
                and all(equal(mul(parts[0], b), mul(given[0], a)) is True for a, b in zip(parts, given))
            )
        case Ratio((top, bottom)), _ if not isinstance(other, Relation | Seq):
            return equal(div(top, bottom), other)
        case _, Ratio((top, bottom)) if not isinstance(gold, Relation | Seq):
            return equal(gold, div(top, bottom))
    if isinstance(gold, Based | Ratio) and not isinstance(other, Relation | Seq):
        return False
    return False if isinstance(other, Based) and not isinstance(gold, Relation | Seq) else NotImplemented


def _is_counted(parts: tuple[Node, ...]) -> bool:
    """A ratio with a zero in it is none (12:00)."""
    return not any(isinstance(part, Num) and part.value == 0 for part in parts)


def _hundred():
    from fractions import Fraction

    return Fraction(100)


def _relations(gold: Node, other: Node, by: Conventions):
    if isinstance(gold, Seq) and gold.kind != "tuple" and len(gold.items) > 1 and isinstance(other, Seq | Relation):
        return NotImplemented
    if isinstance(gold, Relation) and isinstance(other, Relation):
        return _both(gold, other, by)
    if isinstance(gold, Relation):
        return _gold_relation(gold, other, by)
    if not isinstance(other, Relation):
        return NotImplemented
    if other.ops == ("in",):
        return agree(gold, other.sides[1], by)
    if relations.is_equation(other):
        value = relations.stated_value(other)
        return False if value is None else agree(gold, value, by)
    if (
        by.inequality_for_interval
        and (pieces := real_set(other)) is not None
        and (wanted := real_set(gold)) is not None
    ):
        return same_pieces(wanted, pieces)
    return False


def _gold_relation(gold: Relation, other: Node, by: Conventions):
    """A gold `x = 5` accepts 5; `x in A` accepts A; an inequality accepts its interval."""
    if isinstance(other, Seq) and other.kind == "list":
        if _expanded(gold) != (gold,):
            return NotImplemented
        return False
    if gold.ops == ("in",):
        return agree(gold.sides[1], other, by)
    if relations.is_equation(gold):
        if len(gold.sides) == 2 and not relations.is_head(gold.sides[0]):
            return False
        return agree(gold.sides[-1], other, by)
    wanted, given = real_set(gold), real_set(other)
    return wanted is not None and given is not None and same_pieces(wanted, given)


def _both(gold: Relation, other: Relation, by: Conventions):
    if relations.is_equation(gold) and relations.is_equation(other):
        if len(other.sides) > 2:
            value = relations.stated_value(other)
            return value is not None and agree(gold, Relation((other.sides[0], value), ("=",)), by)
        if len(gold.sides) > 2:
            return agree(Relation((gold.sides[0], gold.sides[-1]), ("=",)), other, by)
        if _is_assignment(gold) and _is_assignment(other) and agree(gold.sides[0], other.sides[0], by):
            return agree(gold.sides[1], other.sides[1], by)
        return relations.same_equation(gold, other)
    if gold == other:
        return True
    if "in" in (*gold.ops, *other.ops) or (
        len(gold.sides) == 2 and gold.sides[1:] and isinstance(gold.sides[1], Seq | SetOp)
    ):
        return _membership(gold, other, by)
    if (wanted := real_set(gold)) is not None and (given := real_set(other)) is not None:
        return _names(gold) == _names(other) and same_pieces(wanted, given)
    if len(gold.sides) == len(other.sides) == 2 and gold.ops[0] in "<= >= !=" and other.ops[0] in "<= >= !=":
        return relations.same_inequality(gold, other)
    forward = gold.ops == other.ops and all(equal(a, b) is True for a, b in zip(gold.sides, other.sides))
    return forward or _reversed(gold, other)


def _reversed(gold: Relation, other: Relation) -> bool:
    turned = tuple({"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(op, op) for op in reversed(other.ops))
    return (
        gold.ops == turned
        and len(gold.sides) == len(other.sides)
        and all(equal(a, b) is True for a, b in zip(gold.sides, reversed(other.sides)))
    )


def _names(node: Relation) -> set:
    return {side.name for side in node.sides if isinstance(side, Sym)}


def _is_assignment(node: Relation) -> bool:
    return relations.is_head(node.sides[0])


def _membership(gold: Relation, other: Relation, by: Conventions):
    """x in A, x = {1, 2, 3} and inequalities of the same variable."""
    if len(gold.sides) != 2 or len(other.sides) != 2:
        return False
    if gold.sides[0] != other.sides[0] or not {*gold.ops, *other.ops} <= {"in", "="}:
        if other.ops == ("in",) and not relations.is_equation(gold):
            wanted, given = real_set(gold), real_set(other)
            return wanted is not None and given is not None and same_pieces(wanted, given)
        return False
    return agree(gold.sides[1], other.sides[1], by)


def _sets(gold: Node, other: Node, by: Conventions):
    """Unions, intersections, intervals with numbers at their ends."""
    if not (isinstance(gold, SetOp) or isinstance(other, SetOp)):
        return NotImplemented
    wanted, given = real_set(gold), real_set(other)
    if wanted is not None and given is not None:
        return same_pieces(wanted, given)
    if isinstance(gold, SetOp) and isinstance(other, SetOp) and gold.op == other.op:
        straight = agree(gold.left, other.left, by) and agree(gold.right, other.right, by)
        return straight or (
            gold.op != "setminus" and bool(agree(gold.left, other.right, by) and agree(gold.right, other.left, by))
        )
    return False


def _members(gold: Node, other: Node, by: Conventions):
    """Lists, sets and tuples."""
    gold, other = _as_members(gold), _as_members(other)
    if not isinstance(gold, Seq) and not isinstance(other, Seq):
        return NotImplemented
    if isinstance(other, Seq) and not isinstance(gold, Seq):
        if isinstance(gold, Matrix):
            return NotImplemented
        return agree(gold, other.items[0], by) if len(other.items) == 1 and other.kind != "list" else False
    if not isinstance(other, Seq):
        if isinstance(other, Matrix):
            return NotImplemented
        return agree(gold.items[0], other, by) if len(gold.items) == 1 else False
    if max(len(gold.items), len(other.items)) > MAX_MEMBERS or len(gold.items) != len(other.items):
        return False
    if "tuple" in (gold.kind, other.kind):
        if "set" in (gold.kind, other.kind) or not _same_brackets(gold, other):
            return False
        return _all(agree(a, b, by) for a, b in zip(gold.items, other.items))
    ordered = by.lists == "ordered" and gold.kind == other.kind == "list"
    if ordered or any(item == Sym("...") for item in gold.items):
        return _all(agree(a, b, by) for a, b in zip(gold.items, other.items))
    return _matched(gold.items, other.items, by)


def _as_members(node: Node) -> Node:
    items = _expanded(node)
    if isinstance(node, Seq) and node.kind == "tuple":
        return node
    if len(items) > 1 or isinstance(node, Seq):
        return Seq(node.kind if isinstance(node, Seq) else "list", items)
    return node


def _expanded(node: Node) -> tuple[Node, ...]:
    """Members with both signs of every plus-or-minus written out."""
    if isinstance(node, Seq) and node.kind != "tuple":
        return tuple(each for item in node.items for each in _expanded(item))
    if not contains(node, lambda each: isinstance(each, Call) and each.name in ("pm", "mp")):
        return (node,)
    return (_signed(node, False), _signed(node, True))


def _signed(node: Node, is_lower: bool) -> Node:
    parts = [_signed(part, is_lower) for part in children(node)]
    if isinstance(node, Call) and node.name in ("pm", "mp"):
        return neg(parts[0]) if is_lower == (node.name == "pm") else parts[0]
    return rebuild(node, parts) if parts else node


def _same_brackets(gold: Seq, other: Seq) -> bool:
    if gold.kind != other.kind:
        return True  # a bare list may leave a tuple's brackets out
    return gold.brackets == other.brackets or (len(gold.items) > 2 and {gold.brackets, other.brackets} <= {"()", "[]"})


def _matched(left: tuple[Node, ...], right: tuple[Node, ...], by: Conventions) -> bool | None:
    """Each member of one is a member of the other; members that only look alike leave it undecided."""
    rest, is_proved = list(right), True
    for item in left:
        found = [(at, agree(item, each, by)) for at, each in enumerate(rest)]
        at = next(
            (at for at, verdict in found if verdict), next((at for at, verdict in found if verdict is None), None)
        )
        if at is None:
            return False
        is_proved &= dict(found)[at] is True
        del rest[at]
    return True if is_proved else None


def _all(verdicts) -> bool | None:
    seen = list(verdicts)
    return False if False in seen else None if None in seen else True


def _matrices(gold: Node, other: Node, by: Conventions):
    gold, other = _vector(gold, other), _vector(other, gold)
    if not (isinstance(gold, Matrix) and isinstance(other, Matrix)):
        return NotImplemented
    if [len(row) for row in gold.rows] != [len(row) for row in other.rows]:
        return False
    return _all(agree(a, b, by) for left, right in zip(gold.rows, other.rows) for a, b in zip(left, right))


def _vector(node: Node, like: Node) -> Node:
    """A tuple as the row or column that the other one is."""
    if isinstance(node, Seq) and node.kind in ("tuple", "list") and isinstance(like, Matrix):
        if all(len(row) == 1 for row in like.rows):
            return Matrix(tuple((item,) for item in node.items))
        if len(like.rows) == 1:
            return Matrix((node.items,))
    return node


__all__ = ["Add", "Conventions", "Mul", "Pow", "agree"]
