"""Splits a cleaned answer into tokens, and holds a position among them. Knows spelling only, no grammar.

Words are kept whole (`odd`, `ab`, `cm`): whether letters are a name, a product or a unit is for the grammar to say.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from r1lab_verifiers.math.read.tree import MAX_DEPTH, MAX_NODES, Node, Unreadable

MAX_TOKENS = 4096
# "\frac{1}{2}"
_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | \\(?:text|textbf|textit|textrm|texttt|textsf|textnormal
      |mathrm|mathbf|mathit|mathsf|mathcal|mathbb|mathscr
      |mathfrak|mbox|hbox|operatorname|emph|bold|underline|bm|boldsymbol|unit)
      (?![A-Za-z])\*?\s*(?: \{ (?P<text>
          (?:\^\{-?[0-9]\}|\^\{?\\circ\}?|\\[A-Za-z]++|\\[^A-Za-z]|[^{}\\])*+ ) \} | (?P<letter>[A-Za-z]) )
  | (?P<repeating>[0-9]*\.[0-9]*\\(?:overline|bar|dot)\s*\{[0-9]+\}(?:[0-9]*\\dot\{[0-9]\})?)
  | (?P<number>(?:[0-9]+(?:\x1f[0-9]+)*(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+(?![0-9.]))?)
  | (?P<command>\\(?:[A-Za-z]+|.))
  | (?P<word>[A-Za-z]+)
  | (?P<sign>!=|<=|>=|:=|==|=>|->|<>|\*\*|\.\.\.+|.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(slots=True)
class Token:
    """A piece of the text with its kind."""

    kind: str
    """number, repeating, command, word, text (what stood in \\text{...}) or sign; `end` closes the list."""
    text: str
    spaced: bool
    """Whether white space stood before it."""
    start: int = 0


def tokenize(text: str) -> list[Token]:
    """Tokens of a cleaned text, ending with one of kind `end`. Unreadable where there are too many."""
    tokens, spaced = [], False
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "space":
            spaced = True
            continue
        if kind == "letter":
            tokens.append(Token("text", match["letter"], spaced, match.start()))
        elif kind == "text":
            tokens.append(Token("text", match["text"].replace("\\", " ").strip(), spaced, match.start()))
        elif kind == "command":
            tokens.append(Token("command", match[0][1:], spaced, match.start()))
        else:
            tokens.append(Token(kind, match[0], spaced, match.start()))
        spaced = False
        if len(tokens) > MAX_TOKENS:
            raise Unreadable("more tokens than any answer has")
    tokens.append(Token("end", "", spaced, len(text)))
    return tokens


class TokenCursor:
    """A position in the tokens of one text, with bounds on depth and nodes. The parser's classes build on it.

    They call one another's methods in a circle, as the grammar does; those are declared here, for type checkers.
    """

    atom: Callable[[], Node]
    power: Callable[[], Node]
    term: Callable[[], Node]
    sum: Callable[[], Node]
    union: Callable[[], Node]
    root: Callable[[], Node]
    braced: Callable[[], Node]
    argument: Callable[[], Node]
    postfix: Callable[[Node], Node]
    raw_argument: Callable[[], str]
    _exponent: Callable[[], Node]
    _juxtaposed: Callable[[], bool]

    def __init__(self, text: str):
        self.tokens: list[Token] = tokenize(text)
        self.at = 0
        self.depth = 0
        self.nodes = 0
        self.bars = 0
        """Open `|`: inside, a bar closes."""

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.at]

    def is_sign(self, *signs: str) -> bool:
        """Whether the next token is one of these signs."""
        token = self.tokens[self.at]
        return token.kind == "sign" and token.text in signs

    def is_command(self, *commands: str) -> bool:
        """Whether the next token is one of these commands, given without backslash."""
        token = self.tokens[self.at]
        return token.kind == "command" and token.text in commands

    def take(self) -> Token:
        """Read the next token."""
        token = self.tokens[self.at]
        self.at += 1
        self.nodes += 1
        if self.nodes > 2 * MAX_NODES:
            raise Unreadable("more nodes than any answer has")
        return token

    def expect(self, *texts: str) -> Token:
        """Read the next token, which must be one of these."""
        if self.token.kind not in ("sign", "command") or self.token.text not in texts:
            raise Unreadable(f"{' or '.join(texts)} expected at {self.token.text!r}")
        return self.take()

    def deeper(self) -> None:
        """One more level of nesting; the caller lowers `depth` again."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested deeper than any answer")
