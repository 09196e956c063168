"""Rewrites an answer's text where it is written in ways that the grammar does not have: approximations, bases in words,
`9 (apples)`, `7 425 000`, `]0, 1[`, a chain of implications.

Text in, text out, after `clean`; what is rewritten means the same as before.
"""

import re


def _outward(match: re.Match) -> str:
    """`]a, b[` with round brackets."""
    return f"({match[1]}{')' if match[2] == '[' else ']'}"


_WORD = r"(?:\\text\s*\{\s*)?%s(?:\s*\})?"
_REWRITES = (
    # "\text{12 apples}", "\textbf{p - q}"; not "\text{apples}"
    (
        "text",
        re.compile(r"\A\\text(?:bf|rm|it)?\s*\{\s*((?:[-(0-9]|[A-Za-z](?:[\^_]?[0-9])?\s*[-+*/=^])[^{}\\]*)\}\Z"),
        r"\1",
    ),
    (
        ".",
        # "0.3333..."; not "0.123..."
        re.compile(
            r"\A(-?[0-9]{0,12}\.[0-9]{0,12}?)(?:([0-9]{1,8}?)\2{2,8}|([0-9]{2,8}?)\3{1,8})\s*(?:\.\.\.+|\\(?:[lc]?dots))\s*\Z"
        ),
        lambda match: rf"{match[1]}\overline{{{match[2] or match[3]}}}",
    ),
    # "p(8) = 5"; not "n(n+1) = 6"
    ("=", re.compile(r"\A\s*[a-eg-zA-Z](?=\(-?[0-9][0-9/.]{0,9}\)\s*=)"), "f"),
    # "f (3) = 2"; not "a (3)"
    ("=", re.compile(r"\A\s*([fghFGPpq])\s+(?=\([^()]*(?:\([^()]*\)[^()]*)*\)\s*=)"), r"\1"),
    # "20 $cm^2$"; not "20 $x$"
    ("$", re.compile(r"\A(-?[0-9][0-9.,/]*)\s*\$\s*([A-Za-z]{2,}(?:\^\{?[0-9]\}?)?)\s*\$\Z"), r"\1 \2"),
    # "x = k\\pi (k \\in \\mathbb{Z})"; not "(k \\in A) \\cup B"
    (r"\in", re.compile(r"\s*\(\s*([a-z](?:\s*,\s*[a-z])*)\s*\\in\b\s*([^()]*)\)\s*\Z"), r", \1 \\in \2"),
    # "\\text{ for all } x \\in A"; not "\\text{for sale}"
    (
        r"\in",
        re.compile(r",?\s*(?:\\text\s*\{)?\s*\b(?:for (?:all|every|any)|where|with)\b\s*\}?(?=\s*[a-z]\s*\\in\b)"),
        ", ",
    ),
    # "**B)** 74"; not "**74**"
    ("**", re.compile(r"\A\*\*(\(?[A-H][).:]?)\*\*(?=\s|\Z)"), r"\1"),
    # "0.(3)"; not "0.5(3)"
    (".", re.compile(r"(?<![0-9])([0-9]*\.[0-9]*)\(([0-9]{1,12})\)(?![0-9])"), r"\1\\overline{\2}"),
    # "9 x $2"; not "2x"
    (" x ", re.compile(r"(?<=[0-9])\s+x\s+(?=\$?[0-9])"), r" \\times "),
    # "9/4 (or 2.25)", "9/4 (=2.25)"; not "9 (or 10 apples)"
    (
        "(",
        re.compile(
            r"\A([^(),]*?(?:\([^(),]*\)[^(),]*?)*)\s*(?:\\text\s*\{\s*)?\((?:or|i\.e\.,?|=)\s*([-0-9.\\$][^(),A-Za-z]*)\)\s*\}?\Z"
        ),
        r"\1 \\text{ or } \2",
    ),
    # "1 in 6", "3 out of 4"; not "3 in"
    (" ", re.compile(r"\A([0-9]+)\s*(?:\\text\s*\{)?\s*(?:in|out of)\s*\}?\s*([0-9]+)\Z"), r"\\frac{\1}{\2}"),
    # "negative 5"; not "negative five"
    ("", re.compile(r"\A\s*(?:negative|minus)\s+(?=[0-9\\$])", re.IGNORECASE), "-"),
    # "3./4"; not ".5/4"
    ("./", re.compile(r"(?<=[0-9])\./"), "/"),
    # "5^{\text{th}}"; not "5 m"
    (
        "",
        re.compile(r"\A([0-9]+)\s*\^?\s*\{?\s*(?:\\(?:text|mathrm|textrm|mbox)\s*\{\s*)?(?:st|nd|rd|th)\s*\}?\s*\}?\Z"),
        r"\1",
    ),
    (
        "",
        # "\\equiv 9 \\pmod{11}"; not "x \\equiv 9"
        re.compile(r"\A\s*&?\s*\\equiv\s*\{?(-?[0-9]{1,12})\}?\s*\\bmod\s*\{?[0-9]{1,12}\}?\Z"),
        r"\1",
    ),
    (
        "",
        # "= x + 1"; not "== x"
        re.compile(r"\A\s*&?\s*(?:=|\\equiv(?![a-z]))\s*(?=[-0-9.\\$({|\[A-Za-z])"),
        "",
    ),
    # "2x = 4 \\Rightarrow x = 2"; not "p \\Rightarrow q"
    (
        "=",
        re.compile(
            r"\A[^=<>\n]{1,200}[=<>].{0,600}(?:\\Rightarrow|\\implies|\\Longrightarrow|\\Leftrightarrow|\\iff)(?![A-Za-z])(?=[^=<>]*(?:=|<|>|\\equiv|\\in|\\[gl]e))",
            re.DOTALL,
        ),
        "",
    ),
    (
        "",
        # "\approx 3.14"; not "\approx x"
        re.compile(
            r"\A\s*(?:\\approx(?![a-z])|\\sim(?![a-z])|"
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


def rewritten(text: str) -> str:
    """The text with every way to write of the table undone."""
    for mark, pattern, made in _REWRITES:
        if mark in text:
            text = pattern.sub(made, text)
    return text
