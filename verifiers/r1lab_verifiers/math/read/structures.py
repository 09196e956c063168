"""Parses brackets and their members, sets and set-builders, matrices, cases, relations.

A part of the parser (`expression`), not a class to use alone. What stands inside is for its other parts to read.
"""

from functools import reduce

from r1lab_verifiers.math.read import names
from r1lab_verifiers.math.read.tokens import Token, TokenCursor
from r1lab_verifiers.math.read.tree import Builder, Call, Matrix, Node, Relation, Seq, SetOp, Sym, Unreadable

MAX_CELLS = 400
_SEPARATORS = {":": "sign", "mid": "command"}
_CASE_WORDS = ("if", "for", "when", "where", "", ",")


class Structures(TokenCursor):
    """The methods of the parser that read brackets, sets, environments and relations."""

    def bracketed(self) -> Node:
        r"""(a), (a, b), [a, b), {a, b}, \{a, b\}: a group, a tuple or interval, a set. TeX's own braces only group."""
        self.deeper()
        opening = self.take()
        bars, self.bars = self.bars, 0
        if opening.text == "{" and opening.kind == "sign":
            node = self._brace_group()
        elif names.OPENING[opening.text] == "}":
            node = self._set()
        else:
            node = self._tuple(opening.text)
        self.bars = bars
        self.depth -= 1
        return node

    def _brace_group(self) -> Node:
        if self.is_sign("}"):
            self.take()
            return self.atom()  # {}_5C_2 and the like
        items = self.members(("}",))
        self.expect("}")
        return items[0] if len(items) == 1 else Seq("set", tuple(items))

    def _tuple(self, opening: str) -> Node:
        closing = names.OPENING[opening]
        allowed = (")", "]", "rbrack", "rparen") if closing in (")", "]") else (closing,)
        items = self.members(allowed)
        closing = names.SAME_BRACKET.get(text := self.expect(*allowed).text, text)
        opening = names.SAME_BRACKET.get(opening, opening)
        if len(items) == 1 and opening + closing in ("()", "[]"):
            return items[0]
        if len(items) != 2 and opening + closing not in ("()", "[]", "(rangle"):
            raise Unreadable("brackets that do not match")
        return Seq("tuple", tuple(items), opening + closing)

    def _set(self) -> Node:
        r"""What follows `\{`: members, or a variable and its conditions."""
        closings = ("}", "rbrace")
        if self.token.text in closings:
            self.take()
            return Seq("set", ())
        if (at := self._separator(closings)) is not None:
            return self._builder(at, closings)
        start, saved = self.at, list(self.tokens)
        try:
            items = self.members(closings)
            self.expect(*closings)
        except Unreadable:
            self.at, self.tokens = start, saved
            bar = next((at for at in range(start + 1, len(saved)) if saved[at].text in ("|", "vert")), None)
            if bar is None:
                raise
            return self._builder(bar, closings)
        return Seq("set", tuple(items))

    def _separator(self, closings: tuple[str, ...]) -> int | None:
        """Where this set's own colon stands, if it has one."""
        depth = 0
        for at in range(self.at, len(self.tokens)):
            token = self.tokens[at]
            depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
            if depth < 0 or token.text in closings:
                return None
            if depth == 0 and at > self.at and _SEPARATORS.get(token.text) == token.kind:
                return at
        return None

    def _builder(self, at: int, closings: tuple[str, ...]) -> Node:
        """`x : conditions` with its separator at a token that is known."""
        self.tokens[at] = Token("separator", "such that", True)
        head = self.relation()
        if self.token.kind != "separator":
            raise Unreadable("a set without members")
        self.take()
        cases = [tuple(self.members(closings))]
        while self.is_command("lor", "vee") or (
            self.token.kind in ("word", "text") and self.token.text.strip() == "or"
        ):
            self.take()
            cases.append(tuple(self.members(closings)))
        self.expect(*closings)
        return reduce(lambda left, right: SetOp("cup", left, right), [Builder(head, case) for case in cases])

    def environment(self) -> Node:
        r"""\begin{pmatrix} a & b \\ c & d \end{pmatrix}; \begin{cases}: a system, or values with conditions."""
        name = self._brace_name()
        if name not in names.MATRICES and name not in names.CASES:
            raise Unreadable(f"the environment {name!r}")
        if name == "array" and self.is_sign("{"):
            self._brace_name()
        self.deeper()
        rows = self._rows(self._case_cell if name in names.CASES else self.relation)
        self.depth -= 1
        self.expect("end")
        self._brace_name()
        if not rows or len({len(row) for row in rows}) != 1:
            raise Unreadable("rows of different lengths")
        if name in names.CASES:
            system = all(len(row) == 1 for row in rows)
            return Seq("list" if system else "cases", tuple(_case(row) for row in rows))
        matrix = Matrix(tuple(rows))
        return Call("det", (matrix,)) if name == "vmatrix" else matrix

    def _rows(self, cell) -> list[tuple[Node, ...]]:
        """Rows of cells, up to the command `end` (not read)."""
        rows, row = [], []
        for _ in range(MAX_CELLS):
            if self.is_command("hline"):
                self.take()
            if self.is_command("end"):
                break
            row.append(cell())
            if self.is_sign("&"):
                self.take()
                continue
            rows.append(tuple(row))
            row = []
            self._end_of_row()
        return rows

    def _end_of_row(self) -> None:
        r"""`\\`, with the extra space that `[2pt]` may ask for."""
        while self.is_command("\\", "cr", "newline"):
            self.take()
            ahead = [token.text for token in self.tokens[self.at : self.at + 4]]
            if len(ahead) == 4 and ahead[0] == "[" and ahead[2] in ("pt", "em", "ex", "mm", "cm"):
                self.at += 4

    def _case_cell(self) -> Node:
        """A value or a condition, without the words and commas around it."""
        self._skip_case_words()
        if self.token.text.strip().lower() in ("otherwise", "else"):
            self.take()
            return Sym("otherwise")
        found = self.relation()
        self._skip_case_words()
        return found

    def _skip_case_words(self) -> None:
        while self.token.kind in ("text", "word", "sign") and self.token.text.strip(" ,").lower() in _CASE_WORDS:
            self.take()

    def _brace_name(self) -> str:
        self.expect("{")
        name = ""
        while not self.is_sign("}"):
            if self.token.kind == "end":
                raise Unreadable("a group that does not end")
            name += self.take().text
        self.take()
        return name

    def members(self, closing: tuple[str, ...]) -> list[Node]:
        """Relations separated by commas or semicolons, up to a closing bracket (not read)."""
        items = [self.relation()]
        while self.is_sign(",", ";"):
            self.take()
            if self.token.text in closing and self.token.kind in ("sign", "command"):
                break
            items.append(self.relation())
        return items

    def relation(self) -> Node:
        """Sides joined by relation signs; one side alone is itself."""
        sides, ops = [self.union()], []
        while (op := self._relation_sign()) is not None:
            self.take()
            ops.append(op)
            sides.append(self.union())
        return sides[0] if not ops else Relation(tuple(sides), tuple(ops))

    def _relation_sign(self) -> str | None:
        token = self.token
        if token.kind == "sign" and token.text in names.SIGN_RELATIONS:
            return names.RELATIONS[token.text]
        if token.kind == "command":
            if token.text == "not":
                return self._negated()
            return names.RELATIONS.get(token.text)
        if token.kind == "word" and token.text == "in" and self.tokens[self.at + 1].kind != "end":
            return "in"
        return None

    def _negated(self) -> str | None:
        follows = self.tokens[self.at + 1]
        op = names.RELATIONS.get(follows.text)
        negated = {"=": "!=", "in": "notin", "<": ">=", ">": "<="}.get(op or "")
        if negated:
            self.take()
        return negated


def _case(row: tuple[Node, ...]) -> Node:
    return row[0] if len(row) == 1 else Seq("tuple", row, "()")
