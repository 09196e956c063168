"""Parses a whole answer: members, each a relation, a ratio or a quantity, separated by commas or words.

The root of the parser; what one expression is stands in `expression`.
"""

from r1lab_verifiers.math.read import names, units
from r1lab_verifiers.math.read.expression import Parser
from r1lab_verifiers.math.read.hedges import denies, is_no_unit
from r1lab_verifiers.math.read.tree import Node, Num, Percent, Quantity, Ratio, Relation, Seq, Sym, Unreadable

_JOINERS = ("and", "or", "und", "et", "ou")
_PERCENT = ("percent", "per cent", "percentage", "pct", "percents")
_MAGNITUDES = {"dozen": 12, "hundred": 100, "thousand": 1000, "lakh": 10**5, "million": 10**6, "crore": 10**7}
_MAGNITUDES |= {"billion": 10**9, "trillion": 10**12}
"""What a number is multiplied with by a word behind it."""


class AnswerParser(Parser):
    """Reads the whole text of one answer."""

    def answer(self) -> Node:
        """All of the text; a semicolon separates groups of members."""
        groups, group = [], [self.member()]
        while self.token.kind != "end":
            if self.is_sign(";"):
                self.take()
                groups.append(group)
                group = []
            elif not self._skip_separator() and not self._continues(group):
                raise Unreadable(f"something after the answer: {self.token.text!r}")
            if self.token.kind != "end":
                group.append(self.member())
        groups.append(group)
        items = [each[0] if len(each) == 1 else Seq("tuple", tuple(each), "()") for each in groups if each]
        items = items if len(items) > 1 else groups[0]
        return items[0] if len(items) == 1 else Seq("list", tuple(items))

    def _skip_separator(self) -> bool:
        """A comma, a joining word, or both."""
        start = self.at
        self._skip_joiner()
        if self.is_sign(","):
            self.take()
        self._skip_joiner()
        return self.at > start

    def _skip_joiner(self) -> None:
        token = self.token
        is_word = token.kind in ("word", "text") and token.text.lower().strip() in _JOINERS
        if is_word or self.is_command("lor", "land", "vee", "wedge", "quad"):
            self.take()

    def _continues(self, group: list[Node]) -> bool:
        """Whether a smaller unit follows without a sign: `1 hour 30 minutes`."""
        last = group[-1] if group else None
        return isinstance(last, Quantity) and self.token.kind == "number" and units.measure(last.unit) is not None

    def member(self) -> Node:
        """One member with its unit; a ratio is one."""
        start, saved = self.at, list(self.tokens)
        try:
            node = self.relation()
        except Unreadable:
            self.at, self.tokens, self.depth, self.bars = start, saved, 0, 0
            node = self._headed()
        parts = [node]
        while self.is_sign(":") or self._is_to(parts):
            self.take()
            parts.append(self.relation())
        if len(parts) > 1:
            node = _ratio(parts)
        unit = self._unit()
        return _with_unit(node, unit) if unit else node

    def _is_to(self, parts: list[Node]) -> bool:
        """The word of `3 to 4`, between numbers."""
        is_word = self.token.kind in ("word", "text") and self.token.text.strip() == "to"
        return is_word and isinstance(parts[-1], Num) and self.tokens[self.at + 1].kind == "number"

    def _headed(self) -> Node:
        r"""`Area = 5`, `\text{speed} = 3`: words before the last equals sign are a name."""
        at, depth = self.at, 0
        while (token := self.tokens[at]).kind != "end" and not (token.text == "=" and depth == 0):
            depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
            if token.text in (",", ";") and depth == 0:
                break
            at += 1
        if self.tokens[at].text != "=" or at == self.at or self.tokens[at - 1].kind == "number":
            raise Unreadable("no answer that this grammar has")
        words = [token.text for token in self.tokens[self.at : at]]
        if denies(" ".join([*words, "="])):
            raise Unreadable("words that deny what follows")
        name = "".join(words)
        self.at = at + 1
        rest = self.relation()
        if isinstance(rest, Relation):
            return Relation((Sym(name), *rest.sides), ("=", *rest.ops))
        return Relation((Sym(name), rest), ("=",))

    def _unit(self) -> str:
        """The unit or noun at this place, spelled as it is written."""
        parts = []
        while True:
            if self._is_unit_word(bool(parts)):
                parts.append(f" {self.take().text}")
            elif (
                parts
                and "^" not in parts[-1]
                and self.is_sign("^")
                and self.tokens[self.at + 1].text in ("2", "3", "{", "-")
            ):
                self.take()
                parts.append("^" + self.raw_argument())
            elif self._is_unit_sign(bool(parts)):
                parts.append(self.take().text.replace("cdot", " "))
            else:
                return "".join(parts).strip()

    def _is_unit_word(self, goes_on: bool) -> bool:
        token = self.token
        if token.kind == "text":
            return token.text.lower().strip() not in ("and", "or")
        is_word = token.kind == "word" and token.text.lower() not in names.JOINERS
        return is_word and (goes_on or units.is_unit_word(token.text))

    def _is_unit_sign(self, goes_on: bool) -> bool:
        if goes_on and (self.is_sign("/", ".", "-", "(", ")", "'", "*") or self.is_command("cdot")):
            return True
        return self.is_sign("/") and self.tokens[self.at + 1].kind in ("word", "text")


def _with_unit(node: Node, unit: str) -> Node:
    if isinstance(node, Relation):
        return Relation((*node.sides[:-1], _with_unit(node.sides[-1], unit)), node.ops)
    plain = unit.lower().rstrip(".")
    if plain in _PERCENT:
        return Percent(node)
    first, _, rest = plain.partition(" ")
    if first in _MAGNITUDES and isinstance(node, Num):
        value = Num(node.value * _MAGNITUDES[first])
        return _with_unit(value, unit[len(first) :].strip()) if rest else value
    if is_no_unit(unit):
        raise Unreadable(f"no unit: {unit!r}")
    return Quantity(node, unit)


def _ratio(parts: list[Node]) -> Node:
    """`3:2`; in `A:B = 1` the head is a ratio, in `a:b = 1:2` both sides are."""
    place = next(((at, part) for at, part in enumerate(parts) if isinstance(part, Relation)), None)
    if place is None:
        return Ratio(tuple(parts))
    at, middle = place
    head, last = (*parts[:at], middle.sides[0]), (middle.sides[-1], *parts[at + 1 :])
    sides = [Ratio(side) if len(side) > 1 else side[0] for side in (head, last)]
    return Relation((sides[0], *middle.sides[1:-1], sides[1]), middle.ops)
