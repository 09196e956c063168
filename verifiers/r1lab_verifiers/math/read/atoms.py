"""Parses the atoms of an expression: numbers, names, fractions, roots, with a backslash or as words.

A part of the parser (`expression`), not a class to use alone.
"""

import re
from fractions import Fraction

from r1lab_verifiers.math.read import names
from r1lab_verifiers.math.read.operators import Operators
from r1lab_verifiers.math.read.tokens import Token
from r1lab_verifiers.math.read.tree import (
    HALF,
    MAX_DIGITS,
    ONE,
    Call,
    Const,
    Mul,
    Node,
    Num,
    Pow,
    Seq,
    Sym,
    Unreadable,
    contains,
    div,
    sub,
    symbols,
)

_CLOSERS = {
    "lfloor": ("rfloor", "floor"),
    "lceil": ("rceil", "ceil"),
    "llcorner": ("lrcorner", "floor"),
    "ulcorner": ("urcorner", "ceil"),
    "lvert": ("rvert", "abs"),
    "lVert": ("rVert", "abs"),
    "Vert": ("Vert", "abs"),
    "|": ("|", "abs"),
    "vert": ("vert", "abs"),
    "mid": ("mid", "abs"),
}
_FRACTIONS = {"frac", "dfrac", "tfrac", "cfrac", "sfrac", "nicefrac"}
_GLUED = ("pi", "sqrt", "sin", "cos", "tan", "ln", "log", "exp")
_ACCENTS = {"bar": "overline", "widehat": "hat", "widetilde": "tilde", "overrightarrow": "vec", "widearc": "overarc"}
"""Those that mean the same as another; the others stand for themselves."""
_ACCENTS |= {name: name for name in ("overline", "hat", "vec", "tilde", "dot", "ddot", "overarc", "operatorname")}
_TRANSPARENT = ("boxed", "fbox", "mathop", "underbrace", "overbrace")

# "1.5", "2"; not ".5"
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?")
# "0.1\overline{6}"; not "0.16"
_REPEATING = re.compile(r"([0-9]*)\.([0-9]*)\\(?:overline|bar|dot)\s*\{([0-9]+)\}(?:([0-9]*)\\dot\{([0-9])\})?")


class Atoms(Operators):
    """Reads what an expression is made of: a number, a name, a bracket, a command with its arguments."""

    def atom(self) -> Node:
        """The atom at this place."""
        token = self.token
        match token.kind:
            case "number":
                return self._based(self.take()) if self._has_base() else decimal_number(self.take().text)
            case "repeating":
                return repeating_decimal(self.take().text)
            case "word":
                return self._word(self.take())
            case "text":
                return self._text(self.take())
            case "command":
                return self._command(self.take())
            case "sign" if token.text in "([{":
                return self.bracketed()
            case "sign" if token.text == "|":
                return self._between("|", "abs")
            case "sign" if token.text.startswith("..."):
                self.take()
                return Sym("...")
            case "sign" if token.text in ("\u03c0",):
                self.take()
                return Const("pi")
        raise Unreadable(f"nothing to read at {token.text!r}")

    def _word(self, token: Token) -> Node:
        word = token.text
        if word in names.WORD_FUNCTIONS:
            return self.apply(names.ALIASES.get(word, word))
        if word in names.CONSTANTS:
            return Const(names.CONSTANTS[word])
        if word in names.GREEK and len(word) > 2:
            return Sym(names.SAME_LETTER.get(word, word))
        if len(word) == 1:
            return self._letter(word)
        if not is_name(word):
            raise Unreadable(f"the word {word!r}")
        glued = next((name for name in _GLUED if _glued(word, name)), None)  # 2xsqrt(3), xsin(x)
        rest = [glued] if glued else list(word[1:])
        self.tokens[self.at - 1 : self.at] = [Token("word", part, False, token.start) for part in (word[0], *rest)]
        return self._letter(word[0])

    def _letter(self, letter: str) -> Node:
        is_at_zero = self._is_called() and self.tokens[self.at + 1].text == "0"  # a factor 0 is nobody's answer
        if letter in ("i", "I") and not is_at_zero:
            return Const("i")
        if letter == "e":
            return Const("e")
        if letter in names.CALLED and self._takes_inverse():
            letter += "^-1"
        if is_at_zero or (letter[0] in names.CALLED and self._is_called()):
            arguments = self.bracketed()
            return Call(letter, arguments.items if isinstance(arguments, Seq) else (arguments,))
        return Sym(letter)

    def _takes_inverse(self) -> bool:
        """Reads the `^{-1}` of f^{-1}(x), which is no power."""
        ahead = [token.text for token in self.tokens[self.at : self.at + 6]]
        is_inverse = ahead == ["^", "{", "-", "1", "}", "("]
        self.at += 5 * is_inverse
        return is_inverse

    def _is_called(self) -> bool:
        return not self.token.spaced and (
            self.is_sign("(") or (self.is_sign("{") and self.tokens[self.at + 1].text == "(")
        )

    def _text(self, token: Token) -> Node:
        word = token.text.strip()
        if word in names.FUNCTIONS or word in names.ALIASES:
            return self.apply(names.ALIASES.get(word, word))
        if len(word) == 1 and word.isalpha():
            return self._letter(word)
        if _DECIMAL.fullmatch(word):
            return decimal_number(word)
        raise Unreadable(f"the text {word!r}")

    def _command(self, token: Token) -> Node:
        name = token.text
        if name in _FRACTIONS:
            return self._fraction(self.argument(), self.argument())
        if name == "sqrt":
            return self.root()
        if name in _CLOSERS:
            closing, function = _CLOSERS[name]
            return self._between(closing, function, opened=True)
        if name in ("binom", "dbinom", "tbinom"):
            top = self.argument()
            return Call("binom", (top, self.argument()))
        if name in names.FUNCTIONS or name in names.ALIASES:
            return self.apply(names.ALIASES.get(name, name))
        if name in names.CONSTANTS:
            return Const(names.CONSTANTS[name])
        if name == "Gamma" and self.is_sign("("):
            return Call("factorial", (sub(self.bracketed(), ONE),))
        if name in names.GREEK:
            return Sym(names.SAME_LETTER.get(name, name))
        if name in names.EMPTY:
            return Seq("set", ())
        if name in names.ELLIPSES:
            return Sym("...")
        if name in _TRANSPARENT:
            return self.argument()
        if name in _ACCENTS:
            return self._accented(_ACCENTS[name], self.argument())
        if name in ("imath", "jmath", "mathrm", "prime"):
            return Const("i") if name == "imath" else Sym(name)
        if name in ("{", "lbrace", "langle", "lbrack", "lparen"):
            self.at -= 1
            return self.bracketed()
        if name == "begin":
            return self.environment()
        if name in ("angle", "measuredangle", "triangle", "odot"):
            return Call(name, (self.power(),))
        return self.operator(name)

    def _fraction(self, top: Node, bottom: Node) -> Node:
        """A quotient; d/dx before a term is a derivative, dy/dx a name."""
        match top, bottom:
            case Sym("d" | "partial"), Mul((Sym("d" | "partial"), Sym(variable))):
                return Call("diff", (self.term(), Sym(variable)))
            case Mul((Sym("d" | "partial"), Sym(name))), Mul((Sym("d" | "partial"), Sym(variable))):
                return Sym(f"d{name}/d{variable}")
        return div(top, bottom)

    def _accented(self, name: str, inner: Node) -> Node:
        is_complex = contains(inner, lambda each: each == Const("i")) and not symbols(inner)
        return Call("conj" if name == "overline" and is_complex else name, (inner,))

    def braced(self) -> Node:
        """{...} as one expression."""
        self.deeper()
        self.expect("{")
        if self.is_command("circ", "degree", "prime"):
            inner = Sym("prime" if self.take().text == "prime" else "circ")
        elif self.is_sign("'"):
            self.take()
            inner = Sym("prime")
        else:
            bars, self.bars = self.bars, 0
            items = self.members(("}",))
            self.bars = bars
            inner = items[0] if len(items) == 1 else Seq("list", tuple(items))
        self.expect("}")
        self.depth -= 1
        return inner

    def argument(self) -> Node:
        r"""What TeX takes as one argument: a group, or one character: \frac12 is 1/2."""
        if self.is_sign("{"):
            return self.braced()
        self.deeper()
        if self.token.kind in ("number", "word") and len(self.token.text) > 1:
            token = self.token
            self.tokens[self.at] = Token(token.kind, token.text[1:], False, token.start + 1)
            node = decimal_number(token.text[0]) if token.kind == "number" else self._letter(token.text[0])
        else:
            node = decimal_number(self.take().text) if self.token.kind == "number" else self.atom()
        self.depth -= 1
        return node

    def raw_argument(self) -> str:
        """An index as text: x_{12}, x_1, a_n."""
        if not self.is_sign("{"):
            token = self.take()
            if token.kind not in ("number", "word", "text", "command") and token.text != "*":
                raise Unreadable("an index without a name")
            return token.text
        self.take()
        parts = []
        while not self.is_sign("}"):
            if self.token.kind == "end" or self.is_sign("{"):
                raise Unreadable("an index that does not end")
            parts.append(self.take().text)
        self.take()
        return "".join(parts).replace(" ", "")

    def proper_fraction(self) -> Fraction | None:
        r"""The `\frac12` or ` 1/2` of a mixed number, if the tokens here are one."""
        if self.is_command("frac", "dfrac", "tfrac", "cfrac"):
            saved = self.at, list(self.tokens)
            match self.atom():
                case Mul((Num(top), Pow(Num(bottom), _))) if _is_proper(top, bottom):
                    return top / bottom
            self.at, self.tokens = saved
            return None
        ahead = self.tokens[self.at : self.at + 3]
        if (
            len(ahead) == 3
            and [t.kind for t in ahead] == ["number", "sign", "number"]
            and ahead[1].text == "/"
            and ahead[0].spaced
        ):
            top, bottom = (Fraction(t.text.replace("\x1f", "")) for t in (ahead[0], ahead[2]))
            if _is_proper(top, bottom):
                self.at += 3
                return top / bottom
        return None

    def root(self) -> Node:
        """A root, behind its sign: `[3]{8}`, `{2}`, `2`."""
        degree = None
        if self.is_sign("["):
            self.take()
            degree = self.sum()
            self.expect("]")
        self.deeper()
        inner = self.braced() if self.is_sign("{") else self.atom()
        self.depth -= 1
        return Pow(inner, HALF if degree is None or degree == Num(Fraction(2)) else div(ONE, degree))

    def _between(self, closing: str, function: str, opened: bool = False) -> Node:
        if not opened:
            self.take()
        self.deeper()
        self.bars += closing in ("|", "vert", "mid", "Vert")
        inner = self.union()
        self.bars -= closing in ("|", "vert", "mid", "Vert")
        self.expect(closing)
        self.depth -= 1
        return Call(function, (inner,))

    def _has_base(self) -> bool:
        ahead = self.tokens[self.at + 1 : self.at + 3]
        return (
            len(ahead) == 2
            and ahead[0].text == "_"
            and (ahead[1].text in ("{", "(") or ahead[1].kind in ("number", "text", "word"))
        )

    def _based(self, token: Token) -> Node:
        self.take()
        base = self.raw_argument().strip("()")
        value = names.BASES.get(base.lower()) or (int(base) if base.isdigit() and len(base) < 3 else 0)
        if not 2 <= value <= 36:
            raise Unreadable("an index on a number that is no base")
        return Call("based", (Sym(token.text.replace("\x1f", "")), Num(Fraction(value))))


def _is_proper(top: Fraction, bottom: Fraction) -> bool:
    return top.denominator == bottom.denominator == 1 and 0 < top < bottom


def is_name(word: str) -> bool:
    """Whether a run of letters is mathematics: a function, a constant, a Greek letter, a product of a few letters."""
    if word in names.JOINERS:
        return False
    if len(word) == 1 or word in names.WORD_FUNCTIONS or word in names.CONSTANTS or word in names.GREEK:
        return True
    return (len(word) <= 3 and word.lower() not in names.WORDS) or any(_glued(word, name) for name in _GLUED)


def _glued(word: str, name: str) -> bool:
    return word.endswith(name) and len(word) - len(name) == 1


def decimal_number(text: str) -> Num:
    """A decimal number as an exact one that remembers how many places it was written with."""
    text = text.replace("\x1f", "")
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > MAX_DIGITS or len(exponent) > 6 or abs(int(exponent or 0)) > MAX_DIGITS:
        raise Unreadable("more digits than any answer has")
    whole, point, places = mantissa.partition(".")
    if not point and not exponent:
        return Num(Fraction(int(whole)))
    return Num(Fraction(text), len(places) - int(exponent or 0))


def repeating_decimal(text: str) -> Num:
    r"""0.1\overline{6} as the fraction that it is, 1/6."""
    ((whole, fixed, cycle, middle, last),) = _REPEATING.findall(text)
    cycle += middle + last
    scale = 10 ** len(fixed)
    value = Fraction(int((whole or "0") + fixed), scale) + Fraction(int(cycle), scale * (10 ** len(cycle) - 1))
    return Num(value)
