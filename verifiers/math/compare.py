"""Whether two answers agree, by their types. The gold decides what is asked for, so the rules are not symmetrical:
a gold
`x = 5` accepts 5 and a gold inequality accepts the interval, a gold interval accepts no inequality (it may restate the
problem)."""

from dataclasses import dataclass

from verifiers.math import relations, units
from verifiers.math.members import expanded, matrices, members
from verifiers.math.realset import real_set, same_pieces
from verifiers.math.tree import (
    Based,
    Choice,
    Clock,
    Const,
    Node,
    Num,
    Percent,
    Quantity,
    Ratio,
    Relation,
    Seq,
    SetOp,
    Sym,
    Text,
    div,
    mul,
)
from verifiers.math.value import equal
from verifiers.math.words import words


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
    for rule in (_words, _wrapped, _relations, _sets, members, matrices):
        found = rule(gold, other, by, agree) if rule in (members, matrices) else rule(gold, other, by)
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
        if expanded(gold) != (gold,):
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
    if not any(isinstance(each, SetOp) or each == Sym("R") for each in (gold, other)):
        return NotImplemented
    wanted, given = real_set(gold), real_set(other)
    if wanted is not None and given is not None:
        return same_pieces(wanted, given)
    if Sym("R") in (gold, other):
        return NotImplemented
    if isinstance(gold, SetOp) and isinstance(other, SetOp) and gold.op == other.op:
        straight = agree(gold.left, other.left, by) and agree(gold.right, other.right, by)
        return straight or (
            gold.op != "setminus" and bool(agree(gold.left, other.right, by) and agree(gold.right, other.left, by))
        )
    return False
