r"""From an answer's text to what it may mean: numbers, lists, units, ratios, choices, words. Reads one answer, not a
completion (`extract` finds the answer in that).

A text may have several readings (`1,234` is a number or two; `10 m` a length or a product). Two answers agree if
any pair
of their readings does.
"""

import re
from fractions import Fraction

from verifiers.math import names, units
from verifiers.math.clean import clean
from verifiers.math.expression import Parser
from verifiers.math.tree import (
    Based,
    Call,
    Const,
    Mul,
    Node,
    Num,
    Percent,
    Quantity,
    Ratio,
    Relation,
    Seq,
    Sym,
    Unreadable,
)
from verifiers.math.words import choice, clock, unwrap, words

MAX_TEXT = 4096
"""Bytes of one answer."""
_PLAIN = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")
_THOUSANDS = re.compile(r"(?<![0-9.,])([1-9][0-9]{0,2})((?:,[0-9]{3})+)(?![0-9])(?!,[0-9])")
_SPACED_THOUSANDS = re.compile(r"-?[1-9][0-9]{0,2}(?:, [0-9]{3})+")
_DECIMAL_COMMA = re.compile(
    r"(?<![0-9.,])(-?(?:0|[0-9]{4,}),[0-9]+|-?[0-9]+,(?:[0-9]{2}|[0-9]{4,}))(?![0-9,])(?!\.[0-9])"
)
_SEGMENT = re.compile(r"\$\$(.+?)\$\$|\$(.+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_COUNTED = re.compile(r"\A(-?[0-9][0-9.,:/ ]*)\(([A-Za-z][A-Za-z .,/'-]+)\)\Z")
"""`9 (apples)`"""
_BETWEEN = re.compile(r"[\s,;.]*(?:\b(?:and|or|und|et)\b|\\text\s*\{\s*(?:and|or)\s*\})?[\s,;]*", re.IGNORECASE)


class AnswerParser(Parser):
    """A whole answer: members, each a relation, a ratio or a quantity."""

    def answer(self) -> Node:
        groups, group = [], [self.member()]
        while True:
            if self.is_sign(",") or self._skip_joiner():
                if self.is_sign(","):
                    self.take()
                self._skip_joiner()
            elif self.is_sign(";"):
                self.take()
                groups.append(group)
                group = []
            else:
                break
            if self.token.kind != "end":
                group.append(self.member())
        groups.append(group)
        if self.token.kind != "end":
            raise Unreadable(f"something after the answer: {self.token.text!r}")
        items = [each[0] if len(each) == 1 else Seq("tuple", tuple(each), "()") for each in groups if each]
        items = items if len(items) > 1 else groups[0]
        return items[0] if len(items) == 1 else Seq("list", tuple(items))

    def _skip_joiner(self) -> bool:
        token = self.token
        if token.kind in ("word", "text") and token.text.lower().strip() in ("and", "or", "und", "et", "ou"):
            self.take()
            return True
        if self.is_command("lor", "land", "vee", "wedge", "quad"):
            self.take()
            return True
        return False

    def member(self) -> Node:
        start, saved = self.at, list(self.tokens)
        try:
            found = self.relation()
        except Unreadable:
            self.at, self.tokens, self.depth, self.bars = start, saved, 0, 0
            found = self._headed()
        parts = [found]
        while self.is_sign(":") or self.is_command("colon"):
            self.take()
            parts.append(self.relation())
        if len(parts) > 1:
            found = _ratio(parts)
        unit = self._unit()
        return _with_unit(found, unit) if unit else found

    def _headed(self) -> Node:
        """`Area = 5`, `\\text{speed} = 3`: words before the last equals sign are a name."""
        at, depth = self.at, 0
        while (token := self.tokens[at]).kind != "end" and not (token.text == "=" and depth == 0):
            depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
            if token.text in (",", ";") and depth == 0:
                break
            at += 1
        if self.tokens[at].text != "=" or at == self.at:
            raise Unreadable("no answer that this grammar has")
        name = "".join(token.text for token in self.tokens[self.at : at])
        self.at = at + 1
        rest = self.relation()
        if isinstance(rest, Relation):
            return Relation((Sym(name), *rest.sides), ("=", *rest.ops))
        return Relation((Sym(name), rest), ("=",))

    def _unit(self) -> str:
        """The unit or noun at this place, spelled as it is written."""
        parts = []
        while True:
            token = self.token
            if (token.kind == "text" and token.text.lower().strip() not in ("and", "or")) or (
                token.kind == "word"
                and token.text.lower() not in names.JOINERS
                and (parts or units.is_unit_word(token.text))
            ):
                parts.append(f" {self.take().text}")
            elif parts and self.is_sign("^") and self.tokens[self.at + 1].text in ("2", "3", "{", "-"):
                self.take()
                parts.append("^" + self.raw_argument())
            elif (parts and (self.is_sign("/", ".", "-", "(", ")", "'", "*") or self.is_command("cdot", "/"))) or (
                self.is_sign("/") and self.tokens[self.at + 1].kind in ("word", "text")
            ):
                parts.append(self.take().text.replace("cdot", " "))
            else:
                return "".join(parts).strip()


def _with_unit(node: Node, unit: str) -> Node:
    if isinstance(node, Relation):
        return Relation((*node.sides[:-1], _with_unit(node.sides[-1], unit)), node.ops)
    if unit.lower().rstrip(".") in ("percent", "per cent", "percentage", "pct", "percents"):
        return Percent(node)
    if unit.lower().startswith("base "):
        base = names.BASES.get(unit.lower()[5:].strip(), 0)
        if isinstance(node, Num) and base:
            return Based(str(node.value), base)
    return Quantity(node, unit)


def _ratio(parts: list[Node]) -> Node:
    """`3:2`; in `A:B = 1` the head is the ratio."""
    if isinstance(parts[-1], Relation):
        last = parts[-1]
        return Relation((Ratio((*parts[:-1], last.sides[0])), *last.sides[1:]), last.ops)
    return Ratio(tuple(parts))


def read(text: str, is_gold: bool = False, in_prose: bool = True) -> tuple[Node, ...]:
    """What the text of one answer may mean, likeliest first; empty where it is empty. Never raises.

    in_prose: whether formulas are looked for among words.
    """
    if _PLAIN.fullmatch(text):
        whole, _, places = text.partition(".")
        return (Num(Fraction(text), len(places) if places else None, len((whole + places).lstrip("-0"))),)
    if len(text) > MAX_TEXT:
        return ()
    plain = clean(text)
    if not plain:
        return ()
    plain = _COUNTED.sub(r"\1 \\text{ \2 }", plain)
    if (
        "$" in plain
        and not re.search(r"(?<!\\)\b[A-Za-z]{2}", plain)
        and _parse(bare := plain.replace("$", " ")) is not None
    ):
        plain = bare  # signs that do not pair, and no prose around them
    found = []
    for special in (clock(plain), choice(plain, is_gold)):
        if special is not None:
            found.append(special)
    for spelling in _spellings(plain):
        if (node := _parse(spelling)) is not None:
            found.extend(_senses(node))
    if not any(not hasattr(node, "letter") for node in found):
        found.extend(_from_segments(plain) if in_prose else ())
        found.append(words(plain))
    elif any(isinstance(node, Seq) and any(isinstance(item, Quantity) for item in node.items) for node in found):
        found.append(words(plain))  # 2 hours and 30 minutes
    return tuple(dict.fromkeys(found))


def _spellings(text: str) -> list[str]:
    """The text with its commas read as groups of digits, as a decimal point, and as what separates."""
    found = []
    if "," in text:
        if _SPACED_THOUSANDS.fullmatch(text):
            found.append(text.replace(", ", ""))
        if _is_grouped(text):
            found.append(_THOUSANDS.sub(lambda match: match[1] + match[2].replace(",", ""), text))
        if len(_DECIMAL_COMMA.findall(text)) == text.count(",") and not re.search(r"[(\[{;]", text):
            found.append(_DECIMAL_COMMA.sub(lambda match: match[1].replace(",", "."), text))
    return [*found, text]


def _is_grouped(text: str) -> bool:
    """Whether commas may group digits: outside brackets, or where the list's own commas have a space."""
    return _THOUSANDS.search(text) is not None and (", " in text or not re.search(r"[(\[{][^)\]}]*,", text))


def _parse(text: str) -> Node | None:
    try:
        return AnswerParser(text).answer()
    except (Unreadable, RecursionError, ValueError, IndexError, OverflowError):
        return None


def _senses(node: Node) -> list[Node]:
    """The node, and what else the same marks may mean."""
    found = [node]
    match node:
        case Mul((Num() as value, Sym(unit))) if unit in units.LETTERS:
            found.append(Quantity(value, unit))
        case Call("based", (Sym(digits), Num(base))):
            found = [Based(digits, int(base))]
        case Call("deg", (value,)):
            found.append(Quantity(value, "degree"))
        case Sym(letter) | Const(letter) if len(letter) == 1:
            found.append(words(letter))
    return found


def _from_segments(text: str) -> list[Node]:
    r"""Prose with `$...$` in it: the last piece of mathematics, or all of them where only `and` or commas are
    between."""
    matches = list(_SEGMENT.finditer(text))
    if not matches:
        return []
    chosen = [matches[-1]]
    for before in reversed(matches[:-1]):
        if not _BETWEEN.fullmatch(text[before.end() : chosen[0].start()]):
            break
        chosen.insert(0, before)
    pieces = [clean(match[0]) for match in chosen]
    unit = re.match(r"\s*([A-Za-z%]+)\s*[.]?\s*$", unwrap(text[matches[-1].end() :]))
    if len(pieces) == 1 and unit:
        pieces[0] += f"\\text{{ {unit[1]} }}" if unit[1] != "%" else "%"
    joined = ", ".join(pieces)
    return [
        sense for spelling in _spellings(joined) if (node := _parse(spelling)) is not None for sense in _senses(node)
    ]
