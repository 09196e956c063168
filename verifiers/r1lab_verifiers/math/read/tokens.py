r"""Cuts a cleaned answer into tokens. Knows spelling only, no grammar.

Words are kept whole (`odd`, `ab`, `cm`): whether letters are a name, a product or a unit is for the grammar to say.
"""

import re
from dataclasses import dataclass

from r1lab_verifiers.math.read.tree import Unreadable

MAX_TOKENS = 4096
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
    kind: str
    """number, repeating, command, word, text (what stood in \\text{...}) or sign; `end` closes the list."""
    text: str
    spaced: bool
    """Whether white space stood before it."""
    start: int = 0


def tokenize(text: str) -> list[Token]:
    """Tokens of a cleaned text, ending with one of kind `end`. Unreadable where there are too many."""
    found, spaced = [], False
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "space":
            spaced = True
            continue
        if kind == "letter":
            found.append(Token("text", match["letter"], spaced, match.start()))
        elif kind == "text":
            found.append(Token("text", match["text"].replace("\\", " ").strip(), spaced, match.start()))
        elif kind == "command":
            found.append(Token("command", match[0][1:], spaced, match.start()))
        else:
            found.append(Token(kind, match[0], spaced, match.start()))
        spaced = False
        if len(found) > MAX_TOKENS:
            raise Unreadable("more tokens than any answer has")
    found.append(Token("end", "", spaced, len(text)))
    return found
