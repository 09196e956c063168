"""Decides whether an answer agrees with the gold one: the first rule that knows both types does, else their values.

The gold decides what is asked for, so the rules are not symmetrical: a gold `x = 5` accepts 5 and a gold inequality
accepts the interval; a gold interval accepts no inequality, which may restate the problem.
"""

import re
from types import NotImplementedType

from r1lab_verifiers.math.agree.conventions import Agree, Conventions, Ruling
from r1lab_verifiers.math.agree.measures import measures
from r1lab_verifiers.math.agree.members import matrices, members
from r1lab_verifiers.math.agree.statements import sets, statements
from r1lab_verifiers.math.prove.value import equal
from r1lab_verifiers.math.read.answer import read
from r1lab_verifiers.math.read.tree import (
    ChosenOption,
    Const,
    Node,
    Num,
    Prose,
    Relation,
    Seq,
    Sym,
    Text,
    TimeOfDay,
    neg,
)
from r1lab_verifiers.math.read.words import words
from r1lab_verifiers.text.denial import is_unclaimed

MAX_SENTENCE_CHARACTERS = 300
_WORDS = Text | ChosenOption | TimeOfDay | Prose
# " has the lowest"; not " and bob"
_VERB = re.compile(r" (?:has|had|was|is the|is a|will|wins|won|gets|got|did|does|pays|paid|should|can)\b")
# " the capital of france"; not " texas"
_APPOSITION = re.compile(r"[ ,](?:the|an?|which|who|because|since|as)\s")
# "it is ", "the day is"; not "it is not "
_COPULA = re.compile(
    r"\A(?:it|this|that|so|thus|therefore|hence|then|the|[a-z', ]{0,60}) ?(?:is|was|are|be|by|on)(?: the| an?)? \Z"
)
_SERIES = r"\A(?:[a-z]+,? )?(?:(?:it|this|the|series|sequence|sum|integral|limit|improper) )+"
_SAYINGS = {
    # "so there is no real solution"; not "there is no solution in this book"
    "no solution": re.compile(
        r"(?:\b(?:has|have|had|having|is|are|with|there's)|\A|,) ?(?:no|zero) "
        r"(?:(?:real|integer|such|valid|possible) )*(?:solutions?|roots?)(?: exists?)?\Z"
    ),
    # "it is undefined"; not "it is well defined"
    "undefined": re.compile(r"\b(?:is|are) (?:undefined|not defined)\Z|\b(?:does not|doesn't) exist\Z"),
    # "there are infinitely many solutions"; not "infinitely small"
    "infinity": re.compile(
        r"(?<!not )(?<!n't )\binfinitely many(?: [a-z]+){0,3}\Z"
        r"|\b(?:is|are) (?:infinite|infinity)\Z|\bdiverges? to infinity\Z"
    ),
    # "it is all real numbers"; not "not all real numbers"
    "all real numbers": re.compile(r"\b(?:is|are|for|by) all (?:real numbers|reals|real values?(?: of [a-z])?)\Z"),
    # "the series diverges"; not "it never diverges"
    "diverges": re.compile(_SERIES + r"(?:diverges|is divergent)\Z"),
    # "so the integral converges"; not "it converges to 2"
    "converges": re.compile(_SERIES + r"(?:converges|is convergent)\Z"),
    # "the statement is true"; not "x is true"
    "yes": re.compile(r"\A(?:(?!not|never|if|neither)[a-z]{2,}[, ]+){1,6}is (?:true|correct)\Z"),
    # "the statement is not true"; not "it is wrong"
    "no": re.compile(r"\A(?:(?!not|never|if|neither)[a-z]{2,}[, ]+){1,6}is (?:false|not true|not correct|incorrect)\Z"),
}
"""Sentences that say what stands for several words."""
# "tuesday is wrong"; not "wrongdoing"
_TAKEN_BACK = re.compile(r"\b(?:not|wrong|incorrect|but|or|maybe|perhaps|neither|nor|unless|never|cannot)\b|n't\b|\?")


def agree(gold: Node, other: Node, conventions: Conventions) -> bool | None:
    """True, False, or None where numbers agree and nothing proves it."""
    if isinstance(gold, Num) and isinstance(other, Num):  # most are
        return equal(gold, other, conventions.tolerance)
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
        case Text(wanted), Text(given):
            return wanted == given or _says(given, wanted)
        case ChosenOption(letter, text), ChosenOption(given, given_text):
            return letter == given and (not text or not given_text or _same_text(text, given_text, conventions, agree))
        case ChosenOption(letter, _), Text(word) if len(word) == 1:
            return letter == word.upper()
        case Prose(said, parts), Prose(given, given_parts):
            return said == given and all(
                agree(a, b, conventions) is True for a, b in zip(parts, given_parts, strict=True)
            )
        case Prose(), Relation() | Seq():
            return False
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
        case Text("yes" | "no" as name), Relation():
            return _truth(other) is (name == "yes")
    if isinstance(gold, _WORDS) or isinstance(other, _WORDS):
        return False
    return NotImplemented


def _same_text(wanted: str, given: str, conventions: Conventions, agree: Agree) -> bool:
    """Whether two options' texts are the same words, or mean the same."""
    if words(wanted) == words(given):
        return True
    return any(agree(a, b, conventions) is True for a in read(wanted) for b in read(given))


def _says(given: str, wanted: str) -> bool:
    """Whether a sentence gives a gold of few words: `maria has the lowest score`, `it is tuesday`."""
    if len(given) > MAX_SENTENCE_CHARACTERS:
        return False
    if pattern := _SAYINGS.get(wanted):
        said = pattern.search(given)
        return said is not None and not is_unclaimed(given[: said.start() + 1]) and "?" not in given
    # "it is not monday but tuesday"; not "it is not only monday but tuesday"
    given = re.sub(r"\bnot (?!only)[a-z]{1,20}(?: [a-z]{1,20})? but (?:rather )?", "", given)
    if _TAKEN_BACK.search(given) or len(wanted.split()) > 3 or len(wanted) < 3 or wanted in ("yes", "no"):
        return False
    rest = given.removeprefix(wanted)
    if rest != given and (_VERB.match(rest) or _APPOSITION.match(rest)):
        return True
    before = given.removesuffix(wanted)
    return before != given and _COPULA.search(before) is not None and not is_unclaimed(before)


def _is_all_reals(node: Node) -> bool:
    match node:
        case Seq("tuple", (low, high), "()"):
            return low == neg(Const("oo")) and high == Const("oo")
        case Relation((_, Sym("R")), ("in",)) | Sym("R"):
            return True
    return False


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
