"""Parses the text of one answer into the trees it may mean: numbers, lists, units, ratios, choices, words.

Reads one answer, not a completion (`extract` finds the answer in that).

A text may have several readings (`1,234` is a number or two; `10 m` a length or a product). Two answers agree if any
pair of their readings does.
"""

import re
from fractions import Fraction

from r1lab_verifiers.math.read import units
from r1lab_verifiers.math.read.clean import clean
from r1lab_verifiers.math.read.grammar import AnswerParser
from r1lab_verifiers.math.read.hedges import denies, goes_on
from r1lab_verifiers.math.read.tree import (
    Based,
    Call,
    ChosenOption,
    Const,
    Mul,
    Node,
    Num,
    Quantity,
    Relation,
    Seq,
    Sym,
    Unreadable,
    div,
    neg,
)
from r1lab_verifiers.math.read.words import calendar_date, choice, numeral, time_of_day, unwrap, words

MAX_ANSWER_BYTES = 4096
"""Bytes of one answer."""
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
# "so $x+1$"; not "costs $5"
_SEGMENT = re.compile(r"\$\$(.+?)\$\$|\$(.+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)


def _outward(match: re.Match) -> str:
    """`]a, b[` with round brackets."""
    return f"({match[1]}{')' if match[2] == '[' else ']'}"


_WORD = r"(?:\\text\s*\{\s*)?%s(?:\s*\})?"
_REWRITES = (
    # "\text{12 apples}"; not "\text{apples}"
    ("text", re.compile(r"\A\\text\s*\{\s*((?:[-(0-9]|[A-Za-z]\s*=)[^{}\\]*)\}\Z"), r"\1"),
    (
        ".",
        # "0.3333..."; not "0.123..."
        re.compile(
            r"\A(-?[0-9]{0,12}\.[0-9]{0,12}?)(?:([0-9]{1,8}?)\2{2,8}|([0-9]{2,8}?)\3{1,8})\s*(?:\.\.\.+|\\(?:[lc]?dots))\s*\Z"
        ),
        lambda match: rf"{match[1]}\overline{{{match[2] or match[3]}}}",
    ),
    # "3./4"; not ".5/4"
    ("./", re.compile(r"(?<=[0-9])\./"), "/"),
    # "5^{\text{th}}"; not "5 m"
    ("", re.compile(r"\A([0-9]+)\s*\^?\s*\{?\s*(?:\\text\s*\{\s*)?(?:st|nd|rd|th)\s*\}?\s*\}?\Z"), r"\1"),
    (
        "",
        # "\approx 3.14"; not "\approx x"
        re.compile(
            r"\A\s*(?:=|\\approx(?![a-z])|\\sim(?![a-z])|"
            + _WORD % r"\b(?:approximately|about|roughly|around|nearly|USD|EUR|GBP|INR|US|Rs\b\.?)"
            + r")\s*(?=[-0-9.\\$(])"
        ),
        "",
    ),
    (
        "base",
        # "204 \text{ base five}"; not "base 5"
        re.compile(
            r"\A\(?([0-9A-Z]+)\)?\s*[(,]?\s*" + _WORD % r"(?:in\s+)?base[ -]?" + r"\s*([0-9]+|[a-z]+)\s*\}?\)?\Z"
        ),
        r"\1_{\2}",
    ),
    # "\text{Ann and }"; not "\text{Ann}"
    (" and", re.compile(r"\\text\s*\{\s*([A-Za-z]+)\s+and\s*\}"), r"\\text{\1}, "),
    # "(204)_5"; not "(x)_5"
    (")_", re.compile(r"\A\(([0-9]+)\)_"), r"\1_"),
    # "9 (apples)"; not "9(2)"
    ("(", re.compile(r"\A(-?[0-9][0-9.,:/ ]*)\(\s*([A-Za-z][A-Za-z .,/'-]+)\)\Z"), r"\1 \\text{ \2 }"),
    # "7 425 000"; not "7 42"
    (" ", re.compile(r"\A(-?[0-9]{1,3}) (?=[0-9]{3}(?: [0-9]{3})*\Z)"), "\\1\x1f"),
    # "7\x1f425 000"; not "7 425 000"
    ("\x1f", re.compile(r"(?<=\x1f)([0-9]{3}) (?=[0-9]{3}(?: |\Z))"), "\\1\x1f"),
    # "]0, 1["; not "[0, 1]"
    ("]", re.compile(r"\]([^\[\](),;]+[,;][^\[\](),;]+)([\[\]])"), _outward),
    # "[0, 1["; not "[0, 1]"
    ("[", re.compile(r"\[([^\[\](),;]+[,;][^\[\](),;]+)\[(?=\s*(?:\Z|\\))"), r"[\1)"),
)
"""Ways to write that the grammar does not have: approximations, bases in words, `9 (apples)`, `7 425 000`, `]0, 1[`.
Before each, a mark without which a text has none of it."""
# "x, where x > 0"; not "x everywhere"
_QUALIFIED = re.compile(r"[,;]?\s+(?:where|such that|for (?:all|any|every|each|some|which|integers?|real))\b")
"""What begins a remark behind an answer."""
# "x + "; not "x + 1"
_JOINED_ON = re.compile(r"[-+*/^=<>(]\s*\Z")
"""Outside a formula, right before it: then it is not the whole answer."""
# ", and "; not ", so "
_BETWEEN = re.compile(r"[\s,;.]*(?:\b(?:and|or|und|et)\b|\\text\s*\{\s*(?:and|or)\s*\})?[\s,;]*", re.IGNORECASE)


def read(text: str, is_gold: bool = False, in_prose: bool = True) -> tuple[Node, ...]:
    """What the text of one answer may mean, likeliest first; empty where it is empty. Never raises.

    in_prose: whether formulas are looked for among words.
    """
    if (number := _plain_number(text)) is not None:
        return (number,)
    plain = _uniform(text) if len(text) <= MAX_ANSWER_BYTES else ""
    if not plain:
        return ()
    unwrapped = unwrap(plain)
    time = time_of_day(unwrapped)
    if time is not None and not unwrapped[-1].isdigit():
        return (time,)  # 3 PM is no length
    readings: list[Node] = [
        reading
        for reading in (time, calendar_date(unwrapped), choice(plain, is_gold), numeral(unwrapped))
        if reading is not None
    ]
    for spelling in _spellings(plain):
        if (node := _parse(spelling)) is not None:
            readings.extend(_senses(node))
    if all(isinstance(node, ChosenOption) for node in readings):
        readings.extend(_from_segments(plain) if in_prose else ())
        readings.append(words(plain))
    return tuple(dict.fromkeys(readings))


def _plain_number(text: str) -> Node | None:
    r"""What most answers are, read before anything else is tried: 12, -3.5, 3/4, \frac{3}{4}."""
    if _PLAIN.fullmatch(text):
        places = text.partition(".")[2]
        return Num(Fraction(text), len(places) if places else None)
    if match := _FRACTION.fullmatch(text):
        sign, top, bottom = match[1], match[2] or match[4], match[3] or match[5]
        quotient = div(Num(Fraction(top)), Num(Fraction(bottom)))
        return neg(quotient) if sign else quotient
    return None


def _uniform(text: str) -> str:
    """The text in the grammar's own ways to write, without dollar signs that do not pair, unless there is prose."""
    plain = clean(text)
    for mark, pattern, made in _REWRITES:
        if mark in plain:
            plain = pattern.sub(made, plain)
    # "costs $5"; not "$x$"
    if "$" in plain and not re.search(r"(?<!\\)\b[A-Za-z]{2}", plain):
        bare = plain.replace("$", " ")
        return bare if _parse(bare) is not None else plain
    return plain


def _spellings(text: str) -> list[str]:
    """The text with its commas read as groups of digits, as a decimal point, and as what separates."""
    spellings = []
    if "," in text:
        if _SPACED_THOUSANDS.fullmatch(text):
            spellings.append(text.replace(", ", ""))
        if _is_grouped(text):
            spellings.append(_THOUSANDS.sub(lambda match: match[1] + match[2].replace(",", ""), text))
        # "(1,5)"; not "1,5"
        if len(_DECIMAL_COMMA.findall(text)) == text.count(",") and not re.search(r"[(\[{;]", text):
            spellings.append(_DECIMAL_COMMA.sub(lambda match: match[1].replace(",", "."), text))
    return [*spellings, text]


def _is_grouped(text: str) -> bool:
    """Whether commas may group digits: outside brackets, or where the list's own commas have a space."""
    # "(1,234)"; not "1,234"
    return _THOUSANDS.search(text) is not None and (", " in text or not re.search(r"[(\[{][^)\]}]*,", text))


def _parse(text: str) -> Node | None:
    try:
        return AnswerParser(text).answer()
    except (Unreadable, RecursionError, ValueError, IndexError, OverflowError):
        return None


def _senses(node: Node) -> list[Node]:
    """The node, and what else the same marks may mean."""
    senses: list[Node] = [node]
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
        case Call("based", (Sym(digits), Num(base))):
            senses = [Based(digits, int(base))]
        case Call("deg", (value,)):
            senses.append(Quantity(value, "degree"))
        case Relation((*heads, Call("deg", (value,))), ops):
            senses.append(Relation((*heads, Quantity(value, "degree")), ops))
        case Sym(letter) | Const(letter) if len(letter) == 1:
            senses.append(words(letter))
    return senses


def _from_segments(text: str) -> list[Node]:
    """Prose with `$...$` in it: its last piece of mathematics, or all where only `and` or commas are between."""
    matches = list(_SEGMENT.finditer(text))
    if matches and (remark := _QUALIFIED.search(text, matches[0].end())):
        # "x > 0"; not "x real"
        if re.search("[0-9]", text[remark.start() :]):
            return []  # a remark with numbers is part of the answer: then all of its words count
        text = text[: remark.start()]
        matches = [match for match in matches if match.end() <= len(text)]
    if not matches or goes_on(text[matches[-1].end() :]):
        return []
    chosen = [matches[-1]]
    for before in reversed(matches[:-1]):
        if not _BETWEEN.fullmatch(text[before.end() : chosen[0].start()]):
            break
        chosen.insert(0, before)
    before = text[: chosen[0].start()]
    if _JOINED_ON.search(before) or denies(before):
        return []
    pieces = [clean(match[0]) for match in chosen]
    # " cm."; not " per hour"
    unit = re.match(r"\s*([A-Za-z%]+)\s*[.]?\s*$", unwrap(text[matches[-1].end() :]))
    if len(pieces) == 1 and unit:
        pieces[0] += f"\\text{{ {unit[1]} }}" if unit[1] != "%" else "%"
    joined = ", ".join(pieces)
    return [
        sense for spelling in _spellings(joined) if (node := _parse(spelling)) is not None for sense in _senses(node)
    ]
