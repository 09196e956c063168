"""Compares answers of several members: lists, sets, tuples, cases, matrices, both signs of a plus-or-minus.

Two members are compared by `agree`.
"""

from dataclasses import replace

from r1lab_verifiers.math.agree.conventions import Agree, Conventions, Ruling
from r1lab_verifiers.math.prove.value import equal
from r1lab_verifiers.math.read.tree import (
    Call,
    Matrix,
    Node,
    Quantity,
    Relation,
    Seq,
    Sym,
    children,
    contains,
    neg,
    rebuild,
    substitute,
    symbols,
)

MAX_MEMBERS = 200
_DOMAINS = tuple(map(Sym, "ZNRQC"))


def members(gold: Node, other: Node, conventions: Conventions, agree: Agree) -> Ruling:
    """Lists, sets and tuples."""
    if (bare := _without_domains(gold, other)) is not None:
        return agree(*bare, conventions)
    if not isinstance(other, Seq) and (same := _same_forms(gold)):
        return any(agree(form, other, conventions) is True for form in same)
    gold, other = _as_members(gold), _as_members(other)
    if isinstance(gold, Seq) and gold.kind == "tuple":
        other = _by_name(other)
    if not isinstance(gold, Seq):
        if not isinstance(other, Seq) or isinstance(gold, Matrix):
            return NotImplemented
        meant = [item for item in other.items if other.kind != "list" or not _leaves_out(item, gold)]
        is_several = other.kind == "list" and len(set(meant)) == len(meant) > 1
        if is_several and all(agree(gold, item, conventions) is True for item in meant):
            return True  # one value in several forms: 1/6 or 16.67 %
        return agree(gold, meant[0], conventions) if len(meant) == 1 else False
    if not isinstance(other, Seq):
        if isinstance(other, Matrix):
            return NotImplemented
        return agree(gold.items[0], other, conventions) if len(gold.items) == 1 else False
    other = _renamed(other, gold)
    if "set" in (gold.kind, other.kind):
        gold, other = _distinct(gold), _distinct(other)
    if max(len(gold.items), len(other.items)) > MAX_MEMBERS or len(gold.items) != len(other.items):
        return False
    if ("cases" in (gold.kind, other.kind)) and gold.kind != other.kind:
        return False
    if "tuple" in (gold.kind, other.kind):
        if "set" in (gold.kind, other.kind) or not _same_brackets(gold, other):
            return False
        return _all(agree(a, b, conventions) for a, b in zip(gold.items, other.items))
    ordered = conventions.lists == "ordered" and gold.kind == other.kind == "list"
    if ordered or any(item == Sym("...") for item in gold.items):
        return _all(agree(a, b, conventions) for a, b in zip(gold.items, other.items))
    return _matched(gold.items, other.items, conventions, agree)


def _same_forms(gold: Node) -> list[Node]:
    """The forms that a gold offers of one value, 90 degrees or pi/2; none where they are several values."""
    if not isinstance(gold, Seq) or gold.kind != "list" or len(gold.items) < 2:
        return []
    first, *others = gold.items
    if not all(equal(first, each) is True or equal(each, first) is True for each in others):
        return []
    degrees = [item.args[0] for item in gold.items if isinstance(item, Call) and item.name == "deg"]
    return [*gold.items, *(Quantity(value, "degree") for value in degrees)]


def _without_domains(gold: Node, other: Node) -> tuple[Node, Node] | None:
    """Both without `k in Z` behind one of them that the other leaves out; None where there is no such thing."""
    (wanted, names), (given, given_names) = _domains(gold), _domains(other)
    if bool(names) == bool(given_names):
        return None
    left_open = symbols(given) - symbols(wanted)
    if len(names) == 1 and len(left_open) == 1 and names <= symbols(wanted) and not names & symbols(given):
        given = substitute(given, next(iter(left_open)), Sym(next(iter(names))))
    return wanted, given


def _domains(node: Node) -> tuple[Node, frozenset[str]]:
    """A node without the domains of its parameters, and their names."""
    if not isinstance(node, Seq) or node.kind != "list" or len(node.items) < 2:
        return node, frozenset()
    first, *rest = node.items
    names = [name for item in rest if (name := _domain_of(item))]
    kept = tuple(item for item in rest if not _domain_of(item))
    if not names or not set(names) <= symbols(first):
        return node, frozenset()
    return Seq("list", (first, *kept)) if kept else first, frozenset(names)


def _domain_of(item: Node) -> str | None:
    """The parameter whose domain it says: k in Z."""
    match item:
        case Relation((Sym(name), inside), ("in",)) if inside in _DOMAINS:
            return name
    return None


def _leaves_out(item: Node, gold: Node) -> bool:
    """Whether it only says where the gold's own variable has no value: x != 1."""
    return (
        isinstance(item, Relation)
        and item.ops == ("!=",)
        and isinstance(item.sides[0], Sym)
        and symbols(item) == {item.sides[0].name} <= symbols(gold)
    )


def _renamed(other: Seq, gold: Seq) -> Seq:
    """The answer with the gold's name for the one integer that both leave open: 2 n pi, n in Z."""
    wanted, given = _open_integers(gold), _open_integers(other)
    if len(wanted) != 1 or len(given) != 1 or given[0] in symbols(gold) or wanted[0] in symbols(other):
        return other
    return replace(other, items=tuple(substitute(item, given[0], Sym(wanted[0])) for item in other.items))


def _open_integers(node: Seq) -> list[str]:
    return [
        item.sides[0].name
        for item in node.items
        if isinstance(item, Relation)
        and item.ops == ("in",)
        and isinstance(item.sides[0], Sym)
        and item.sides[1] == Sym("Z")
    ]


def _as_members(node: Node) -> Node:
    items = expanded(node)
    if isinstance(node, Seq) and node.kind in ("tuple", "cases"):
        return node
    if len(items) > 1 or isinstance(node, Seq):
        return Seq(node.kind if isinstance(node, Seq) else "list", items)
    return node


def _distinct(node: Seq) -> Seq:
    return Seq(node.kind, tuple(dict.fromkeys(node.items)), node.brackets)


def _by_name(node: Node) -> Node:
    """`y = 1, x = 2` in the order of its names, where these are neighbours in the alphabet."""
    if not isinstance(node, Seq) or node.kind != "list":
        return node
    name_of: dict[Node, str] = {
        item: item.sides[0].name
        for item in node.items
        if isinstance(item, Relation) and item.ops == ("=",) and isinstance(item.sides[0], Sym)
    }
    if len(name_of) < len(node.items) or "".join(sorted(name_of.values())) not in "abcdefghijklmnopqrstuvwxyz":
        return node
    return Seq("list", tuple(sorted(node.items, key=lambda item: name_of[item])))


def expanded(node: Node) -> tuple[Node, ...]:
    """Members with both signs of every plus-or-minus written out."""
    if isinstance(node, Seq) and node.kind in ("list", "set"):
        return tuple(each for item in node.items for each in (expanded(item) if _spreads(item) else (item,)))
    if not contains(node, lambda each: isinstance(each, Call) and each.name in ("pm", "mp")):
        return (node,)
    return (_signed(node, False), _signed(node, True))


def _spreads(item: Node) -> bool:
    """Whether a member stands for several: a set in a set is one."""
    return not isinstance(item, Seq) or item.kind in ("list", "tuple")


def _signed(node: Node, is_lower: bool) -> Node:
    parts = [_signed(part, is_lower) for part in children(node)]
    if isinstance(node, Call) and node.name in ("pm", "mp"):
        return neg(parts[0]) if is_lower == (node.name == "pm") else parts[0]
    return rebuild(node, parts) if parts else node


def _same_brackets(gold: Seq, other: Seq) -> bool:
    if gold.kind != other.kind:  # a bare list may leave a tuple's brackets out, not those of [0, 1)
        return (gold.brackets or other.brackets) in ("()", "[]")
    return gold.brackets == other.brackets or (len(gold.items) > 2 and {gold.brackets, other.brackets} <= {"()", "[]"})


def _matched(left: tuple[Node, ...], right: tuple[Node, ...], conventions: Conventions, agree: Agree) -> bool | None:
    """Each member of one is a member of the other; members that only look alike leave it undecided."""
    rest, is_proved = list(right), True
    for item in left:
        verdicts = [(at, agree(item, each, conventions)) for at, each in enumerate(rest)]
        at = next(
            (at for at, verdict in verdicts if verdict), next((at for at, verdict in verdicts if verdict is None), None)
        )
        if at is None:
            return False
        is_proved &= dict(verdicts)[at] is True
        del rest[at]
    return True if is_proved else None


def _all(verdicts) -> bool | None:
    seen = list(verdicts)
    return False if False in seen else None if None in seen else True


def matrices(gold: Node, other: Node, conventions: Conventions, agree: Agree) -> Ruling:
    """The rule for matrices, cell by cell; a tuple is the row or column that the other one is."""
    gold, other = _vector(gold, other), _vector(other, gold)
    if not (isinstance(gold, Matrix) and isinstance(other, Matrix)):
        return NotImplemented
    if [len(row) for row in gold.rows] != [len(row) for row in other.rows]:
        return False
    return _all(agree(a, b, conventions) for left, right in zip(gold.rows, other.rows) for a, b in zip(left, right))


def _vector(node: Node, like: Node) -> Node:
    """A tuple as the row or column that the other one is."""
    if isinstance(node, Seq) and node.kind in ("tuple", "list") and isinstance(like, Matrix):
        rows = [item.items for item in node.items if isinstance(item, Seq) and item.kind == "tuple"]
        if len(rows) == len(node.items):
            return Matrix(tuple(rows))
        if all(len(row) == 1 for row in like.rows):
            return Matrix(tuple((item,) for item in node.items))
        if len(like.rows) == 1:
            return Matrix((node.items,))
    return node
