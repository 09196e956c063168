"""Parses one expression: sums, products, powers, roots, functions, brackets; recursive descent over tokens.

Builds the tree of `tree` and evaluates nothing. What stands around expressions (lists, relations, units) is `answer`'s;
it shares this parser's position. Depth and nodes are bounded, so no text can exhaust the stack.
"""

from collections.abc import Iterator
from itertools import repeat

from r1lab_verifiers.math.read import names
from r1lab_verifiers.math.read.atoms import Atoms, decimal_number, is_name
from r1lab_verifiers.math.read.tree import (
    MAX_DEPTH,
    Call,
    Const,
    Node,
    Num,
    Percent,
    Pow,
    Relation,
    SetOp,
    Sym,
    Unreadable,
    add,
    div,
    mul,
    neg,
    substitute,
)


class Parser(Atoms):
    """Reads one expression. Every method leaves `at` behind what it read; Unreadable where the grammar has no such
    text."""

    def union(self) -> Node:
        """Sums joined by set operators, from left to right."""
        left = self.sum()
        for _ in self.chained():
            if (op := self._set_operator()) is None:
                return left
            self.take()
            left = SetOp(op, left, self.sum())
        return left

    def chained(self) -> Iterator[None]:
        """Turns of a loop whose every turn nests the tree one deeper: a/b/c, n!!, A cup B cup C."""
        yield from repeat(None, MAX_DEPTH)
        raise Unreadable("chained longer than any answer")

    def _set_operator(self) -> str | None:
        if self.token.kind == "command" and self.token.text in names.SET_OPERATORS:
            return names.SET_OPERATORS[self.token.text]
        if (
            self.token.kind == "word"
            and self.token.text in ("U", "cup", "cap", "union", "intersect")
            and self.at
            and self.tokens[self.at - 1].text in ")]}"
        ):
            return "cap" if self.token.text in ("cap", "intersect") else "cup"
        return None

    def sum(self) -> Node:
        r"""Terms with + and -; TeX's `a \over b` too."""
        self.deeper()
        parts: list[Node] = [self.signed()]
        while True:
            if self.is_sign("+"):
                self.take()
                parts.append(self.signed())
            elif self.is_sign("-"):
                self.take()
                parts.append(neg(self.signed()))
            elif self.is_command("pm", "mp"):
                sign = self.take().text
                parts.append(Call(sign, (self.signed(),)))
            else:
                break
        total = add(*parts)
        if self.is_command("over", "choose"):
            is_fraction = self.take().text == "over"
            other = self.sum()
            total = div(total, other) if is_fraction else Call("binom", (total, other))
        self.depth -= 1
        return total

    def signed(self) -> Node:
        """A term with its signs."""
        if self.is_sign("-"):
            self.take()
            inner = self._nested_sign()
            if isinstance(inner, Call) and inner.name == "mod":  # -7 mod 5 is (-7) mod 5
                return Call("mod", (neg(inner.args[0]), inner.args[1]))
            return neg(inner)
        if self.is_sign("+"):
            self.take()
            return self._nested_sign()
        if self.is_command("pm", "mp"):
            return Call(self.take().text, (self._nested_sign(),))
        return self.term()

    def _nested_sign(self) -> Node:
        self.deeper()
        found = self.signed()
        self.depth -= 1
        return found

    def term(self) -> Node:
        """A product, from left to right; `mod` binds as tightly as a division."""
        factors: list[Node] = [self.power()]
        divisions = self.chained()
        while True:
            if self.tokens[self.at].kind == "end":
                return mul(*factors)
            if self.is_sign("*") or self.is_command(*names.TIMES):
                self.take()
                factors.append(self._factor())
            elif self.is_sign("/") or self.is_command("div"):
                self.take()
                next(divisions)
                factors = [div(mul(*factors), self._factor())]
            elif self.is_command("mod", "bmod"):
                self.take()
                next(divisions)
                factors = [Call("mod", (mul(*factors), self._factor()))]
            elif self._juxtaposed():
                self._multiply(factors)
            else:
                return mul(*factors)

    def _factor(self) -> Node:
        if self.is_sign("-", "+") or self.is_command("pm", "mp"):
            self.deeper()
            sign = self.take().text
            inner = self._factor()
            self.depth -= 1
            return neg(inner) if sign == "-" else inner if sign == "+" else Call(sign, (inner,))
        return self.power()

    def _multiply(self, factors: list[Node]) -> None:
        """The next factor, written without a sign. An integer before a proper fraction is a mixed number."""
        first = factors[-1]
        if isinstance(first, Num) and _is_whole(first) and (part := self.proper_fraction()) is not None:
            factors[-1] = self.postfix(Num(first.value + part))
            return
        if self.token.kind == "number" and isinstance(first, Num):
            raise Unreadable("two numbers side by side")
        factors.append(self.power())

    def _juxtaposed(self) -> bool:
        """Whether a factor follows without a sign."""
        token = self.token
        match token.kind:
            case "number" | "repeating":
                return True
            case "word":
                return self._set_operator() is None and is_name(token.text)
            case "text":
                return len(token.text) == 1 or token.text in names.FUNCTIONS or token.text in names.ALIASES
            case "command":
                return not (
                    token.text in names.NOT_FACTORS or token.text in names.RELATIONS or token.text in names.ELLIPSES
                )
            case "sign":
                return token.text in "([{" or (token.text == "|" and not self.bars)
        return False

    def power(self) -> Node:
        """An atom with what is written behind it: powers, indices, factorials, primes, percent, degrees."""
        base = self.atom()
        return self.postfix(base)

    def postfix(self, base: Node) -> Node:
        """The base with what is written behind it."""
        for _ in self.chained():
            if self.tokens[self.at].kind not in ("sign", "command"):
                return base
            if self.is_sign("^", "**"):
                self.take()
                base = self._raise(base)
            elif self.is_sign("!"):
                self.take()
                base = Call("factorial", (base,))
            elif self.is_sign("|") and self.tokens[self.at + 1].text == "_":
                base = self._evaluated_at(base)
            elif self.is_sign("'"):
                self.take()
                base = Sym(f"{base.name}'") if isinstance(base, Sym) else Call("prime", (base,))
            elif self.is_sign("%") or self.is_command("%"):
                self.take()
                base = Percent(base)
            elif self.is_command("degree", "textdegree"):
                self.take()
                base = Call("deg", (base,))
            elif self.is_sign("_") and isinstance(base, Pow):
                self.take()
                base = Pow(Sym(f"{_name(base.base)}_{self.raw_argument()}"), base.exponent)
            elif self.is_sign("_") and not isinstance(base, Num):
                self.take()
                base = Sym(f"{_name(base)}_{self.raw_argument()}")
            else:
                return base
        return base

    def _evaluated_at(self, base: Node) -> Node:
        """(x + 1)|_{x = 3}"""
        self.at += 2
        match self.braced():
            case Relation((Sym(name), value), ("=",)):
                return substitute(base, name, value)
        raise Unreadable("evaluated at what?")

    def _raise(self, base: Node) -> Node:
        if self.is_command("circ", "degree"):
            self.take()
            return Call("deg", (base,))
        if self.is_sign("'") or self.is_command("prime"):
            self.take()
            return Sym(f"{_name(base)}'")
        if self.is_command("top", "intercal", "dagger") or (
            self.token.text == "T" and self.token.kind in ("word", "text") and not isinstance(base, Num)
        ):
            self.take()
            return Call("transpose", (base,))
        if self.is_sign("{"):
            exponent = self.braced()
            if exponent == Sym("circ"):
                return Call("deg", (base,))
            if isinstance(exponent, Sym) and exponent.name == "prime":
                return Sym(f"{_name(base)}'")
        else:
            self.deeper()
            exponent = self._exponent()
            self.depth -= 1
        return Pow(base, exponent)

    def _exponent(self) -> Node:
        if self.is_sign("-", "+"):
            return neg(self._exponent()) if self.take().text == "-" else self._exponent()
        base = decimal_number(self.take().text) if self.token.kind == "number" else self.atom()
        if self.is_sign("^", "**"):  # 2^3^4 is 2^(3^4)
            self.take()
            base = self._raise(base)
        while self.is_sign("!"):
            self.take()
            base = Call("factorial", (base,))
        return base


def _is_whole(node: Num) -> bool:
    return node.value.denominator == 1 and node.places is None


def _name(node: Node) -> str:
    if isinstance(node, Sym | Const):
        return node.name
    raise Unreadable("an index on something that has no name")
