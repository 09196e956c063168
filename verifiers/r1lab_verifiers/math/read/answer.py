"""Parses the text of one answer into the trees it may mean: numbers, lists, units, ratios, choices, words.

Reads one answer, not a completion (`extract` finds the answer in that).

A text may have several readings (`1,234` is a number or two; `10 m` a length or a product). Two answers agree if any
pair of their readings does.
"""

import re
from fractions import Fraction
from functools import lru_cache

from r1lab_verifiers.math.read import names, units
from r1lab_verifiers.math.read.clean import clean
from r1lab_verifiers.math.read.grammar import AnswerParser
from r1lab_verifiers.math.read.hedges import is_no_unit, without_reserve
from r1lab_verifiers.math.read.prose import from_prose, template, with_currency, without_currency
from r1lab_verifiers.math.read.rewrites import rewritten
from r1lab_verifiers.math.read.tree import (
    Add,
    Based,
    Call,
    ChosenOption,
    Const,
    Mul,
    Node,
    Num,
    Percent,
    Quantity,
    Relation,
    Seq,
    Sym,
    Text,
    Unreadable,
    contains,
    div,
    neg,
)
from r1lab_verifiers.math.read.words import (
    calendar_date,
    choice,
    counted_in_words,
    numeral,
    several_letters,
    time_of_day,
    unwrap,
    words,
    yes_or_no,
)

MAX_ANSWER_BYTES = 4096
"""Bytes of one answer."""
MAX_KEPT = 16
"""Last texts whose trees are kept: most right answers are written as their golds are, which are read just before."""
# "-3.5"; not "1,234"
_PLAIN = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")
# "-\frac{3}{4}"; not "3/x"
_FRACTION = re.compile(r"(-?)(?:\\[dt]?frac\{([0-9]{1,18})\}\{([0-9]{1,18})\}|([0-9]{1,18})/([0-9]{1,18}))")
# "1,234"; not "1,23"
_THOUSANDS = re.compile(r"(?<![0-9.,])([1-9][0-9]{0,2})((?:,[0-9]{3})+)(?![0-9])(?!,[0-9])")
# "7, 425, 000"; not "1, 2"
_SPACED_THOUSANDS = re.compile(r"-?[1-9][0-9]{0,2}(?:, [0-9]{3})+")
# "3,14"; not "1,234"
_DECIMAL_COMMA = re.compile(
    r"(?<![0-9.,])(-?(?:0,[0-9]+|[0-9]{4,},[0-9]{1,2}|[0-9]{1,3},(?:[0-9]{2}|[0-9]{4,})))(?![0-9,])(?!\.[0-9])"
)


# "(1,5)"; not "1,5"
_BRACKET = re.compile(r"[(\[{;]")
# "(1,234)"; not "1,234"
_COMMA_INSIDE = re.compile(r"[(\[{][^)\]}]*,")
# "so \\(x\\)"; not "(3, \\(\\pi\\))"
_ASCII_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2}")
# "costs $5"; not "$x$"
_WORD = re.compile(r"(?<!\\)\b[^\W\d_]{2}")
# "1.234,5", "1\x1f234,5"; not "1.234"
_EUROPEAN = re.compile(r"-?[1-9][0-9]{0,2}(?:[.\x1f][0-9]{3})+,[0-9]+")
# "the date is "; not "the day after is "
_DATE_LEAD = re.compile(
    r"\A(?:so |thus |hence )?(?:it|this|the (?:date|day|answer))\s+(?:is|was|will be|falls on)\s+(?:on\s+)?",
    re.IGNORECASE,
)


# "(2)(3)"; not "(12)(x)"
_NUMBERED = re.compile(r"(?:\s*\([1-9]\)\s*){2,9}")
# "-3 1 4"; not "3 - 1"
_SPACED_LIST = re.compile(r"[-+]?[0-9][0-9./]*(?: +[-+]?[0-9][0-9./]*){1,60}")
# "7 425 000", "1 1/2"; not "-3 1 4"
_SPACED_GROUPS = re.compile(r"-?[0-9]{1,3}(?: [0-9]{3})+|-?[0-9]+ +[0-9]+/[0-9]+")
# "7\text{ min}", "10\pi\mathrm{~m}^2"; not "\text{min}"
_UNIT_IN_TEXT = re.compile(
    r"(?<=[0-9A-Za-z)}\]!])(?P<gap>\s*)\\(?:text|mathrm|mbox|textrm|hbox|textit|unit)\s*\{\s*(?P<unit>[^{}0-9]+?)\s*\}"
    r"(?P<power>\s*\^\s*\{?\s*-?[1-3]\s*\}?)?\s*\.?\Z"
)
# "1 egg", "3 pcs", "12 \u0441\u043c"; not "x egg"
_NOUN_BEHIND = re.compile(
    r"[-+]?[0-9][0-9.,]*(?:\s?/\s?[0-9]+)?(?P<gap>\s*)(?P<unit>(?:[A-Za-z]{3,}|[^\x00-\x7f])"
    r"(?:[A-Za-z .-]|[^\x00-\x7f]|/(?=[^0-9]))*)(?P<power>)"
)
_NO_NOUNS = names.WORD_FUNCTIONS - {"min", "sec", "deg"} | {
    "pi",
    "mod",
    "choose",
    "infty",
    "infinity",
    "percent",
    "dozen",
}
"""Behind a number they work on it."""
# "The answer is ", "Ans: "; not "answers"
_LABEL = re.compile(
    r"[\s*_#>\"']*(?:the\s+)?(?:final\s+)?(?:answers?|ans)[\s*_]*(?:\b(?:is|are)\b\s*:?|:|=>?|->)[\s*_]*(?:(?<=\n)[-\u2022+]\s+)?(?=\S)",
    re.IGNORECASE,
)


def read(text: str, is_gold: bool = False, in_prose: bool = True) -> tuple[Node, ...]:
    """What the text of one answer may mean, likeliest first; empty where it is empty. Never raises.

    in_prose: whether formulas are looked for among words.
    """
    if (number := _plain_number(text)) is not None:
        return (number,)
    text, currency = without_currency(text)
    plain = _uniform(text) if len(text) <= MAX_ANSWER_BYTES else ""
    if not plain:
        return ()
    unwrapped = unwrap(plain)
    if not is_gold and unwrapped.rstrip(" $*}").endswith("?"):
        return ()  # a question is no answer
    # "\\text{Answer: }7"; not "\\text{answers}"
    if "ns" in unwrapped[:30] and (label := _LABEL.match(unwrapped)):
        return read(without_reserve(unwrapped[label.end() :]), is_gold, in_prose)
    if not is_gold and (said := without_reserve(unwrapped)) != unwrapped and said.strip():
        return read(said, is_gold, in_prose)
    time = time_of_day(unwrapped)
    if time is not None and not unwrapped[-1].isdigit():
        return (time,)  # 3 PM is no length
    date = calendar_date(_DATE_LEAD.sub("", unwrapped).rstrip("."))
    known = time, date, choice(plain, is_gold), numeral(unwrapped), several_letters(unwrapped), yes_or_no(unwrapped)
    counted = None if is_gold else counted_in_words(unwrapped)
    readings: list[Node] = [reading for reading in known if reading is not None]
    readings += formula_readings(plain, is_gold)
    if date is None and all(isinstance(node, ChosenOption | Text) for node in readings):
        is_option = any(isinstance(node, ChosenOption) for node in readings)
        readings += from_prose(plain, is_gold, formula_readings) if in_prose and not is_option else ()
        readings.append(words(plain))
    if counted is not None:
        readings.append(counted)
    if currency:
        readings = [with_currency(reading, currency) for reading in readings]
    return tuple(dict.fromkeys(readings))


def read_words(text: str) -> tuple[Node, ...]:
    """What a text may mean that is read for its words, and for the formulas as they stand among them."""
    plain = _uniform(text) if len(text) <= MAX_ANSWER_BYTES else ""
    if not plain:
        return ()
    known = choice(plain, False), yes_or_no(unwrap(plain)), *template(plain, formula_readings), words(plain)
    return tuple(reading for reading in known if reading is not None)


def formula_readings(plain: str, is_gold: bool = False) -> list[Node]:
    """What a formula, a number or a quantity may mean; nothing where it is none."""
    if _NUMBERED.fullmatch(plain):
        numbers = Seq("list", tuple(Num(Fraction(int(digits))) for digits in re.findall("[0-9]+", plain)))
        return [numbers] if is_gold else [numbers, *filter(None, [_parse(plain)])]
    if is_gold and _SPACED_LIST.fullmatch(plain) and not _SPACED_GROUPS.fullmatch(plain):
        return [Seq("list", tuple(node for part in plain.split() if (node := _parse(part)) is not None))]
    readings = _measured(plain)
    for spelling in _spellings(plain):
        if (node := _parse(spelling)) is not None:
            readings += _senses(node, is_gold)
    if not is_gold and _SPACED_LIST.fullmatch(plain):
        readings.append(Seq("list", tuple(node for part in plain.split() if (node := _parse(part)) is not None)))
    return readings


def _measured(plain: str) -> list[Node]:
    r"""A number or a closed formula with a unit that the grammar would read as something else: 7\text{ min}, 1 egg."""
    match = _UNIT_IN_TEXT.search(plain) or _NOUN_BEHIND.fullmatch(plain)
    if match is None:
        return []
    unit = f"{match['unit']}{match['power'] or ''}".strip(" .")
    node = _parse(plain[: match.start("gap")]) if unit and not is_no_unit(unit) else None
    if (
        node is None
        or unit.lower() in _NO_NOUNS
        or (len(unit) == 1 and unit not in units.LETTERS)
        or isinstance(node, Quantity | Percent | Seq)
    ):
        return []
    is_number = not contains(node, lambda each: isinstance(each, Sym | Relation))
    return [Quantity(node, unit)] if is_number or units.measure(unit) is not None else []


def _plain_number(text: str) -> Node | None:
    r"""What most answers are, read before anything else is tried: 12, -3.5, 3/4, \frac{3}{4}."""
    text = text.removeprefix("$")  # a price; a formula's would need another
    if _PLAIN.fullmatch(text):
        whole, _, places = text.partition(".")
        if not places:
            return Num(Fraction(int(whole)))
        return Num(Fraction(int(whole + places), 10 ** len(places)), len(places))
    if match := _FRACTION.fullmatch(text):
        sign, top, bottom = match[1], match[2] or match[4], match[3] or match[5]
        quotient = div(Num(Fraction(top)), Num(Fraction(bottom)))
        return neg(quotient) if sign else quotient
    return None


@lru_cache(maxsize=MAX_KEPT)
def _uniform(text: str) -> str:
    """The text in the grammar's own ways to write, without dollar signs that do not pair, unless there is prose."""
    plain = rewritten(clean(text))
    if r"\(" in plain and not _ASCII_WORD.search(plain):
        plain = plain.replace(r"\(", " ").replace(r"\)", " ")
    if "$" in plain and not _WORD.search(plain):
        bare = plain.replace("$", " ")
        return bare if _parse(bare) is not None else plain
    return plain


def _spellings(text: str) -> list[str]:
    """The text with its commas read as groups of digits, as a decimal point, and as what separates."""
    spellings = []
    if "," in text:
        if _EUROPEAN.fullmatch(text):
            spellings.append(re.sub("[.\x1f]", "", text).replace(",", "."))
        if _SPACED_THOUSANDS.fullmatch(text):
            spellings.append(text.replace(", ", ""))
        if _is_grouped(text):
            spellings.append(_THOUSANDS.sub(lambda match: match[1] + match[2].replace(",", ""), text))
        if len(_DECIMAL_COMMA.findall(text)) == text.count(",") and not _BRACKET.search(text):
            spellings.append(_DECIMAL_COMMA.sub(lambda match: match[1].replace(",", "."), text))
    return [*spellings, text]


def _is_grouped(text: str) -> bool:
    """Whether commas may group digits: outside brackets, or where the list's own commas have a space."""
    return _THOUSANDS.search(text) is not None and (", " in text or not _COMMA_INSIDE.search(text))


@lru_cache(maxsize=MAX_KEPT)
def _parse(text: str) -> Node | None:
    try:
        return lifted(AnswerParser(text).answer())
    except (Unreadable, RecursionError, ValueError, IndexError, OverflowError):
        return None


def _senses(node: Node, is_gold: bool = False) -> list[Node]:
    """The node, and what else the same marks may mean."""
    senses: list[Node] = [node]
    if (text := _class_of_numbers(node)) is not None:
        senses = [text] if is_gold else [*senses, text]
    match node:
        case Mul((Num() as value, unit)) if (spelled := units.unit_of_product(unit)) is not None:
            senses.append(Quantity(value, spelled))
        case Mul((Num() as value, *factors)) if (spelled := units.unit_of_product(Mul(tuple(factors)))) is not None:
            senses.append(Quantity(value, spelled))
        case Mul((Mul((Num() as value, *tops)), *rest)) if (
            spelled := units.unit_of_product(Mul((*tops, *rest)))
        ) is not None:
            senses.append(Quantity(value, spelled))
        case Mul((Sym(name), Seq("tuple", (top, bottom)) as point)) if name.isupper():  # P(1, 2), C(5, 2)
            senses += [point, Call("binom", (top, bottom))] if name == "C" else [point]
        case Call("deg", (value,)):
            senses.append(Quantity(value, "degree"))
        case Relation((*heads, Call("deg", (value,))), ops):
            senses.append(Relation((*heads, Quantity(value, "degree")), ops))
        case Sym(letter) | Const(letter) if len(letter) == 1:
            senses.append(words(letter))
    return senses


def _class_of_numbers(node: Node) -> Node | None:
    """A class of numbers, 60-64, which is no difference where it is the gold."""
    match node:
        case Add((Num(low), Num(high))) if 0 <= low < -high and low.denominator == high.denominator == 1:
            return Text(f"{low}-{-high}")
    return None


def lifted(node: Node) -> Node:
    """The sign of -45 degrees, -3 m and -19% with the number, and numbers in a base as what they are."""
    match node:
        case Call("based", (Sym(digits), Num(base))):
            return Based(digits, int(base))
        case Mul((Num(sign), Percent(value))) if sign == -1:
            return Percent(neg(value))
        case Mul((Num(sign), Quantity(value, unit))) if sign == -1:
            return Quantity(neg(value), unit)
        case Mul((Num(sign), Call("deg", (value,)))) if sign == -1:
            return Call("deg", (neg(value),))
        case Quantity(Mul((Num(sign), Call("deg", (value,)))), unit) if sign == -1:
            return Quantity(Call("deg", (neg(value),)), unit)
        case Relation((*heads, last), ops):
            return Relation((*heads, lifted(last)), ops)
        case Seq("list" | "set" | "tuple" as kind, items, brackets):
            return Seq(kind, tuple(map(lifted, items)), brackets)
    return node
