"""Compares relations and sets of reals: what a gold equation, inequality, membership or union accepts.

`agree` compares what the sides are; when an equation is the same up to a factor is `relations`' to say."""

from functools import reduce

from r1lab_verifiers.math.agree import relations
from r1lab_verifiers.math.agree.conventions import Agree, Conventions, Ruling
from r1lab_verifiers.math.agree.members import expanded
from r1lab_verifiers.math.agree.realset import is_inequality, real_set, same_pieces
from r1lab_verifiers.math.prove.value import equal
from r1lab_verifiers.math.read.tree import Builder, Node, Relation, Seq, SetOp, Sym


def statements(gold: Node, other: Node, conventions: Conventions, agree: Agree) -> Ruling:
    """At least one is a relation."""
    golds, others = relations.approximated(gold), relations.approximated(other)
    if (golds, others) != ((gold,), (other,)):
        return any(agree(one, each, conventions) is True for one in golds for each in others)
    if (same := _same_names(gold, other, conventions, agree)) is not None:
        return same
    if isinstance(gold, Relation) and isinstance(other, Relation):
        return _both(gold, other, conventions, agree)
    if isinstance(gold, Relation):
        return _gold_relation(gold, other, conventions, agree)
    if not isinstance(other, Relation):
        return NotImplemented
    if is_inequality(other):
        return _same_set(gold, other) if conventions.inequality_for_interval or _states(gold) else False
    value = other.sides[1] if other.ops == ("in",) else None
    if relations.is_equation(other):
        value = relations.stated_value(other)
    is_list = isinstance(gold, Seq) and gold.kind == "list" and len(gold.items) > 1
    if is_list and not (isinstance(value, Seq) or expanded(value or other) != (value or other,)):
        return NotImplemented  # x = 3 for 3, 5: a member too few, or one with both signs
    return False if value is None else agree(gold, value, conventions)


def _same_names(gold: Node, other: Node, conventions: Conventions, agree: Agree) -> bool | None:
    """(p, q) = (5, 3) beside p = 5, q = 3: whether each name has its value; None where the gold has none."""
    wanted = relations.named_values(gold) if isinstance(gold, Relation) else None
    if wanted is None or not all(map(relations.is_head, wanted)):
        return None
    given = relations.named_values(other)
    if given is not None:
        return wanted.keys() == given.keys() and all(agree(wanted[name], given[name], conventions) for name in wanted)
    assert isinstance(gold, Relation)
    return bool(agree(gold.sides[1], other, conventions)) if isinstance(other, Seq) else False


def sets(gold: Node, other: Node, conventions: Conventions, agree: Agree) -> Ruling:
    """Unions, set-builders, systems of inequalities: as pieces of the real line where ends are numbers."""
    if not any(isinstance(each, SetOp | Builder) or each == Sym("R") or _is_system(each) for each in (gold, other)):
        return NotImplemented
    if isinstance(gold, SetOp) and gold.op == "cup":
        other = _union(other)
    if _is_system(other) and not (_states(gold) or conventions.inequality_for_interval):
        return False
    if (same := _same_set(gold, other)) is not None:
        return same
    match gold, other:
        case SetOp(op, left, right), SetOp(given, first, second):
            straight = op == given and agree(left, first, conventions) and agree(right, second, conventions)
            turned = op == given != "setminus" and agree(left, second, conventions) and agree(right, first, conventions)
            return bool(straight or turned)
        case Builder(head, conditions), Builder(given, given_conditions):
            return head == given and bool(agree(Seq("list", conditions), Seq("list", given_conditions), conventions))
    return False if isinstance(gold, SetOp | Builder) or isinstance(other, SetOp | Builder) else NotImplemented


def _union(node: Node) -> Node:
    """A list of intervals as what they cover; anything else as it is."""
    if not isinstance(node, Seq) or node.kind != "list" or len(node.items) < 2:
        return node
    if not all(isinstance(item, Seq) and item.kind == "tuple" and len(item.items) == 2 for item in node.items):
        return node
    return reduce(lambda left, right: SetOp("cup", left, right), node.items)


def _is_system(node: Node) -> bool:
    return isinstance(node, Seq) and is_inequality(node)


def _states(node: Node) -> bool:
    """Whether it is put as inequalities, so that others may be."""
    if isinstance(node, SetOp):
        return _states(node.left) and _states(node.right)
    return isinstance(node, Builder) or is_inequality(node)


def _same_set(gold: Node, other: Node) -> bool | None:
    """None where one of them is no set of reals that is known."""
    wanted, given = real_set(gold), real_set(other)
    return None if wanted is None or given is None else same_pieces(wanted, given)


def _gold_relation(gold: Relation, other: Node, conventions: Conventions, agree: Agree) -> Ruling:
    """A gold `x = 5` accepts 5; `x in A` accepts A; an inequality accepts its interval."""
    if is_inequality(gold):
        if _is_system(other) and _names(gold) != _names(other):
            return False
        return bool(_same_set(gold, other))
    if gold.ops == ("in",):
        return agree(gold.sides[1], other, conventions)
    if isinstance(other, Seq) and other.kind == "list":
        return NotImplemented if expanded(gold) != (gold,) else False
    is_chain = len(gold.sides) > 2
    if relations.is_equation(gold) and (is_chain or relations.is_head(gold.sides[0])):
        return agree(gold.sides[-1], other, conventions)
    return False


def _both(gold: Relation, other: Relation, conventions: Conventions, agree: Agree) -> Ruling:
    if relations.is_equation(gold) and relations.is_equation(other):
        return _equations(gold, other, conventions, agree)
    if gold == other:
        return True
    if "in" in (*gold.ops, *other.ops) or (len(gold.sides) == 2 and isinstance(gold.sides[1], Seq | SetOp)):
        return _membership(gold, other, conventions, agree)
    if (same := _same_set(gold, other)) is not None:
        return same and _names(gold) == _names(other)
    if len(gold.sides) == len(other.sides) == 2 and relations.is_comparison(gold) and relations.is_comparison(other):
        return not relations.is_solved(gold) and relations.same_inequality(gold, other)
    forward = gold.ops == other.ops and _same_sides(gold.sides, other.sides)
    return forward or (gold.ops == relations.flipped(other.ops) and _same_sides(gold.sides, other.sides[::-1]))


def _equations(gold: Relation, other: Relation, conventions: Conventions, agree: Agree) -> Ruling:
    is_other_chain = len(other.sides) > 2
    if is_other_chain:
        value = relations.stated_value(other)
        return value is not None and agree(gold, Relation((other.sides[0], value), ("=",)), conventions)
    is_chain = len(gold.sides) > 2
    if is_chain:
        return agree(Relation((gold.sides[0], gold.sides[-1]), ("=",)), other, conventions)
    if (same := relations.same_congruence(gold, other)) is not None:
        return same
    if all(map(relations.is_closed, gold.sides)):
        return relations.is_written_alike(gold, other)
    if relations.is_solved(gold):
        for name, value in (other.sides, other.sides[::-1]):
            if relations.is_head(name) and relations.same_head(gold.sides[0], name, agree, conventions):
                return agree(gold.sides[1], value, conventions)
        return relations.same_function(gold, other)
    return relations.same_equation(gold, other)


def _same_sides(left: tuple[Node, ...], right: tuple[Node, ...]) -> bool:
    return len(left) == len(right) and all(equal(a, b) is True for a, b in zip(left, right))


def _names(node: Node) -> set[str]:
    """Variables that are sides by themselves."""
    if isinstance(node, Relation):
        return {side.name for side in node.sides if isinstance(side, Sym)}
    return set().union(*map(_names, node.items)) if isinstance(node, Seq) else set()


def _membership(gold: Relation, other: Relation, conventions: Conventions, agree: Agree) -> Ruling:
    """x in A, x = {1, 2, 3}; an inequality accepts its variable in the interval, not the other way round."""
    if is_inequality(gold):
        return other.ops == ("in",) and other.sides[0] in gold.sides and bool(_same_set(gold, other))
    if len(gold.sides) != 2 or len(other.sides) != 2 or not {*gold.ops, *other.ops} <= {"in", "="}:
        return False
    return gold.sides[0] == other.sides[0] and agree(gold.sides[1], other.sides[1], conventions)
