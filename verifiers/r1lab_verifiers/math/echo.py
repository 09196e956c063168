"""Says whether an answer only puts the problem's own formula once more: `x^2 - 4` where that was to be factored.

Form only. A formula of the problem is an answer where the gold is written in the same way, as one of several that were
offered is.
"""

import re
from functools import lru_cache

from r1lab_verifiers.math.prove.exact import rational
from r1lab_verifiers.math.read.answer import formula_readings
from r1lab_verifiers.math.read.clean import clean
from r1lab_verifiers.math.read.sentence import formulas
from r1lab_verifiers.math.read.tree import Mul, Node, Num, Percent, Pow, Quantity, Relation, Sym, Text, TooBig

MAX_PROMPT_CHARACTERS, MAX_FORMULAS, MAX_FORMULA_CHARACTERS = 20_000, 40, 500
"""Of a problem's text, from its end, that is looked at for formulas."""
# "Express ... as a fraction"; not "the expression"
_REWRITE = re.compile(
    r"\b(?:convert|express|write|rewrite|simplify|reduce|terminating|common fraction|decimal)\b", re.IGNORECASE
)


def is_echo(reading: Node, gold: Node, prompt: str | tuple[dict[str, str], ...]) -> bool:
    """Whether the reading is a formula of the problem's, and the gold has another form."""
    if not prompt or _same_form(reading, gold):
        return False
    text = prompt if isinstance(prompt, str) else str(prompt[-1].get("content", ""))
    text = text[-MAX_PROMPT_CHARACTERS:]
    if _is_ratio(_bare(reading)) and not (_is_ratio(_bare(gold)) and _REWRITE.search(text)):
        return False  # a number of the problem's may be the answer
    return not isinstance(reading, Sym | Text) and reading in _formulas(text)


def _same_form(reading: Node, gold: Node) -> bool:
    return reading == gold or _bare(reading) == _bare(gold)


def _bare(node: Node) -> Node:
    """Without a unit, and without what names it."""
    match node:
        case Relation((Sym(), *_, last), ops) if set(ops) <= {"="}:
            return _bare(last)
        case Quantity(value, _) | Percent(value):
            return value
    return node


def _is_ratio(node: Node) -> bool:
    """Whether it is a number or a plain fraction, with its sign."""
    match node:
        case Num() | Mul((Num(), Pow(Num(), Num()))):
            return True
        case Mul((Num(), inner)):
            return _is_ratio(inner)
    return False


@lru_cache(maxsize=256)
def _formulas(text: str) -> frozenset[Node]:
    """What the formulas of a problem may mean, and of equations their sides that are numbers."""
    found = set()
    for piece in formulas(text)[-MAX_FORMULAS:]:
        if len(piece.text) <= MAX_FORMULA_CHARACTERS:
            for node in formula_readings(clean(piece.text)):
                sides = node.sides if isinstance(node, Relation) else ()
                found.update((node, *(side for side in sides if _is_number(side))))
    return frozenset(found)


def _is_number(node: Node) -> bool:
    try:
        return rational(node) is not None
    except (TooBig, ZeroDivisionError):
        return False
