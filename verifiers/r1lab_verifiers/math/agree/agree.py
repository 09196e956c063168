"""Decides whether an answer agrees with the gold one: the first rule that knows both types does, else their values.

The gold decides what is asked for, so the rules are not symmetrical: a gold `x = 5` accepts 5 and a gold inequality
accepts the interval; a gold interval accepts no inequality, which may restate the problem.
"""

from types import NotImplementedType

from r1lab_verifiers.math.agree.conventions import Agree, Conventions, Ruling
from r1lab_verifiers.math.agree.measures import measures
from r1lab_verifiers.math.agree.members import matrices, members
from r1lab_verifiers.math.agree.statements import sets, statements
from r1lab_verifiers.math.prove.value import equal
from r1lab_verifiers.math.read.answer import read
from r1lab_verifiers.math.read.tree import ChosenOption, Const, Node, Relation, Seq, Sym, Text, TimeOfDay, neg
from r1lab_verifiers.math.read.words import words


def agree(gold: Node, other: Node, conventions: Conventions) -> bool | None:
    """True, False, or None where numbers agree and nothing proves it."""
    if gold == other and not isinstance(other, Relation):
        return True
    for rule in RULES:
        ruling = rule(gold, other, conventions, agree)
        if not isinstance(ruling, NotImplementedType):
            return ruling
    return equal(gold, other, conventions.tolerance)


def _words(gold: Node, other: Node, conventions: Conventions, agree: Agree) -> Ruling:
    """The rule for words, options and times of day."""
    match gold, other:
        case Text(), Text():
            return gold.words == other.words
        case ChosenOption(letter, text), ChosenOption(given, given_text):
            return letter == given and (not text or not given_text or words(text) == words(given_text))
        case ChosenOption(_, text), _ if text:
            return any(agree(reading, other, conventions) is True for reading in read(text))
        case _, ChosenOption(_, text) if text:
            readings = read(text)
            if any(isinstance(reading, ChosenOption) for reading in readings):
                return False  # (A) B names two options
            return any(agree(gold, reading, conventions) is True for reading in readings)
        case TimeOfDay(minutes, marked), TimeOfDay(given, given_marked):
            half_day = (minutes - given) % 720 == 0 and marked != given_marked
            return minutes == given or half_day
        case (Text(name), node) | (node, Text(name)) if name in _MEANINGS:
            return _MEANINGS[name](node)
        case Text("true" | "false" as name), Relation():
            return _truth(other) is (name == "true")
    if isinstance(gold, Text | ChosenOption | TimeOfDay) or isinstance(other, Text | ChosenOption | TimeOfDay):
        return False
    return NotImplemented


def _is_all_reals(node: Node) -> bool:
    return node == Sym("R") or (isinstance(node, Relation) and node.ops == ("in",) and node.sides[1] == Sym("R"))


_MEANINGS = {
    "infinity": lambda node: node == Const("oo"),
    "negative infinity": lambda node: node == neg(Const("oo")),
    "no solution": lambda node: node == Seq("set", ()),
    "all real numbers": _is_all_reals,
}
"""Words that a formula may stand for."""


def _truth(node: Relation) -> bool | None:
    """Of a statement about finite sets."""
    if len(node.sides) != 2:
        return None
    left, right = (side.items if isinstance(side, Seq) and side.kind == "set" else (side,) for side in node.sides)
    inside = all(any(equal(a, b) for b in right) for a in left)
    around = all(any(equal(a, b) for b in left) for a in right)
    return {"subseteq": inside, "supseteq": around, "subset": inside, "supset": around}.get(node.ops[0])


RULES = (_words, measures, statements, sets, members, matrices)
