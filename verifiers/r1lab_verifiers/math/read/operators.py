r"""Parses applied functions and large operators: \sin x, \log_2 8, sums, products, integrals, limits.

A part of the parser (`expression`), not a class to use alone.
"""

from fractions import Fraction

from r1lab_verifiers.math.read import names
from r1lab_verifiers.math.read.structures import Structures
from r1lab_verifiers.math.read.tokens import Token
from r1lab_verifiers.math.read.tree import (
    ONE,
    Big,
    Call,
    Const,
    Node,
    Num,
    Pow,
    Relation,
    Seq,
    Sym,
    Unreadable,
    children,
    div,
    mul,
    neg,
    rebuild,
)

_INVERSES = {"sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh"}
_BIG = {"sum": "sum", "prod": "prod", "int": "int", "lim": "lim"}
_SEVERAL = ("gcd", "lcm", "max", "min", "binom", "mod")
"""Functions of several arguments; binom and mod have two."""
_STOPS = {"sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "cdot", "times", "div", "sum", "int", "lim"}


class Operators(Structures):
    """The methods of the parser that read functions and large operators."""

    def apply(self, name: str) -> Node:
        r"""A function's argument: `\sin x`, `sin(x)`, `\sin^2 x`, `\log_2 8`, `\ln 2x`, `max(a, b)`."""
        if name == "sqrt":
            return self.root()
        if name == "exp":
            return Pow(Const("e"), self._operand()[0])
        base = exponent = None
        if name == "lg":
            name, base = "log", Num(Fraction(10))
        for _ in range(2):
            if self.is_sign("_"):
                self.take()
                base = self.argument()
            if self.is_sign("^"):
                self.take()
                exponent = self.braced() if self.is_sign("{") else self._exponent()
        if exponent == Num(Fraction(-1)) and name in _INVERSES:
            name, exponent = f"arc{name}", None
        arguments = self._operand()
        if name == "log" and len(arguments) == 2 and base is None:
            arguments, base = arguments[:1], arguments[1]
        if len(arguments) != 1 and name not in _SEVERAL:
            raise Unreadable(f"{len(arguments)} arguments of {name}")
        if name in ("binom", "mod") and len(arguments) != 2:
            raise Unreadable(f"{len(arguments)} arguments of {name}")
        called = Call(name, arguments)
        if name == "log" and base not in (None, Const("e")):
            called = div(called, Call("log", (base,)))
        elif base is not None and name not in ("log", "max", "min"):
            raise Unreadable(f"an index on {name}")
        return called if exponent is None else Pow(called, exponent)

    def _operand(self) -> tuple[Node, ...]:
        if self.is_sign("(", "[", "{") or self.is_command("{", "lbrace"):
            is_group = self.is_sign("{") and self.tokens[self.at + 1].text != "("
            inner = self.bracketed()
            if (
                is_group and not isinstance(inner, Seq) and self.is_sign("^", "!")
            ):  # \ln{2}^2 is printed as ln 2^2, f(x)^2 is f(x) squared
                inner = self.postfix(inner)
            return inner.items if isinstance(inner, Seq) else (inner,)
        self.deeper()
        sign = self.is_sign("-") and bool(self.take())
        factors = [self.power()]
        while (
            self._juxtaposed()
            and not (self.token.kind == "command" and self.token.text in _STOPS)
            and not (self.is_sign("(") or (self.token.kind == "word" and self.token.text in names.WORD_FUNCTIONS))
        ):
            factors.append(self.power())
        while self.is_sign("/") and self.tokens[self.at + 1].kind in ("number", "word"):  # sin pi/3
            self.take()
            factors = [div(mul(*factors), self.power())]
        self.depth -= 1
        return (neg(mul(*factors)) if sign else mul(*factors),)

    def operator(self, name: str) -> Node:
        """Sums, products, integrals and limits; whatever else a command may be is not known here."""
        if name not in _BIG:
            if name in ("mathbb", "Re", "Im"):
                return Sym(name)
            raise Unreadable(f"the command {name!r}")
        low = high = None
        for _ in range(2):
            if self.is_sign("_"):
                self.take()
                low = self._bound()
            if self.is_sign("^"):
                self.take()
                high = self.argument()
        self.deeper()
        found = self._integral(low, high) if name == "int" else self._indexed(name, low, high)
        self.depth -= 1
        return found

    def _bound(self) -> Node:
        if not self.is_sign("{"):
            return self.argument()
        self.take()
        found = self.relation()
        self.expect("}")
        return found

    def _indexed(self, name: str, low: Node | None, high: Node | None) -> Node:
        match low:
            case Relation((Sym(variable), start), ("=",)) if name != "lim":
                return Big(name, variable, start, high, self.term())
            case Relation((Const("i"), start), ("=",)) if name != "lim":
                return self._over_i(name, start, high)
            case Relation((Sym(variable), point), ("->",)) if name == "lim":
                return Big(name, variable, point, None, self.term())
        raise Unreadable(f"{name} over what?")

    def _over_i(self, name: str, start: Node, high: Node | None) -> Node:
        """An index called i is no imaginary unit."""

        def rename(node: Node) -> Node:
            parts = children(node)
            return (
                Sym("i") if node == Const("i") else rebuild(node, [rename(part) for part in parts]) if parts else node
            )

        return Big(name, "i", start, high, rename(self.term()))

    def _integral(self, low: Node | None, high: Node | None) -> Node:
        """The body ends at `dx`; a bare `dx` is 1."""
        self._cut_differentials()
        end = next((at for at in range(self.at, len(self.tokens)) if self._is_differential(at)), None)
        if end is None:
            raise Unreadable("an integral without dx")
        token = self.tokens[end]
        variable = token.text[1:] or self.tokens[end + 1].text
        if self.tokens[end - 1].text == "{" and self.tokens[end + 1].text == "}":  # \frac{dx}{x}
            self.tokens[end] = Token("number", "1", False, token.start)
            return Big("int", variable, low, high, self.term())
        rest = self.tokens[end + 1 + (not token.text[1:]) :]
        self.tokens = [*self.tokens[:end], type(token)("end", "", False, token.start), *rest]
        body = self.sum() if self.at < end else ONE
        if self.token.kind != "end":
            raise Unreadable("an integral that does not end")
        del self.tokens[self.at]
        return Big("int", variable, low, high, body)

    def _cut_differentials(self) -> None:
        """`xdx` as two words."""
        for at in range(len(self.tokens) - 1, self.at - 1, -1):
            token = self.tokens[at]
            if token.kind == "word" and 2 < len(token.text) < 6 and token.text[-2] == "d":
                parts = token.text[:-2], token.text[-2:]
                self.tokens[at : at + 1] = [Token("word", part, False, token.start) for part in parts]

    def _is_differential(self, at: int) -> bool:
        token = self.tokens[at]
        if token.kind == "word" and len(token.text) == 2 and token.text[0] == "d":
            return True
        follows = self.tokens[at + 1] if at + 1 < len(self.tokens) else token
        return (
            token.text == "d"
            and token.kind in ("word", "text")
            and follows.kind in ("word", "command")
            and len(follows.text) < 7
        )
