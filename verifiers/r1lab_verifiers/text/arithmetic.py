"""Arithmetic over whole numbers, exactly: reads `(3 + 4) * 2`, gives its value and the numbers it uses. Never eval.

Only + - * / (also their printed forms), parentheses and a leading minus. No decimals, no powers, ASCII digits only.
"""

import re
from fractions import Fraction

MAX_TOKENS = 128
"""Bounds the depth of the recursion as well."""
_PRINTED = str.maketrans({"\u00d7": "*", "\u22c5": "*", "\u00b7": "*", "\u00f7": "/", "\u2212": "-"})
# " (3"; not "x"
_TOKEN = re.compile(r"\s*([0-9]{1,20}|[-+*/()])")


class ArithmeticFault(ValueError):
    """What is not an expression, or divides by zero."""


def plain_operators(text: str) -> str:
    r"""The text with printed and LaTeX operators made + - * /."""
    text = text.translate(_PRINTED)
    # "3 \times 4"; not "\timestamp"
    text = re.sub(r"\\times\b|\\cdot\b", "*", text)
    # "6 \div 3"; not "\divide"
    text = re.sub(r"\\div\b", "/", text)
    # "\left("; not "left"
    return re.sub(r"\\left|\\right", "", text)


def evaluate(text: str) -> tuple[Fraction, list[int]]:
    """(value, the numbers in order of appearance); raises ArithmeticFault."""
    reader = ArithmeticParser(_tokens(text))
    value = reader.sum()
    if reader.left:
        raise ArithmeticFault(f"unexpected {reader.left[-1]!r}")
    return value, reader.numbers


def _tokens(text: str) -> list[str]:
    text, tokens, position = text.rstrip(), [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or len(tokens) == MAX_TOKENS:
            raise ArithmeticFault(f"cannot read {text[position : position + 20]!r}" if match is None else "too long")
        tokens.append(match[1])
        position = match.end()
    return tokens


class ArithmeticParser:
    """Recursive descent: sum -> product -> factor."""

    def __init__(self, tokens: list[str]):
        self.left = tokens[::-1]
        self.numbers: list[int] = []

    def next_is(self, *symbols: str) -> str | None:
        """Take the next token if it is one of these."""
        return self.left.pop() if self.left and self.left[-1] in symbols else None

    def sum(self) -> Fraction:
        """Products joined by + and -."""
        value = self.product()
        while sign := self.next_is("+", "-"):
            value += self.product() if sign == "+" else -self.product()
        return value

    def product(self) -> Fraction:
        """Factors joined by * and /."""
        value = self.factor()
        while sign := self.next_is("*", "/"):
            other = self.factor()
            if sign == "/" and other == 0:
                raise ArithmeticFault("division by zero")
            value = value * other if sign == "*" else value / other
        return value

    def factor(self) -> Fraction:
        """A number, a sum in parentheses, or the negative of a factor."""
        if self.next_is("-"):
            return -self.factor()
        if self.next_is("("):
            value = self.sum()
            if not self.next_is(")"):
                raise ArithmeticFault("a parenthesis is not closed")
            return value
        if not self.left or not self.left[-1].isdigit():
            raise ArithmeticFault("a number is missing")
        self.numbers.append(int(self.left.pop()))
        return Fraction(self.numbers[-1])
