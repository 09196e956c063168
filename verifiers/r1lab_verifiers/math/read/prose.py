r"""Reads answers that are sentences with mathematics in them, and money.

A sentence comes down to a formula or number only where that is all it says. A gold one that says more keeps its words:
`max at $x=2$, min at $x=5$` is no answer 5.
"""

import re
from collections.abc import Callable, Sequence

from r1lab_verifiers.math.read.clean import clean
from r1lab_verifiers.math.read.hedges import denies, goes_on, is_no_unit
from r1lab_verifiers.math.read.sentence import SentencePart, is_name, pieces, weighty
from r1lab_verifiers.math.read.tree import Node, Prose, Quantity, Relation, Seq, Text
from r1lab_verifiers.math.read.units import measure
from r1lab_verifiers.math.read.words import unwrap, words

Reader = Callable[[str], list[Node]]
MAX_PARTS = 20
"""Formulas of one sentence."""
CURRENCIES = {"\\$": "usd", "\u20ac": "eur", "\u00a3": "gbp", "\u00a5": "jpy", "\u20b9": "inr", "\u00a2": "cent"}
# "\$5", "5\u00a2"; not "$x$"
_CURRENCY = re.compile(r"\\\$|[\u20ac\u00a3\u00a5\u20b9\u00a2]")
# "x, where x > 0"; not "x everywhere"
_QUALIFIED = re.compile(
    r"[,;]?\s+\(?(?:where|such that|with|for (?:all|any|every|each|some|which|integers?|real)"
    r"|(?:any|all|every) (?:integers?|real))\b"
)
"""What begins a remark behind an answer."""
# " (any k > 1 will do)"; not "(1, 2)"
_REMARK = re.compile(r"\s*\((?=[^()]*[A-Za-z]{2,}\s+[^()]*[A-Za-z])[^()]*\)\s*\.?\Z")
# "x + "; not "x + 1"
_JOINED_ON = re.compile(r"[-+*/^=<>(]\s*\Z")
"""Outside a formula, right before it: then it is not the whole answer."""
# ", and "; not ", so "
_BETWEEN = re.compile(r"[\s,;.]*(?:\b(?:and|or|und|et)\b|\\text\s*\{\s*(?:and|or)\s*\})?[\s,;]*", re.IGNORECASE)
# "The domain is", "we get:"; not "max at"
_LEAD_IN = re.compile(
    r"(?:[^.;:]{0,120}\b(?:is|are|equals?|be|has|have|was|were|of|get|as|by|to)\b|[A-Za-z ]{1,60})?[\s:=$(]*\Z",
    re.IGNORECASE,
)


# "The domain is [-2, 3]"; not "x^2 is 4"
_COPULA = re.compile(
    r"[A-Za-z' ,]{2,80}?\s(?:is|are|equals)\s*:?\s+(?:at\s+)?(?=[^\sA-Za-z]|[A-Za-z](?![A-Za-z']))(.+)\Z", re.DOTALL
)


def without_currency(text: str) -> tuple[str, str]:
    """The text without its sign of money, and the unit that it stands for; several different ones stay."""
    if "\\$" not in text and text.isascii():
        return text, ""
    signs = set(_CURRENCY.findall(text))
    if len(signs) != 1:
        return text, ""
    plain = _CURRENCY.sub(" ", text).strip()
    return plain, CURRENCIES[signs.pop()] if plain else ""


def with_currency(node: Node, unit: str) -> Node:
    """Each member as an amount of money, where it has no unit yet."""
    match node:
        case Seq(kind, items, brackets):
            return Seq(kind, tuple(with_currency(item, unit) for item in items), brackets)
        case Relation((*heads, last), ops):
            return Relation((*heads, with_currency(last, unit)), ops)
        case Text() | Prose():
            return node
        case Quantity(value, other):
            return node if measure(other) is not None else Quantity(value, unit)
    return Quantity(node, unit)


def from_prose(text: str, is_gold: bool, read_formula: Reader) -> list[Node]:
    """Prose with mathematics in it: its formulas where only `and` or commas are between, else its one number or last
    formula; of a gold only what all of it comes to; and then the words with what stands in them."""
    found = []
    if (copula := _COPULA.match(text)) and not denies(text[: copula.end()]):
        found = read_formula(clean(copula[1]))
    if not found and (chosen := _said(text, is_gold)):
        found = read_formula(chosen)
    return [*found, *(template(text, read_formula) if is_gold else ())]


def _said(text: str, is_gold: bool) -> str:
    """The text of the formulas that the prose comes down to; empty where it says more, or denies them."""
    if is_gold:
        text = _REMARK.sub("", text)
    found = pieces(text)
    if found and (remark := _QUALIFIED.search(text, found[0].end)):
        # "x > 0"; not "x real"
        if re.search("[0-9]", text[remark.start() :]):
            return ""  # a remark with numbers is part of the answer: then all of its words count
        text = text[: remark.start()]
        found = [piece for piece in found if piece.end <= len(text)]
    main = weighty(text, found) if not is_gold else [piece for piece in found if not is_name(piece)] or found
    if not main:
        return ""
    chosen = [main[-1]]
    for piece in reversed(main[:-1]):
        if not _BETWEEN.fullmatch(text[piece.end : chosen[0].start]):
            break
        chosen.insert(0, piece)
    before, after = text[: chosen[0].start], _without(text, chosen[-1].end, found)
    left = main[: -len(chosen)]
    if _JOINED_ON.search(before) or denies(before) or goes_on(after):
        return ""
    if left and (is_gold or not all(piece.is_formula for piece in main)):
        return ""
    if is_gold and not (_LEAD_IN.fullmatch(before) and _is_aside(after)):
        return ""
    return _joined(chosen, after)


def _without(text: str, start: int, all_pieces: Sequence[SentencePart]) -> str:
    """What stands behind, without the pieces in it: `after 12 years`."""
    kept, at = "", start
    for piece in all_pieces:
        if piece.start >= start:
            kept, at = kept + text[at : piece.start], piece.end
    return kept + text[at:]


def _is_aside(after: str) -> bool:
    """Whether what stands behind a gold formula takes nothing from it: a unit, a noun, a full stop."""
    plain = unwrap(after).strip(" .,;$)")
    return not plain or not is_no_unit(plain)


def _joined(chosen: list[SentencePart], after: str) -> str:
    parts = [clean(piece.text) for piece in chosen]
    # " cm."; not " per hour"
    unit = re.match(r"\s*([A-Za-z%]+)\s*[.]?\s*$", unwrap(after))
    if len(parts) == 1 and unit:
        parts[0] += f"\\text{{ {unit[1]} }}" if unit[1] != "%" else "%"
    elif len(parts) == 1 and (unit := re.match(r"\s*([A-Za-z]+)\b", after)) and measure(unit[1]) is not None:
        parts[0] += f"\\text{{ {unit[1]} }}"
    return ", ".join(parts)


def template(text: str, read_formula: Reader) -> list[Node]:
    """The words of a sentence with the readings of what stands in them; nothing where a formula cannot be read."""
    found = pieces(text)
    if not found or len(found) > MAX_PARTS:
        return []
    kept, at, parts = "", 0, []
    for piece in found:
        readings = read_formula(clean(piece.text))
        if not readings:
            return []
        parts.append(readings[0])
        kept, at = kept + text[at : piece.start] + " \x00 ", piece.end
    said = words(kept + text[at:])
    # "\x00 cm"; not "\x00"
    return [Prose(said.words, tuple(parts))] if re.search(r"[^\W_]", said.words) else []
