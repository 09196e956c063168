"""Normalizes an answer's text before it is cut into tokens: Unicode signs, spacing commands, frames, digit groups.

Keeps every mark that has a meaning; removes nothing that could turn a wrong answer into a right one.
"""

import re
import unicodedata

UNICODE = {
    "\u2212": "-",
    "\u2013": "-",
    "\u2014": "-",
    "\u00d7": r"\times ",
    "\u00f7": r"\div ",
    "\u00b7": r"\cdot ",
    "\u22c5": r"\cdot ",
    "\u2217": "*",
    "\u221a": r"\sqrt ",
    "\u221e": r"\infty ",
    "\u2264": r"\le ",
    "\u2265": r"\ge ",
    "\u2260": r"\ne ",
    "\u2236": ":",
    "\u2248": r"\approx ",
    "\u222a": r"\cup ",
    "\u2229": r"\cap ",
    "\u2208": r"\in ",
    "\u2205": r"\emptyset ",
    "\u2216": r"\setminus ",
    "\u211d": r"\mathbb{R}",
    "\u2124": r"\mathbb{Z}",
    "\u2115": r"\mathbb{N}",
    "\u211a": r"\mathbb{Q}",
    "\u2102": r"\mathbb{C}",
    "\u00b0": r"^\circ ",
    "\u00b1": r"\pm ",
    "\u2213": r"\mp ",
    "\u00b2": "^2",
    "\u00b3": "^3",
    "\u00b9": "^1",
    "\u2070": "^0",
    "\u2074": "^4",
    "\u2075": "^5",
    "\u2076": "^6",
    "\u207f": "^n",
    "\u00bd": r"\frac{1}{2}",
    "\u00bc": r"\frac{1}{4}",
    "\u00be": r"\frac{3}{4}",
    "\u2153": r"\frac{1}{3}",
    "\u2154": r"\frac{2}{3}",
    "\u2018": "'",
    "\u2019": "'",
    "\u2032": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2044": "/",
    "\u2215": "/",
    "\u2026": r"\ldots ",
    "\u22ef": r"\ldots ",
    "\u2220": r"\angle ",
    "\u2211": r"\sum ",
    "\u222b": r"\int ",
    "\u27e8": r"\langle ",
    "\u27e9": r"\rangle ",
    "\u2081": "_1",
    "\u2082": "_2",
    "\u2083": "_3",
    "\u2080": "_0",
    "\u2223": "|",
    "\u2192": r"\to ",
    "\u21d2": r"\implies ",
    "\u00a0": " ",
    "\u202f": " ",
    "\u2009": " ",
    "\u200b": "",
    "\u200e": "",
    "\u200f": "",
    "\ufeff": "",
    "\u00b5": r"\mu ",
    "\uff0c": ",",
    "\uff1b": ";",
    "\uff08": "(",
    "\uff09": ")",
    "\u3002": ". ",
    "\u3001": ",",
    "\uff1d": "=",
    "\uff1a": ":",
    "\u548c": " and ",
    "\u4e0e": " and ",
    "\u4e14": " and ",
    "\u6216": " or ",
    "\u20ac": " ",
    "\u00a3": " ",
    "\u00a5": " ",
    "\u20b9": " ",
}
GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho _ sigma tau upsilon phi "
    "chi psi omega"
)
UNICODE |= {chr(0x3B1 + at): f"\\{name} " for at, name in enumerate(GREEK.split()) if name != "_"}
UNICODE |= {"\u0394": r"\Delta ", "\u03a3": r"\Sigma ", "\u03a9": r"\Omega ", "\u03a6": r"\Phi ", "\u0393": r"\Gamma "}
_UNICODE = str.maketrans(UNICODE)
_ESCAPES = (
    # "\x0crac{1}{2}"; not "\frac{1}{2}"
    (re.compile("\x0c(?=rac)"), r"\\f"),
    # "\x08oxed{7}"; not "\boxed{7}"
    (re.compile("\x08(?=oxed|egin|inom|mod|ar|eta)"), r"\\b"),
    # "2\x09imes 3"; not "a\x09b"
    (re.compile("\t(?=ext|imes|frac|heta|an\\b|au\\b|o\\b)"), r"\\t"),
    # "\x0dight)"; not "a\x0db"
    (re.compile("\r(?=ight|angle|ceil|floor|ho\\b|m\\b)"), r"\\r"),
    # "\x07lpha"; not "alpha"
    (re.compile("\x07(?=lpha|pprox|ngle|bs)"), r"\\a"),
    # "\x0bec{x}"; not "\vec{x}"
    (re.compile("\x0b(?=ec\\b|ert|arphi)"), r"\\v"),
)
"""Where a language read `\f` of `\frac` as a control character."""
_NOISE = (
    # "\\vert x\\vert"; not "\\lvert"
    ("vert", re.compile(r"\\vert(?![A-Za-z])"), "|"),
    # "3\\*x"; not "3\\\\*"
    (r"\*", re.compile(r"(?<!\\)\\\*"), "*"),
    # "(\\text{mod } 8)", "\\pmod{8}"; not "\\bmod 8"
    (
        "mod",
        re.compile(
            r"\(\s*(?:\\(?:text|mathrm|operatorname)\s*\{)?\s*\\?(?:p|b)?mod\s*\}?\s*([0-9a-z]+)\s*\)|\\pmod\s*(?:\{([^{}]*)\}|([0-9a-z]))"
        ),
        r" \\bmod {\1\2\3}",
    ),
    # "5\\ \\mu m", "3 k\\Omega"; not "\\mu = 3"
    (
        r"\mu",
        re.compile(
            r"(?<=[0-9])(?:\s|\\[ ,;:!])*\\mu\s*(?:\\(?:text|mathrm)\s*\{)?\s*([a-zA-Z])\}?(?=\s*(?:[$.,;]|\Z))"
        ),
        r"\\text{ u\1 }",
    ),
    (r"\Omega", re.compile(r"(?<=[0-9])(?:\s|\\[ ,;:!])*([kM]?)\\Omega(?=\s*(?:[$.,;]|\Z))"), r"\\text{ \1ohm }"),
    # "7<|im_end|>"; not "x<|y|"
    ("<|", re.compile(r"<\|[A-Za-z_]{2,20}\|>(?:user|assistant)?"), " "),
    # "\left("; not "\leftarrow"
    ("", re.compile(r"\\(?:left|right|mleft|mright|middle|[bB]igg?[lrm]?)(?![A-Za-z])\s*\.?(?=\W|$)(?<!\.)"), ""),
    # "\right."; not "\right)"
    (".", re.compile(r"\\(?:left|right)\s*\."), ""),
    # "10{:}45"; not "\\{:\\}"
    (":}", re.compile(r"(?<![\\A-Za-z])\{:\}"), ":"),
    # "3\\mathbin{:}4"; not "\\mathbf{x}"
    (r"\math", re.compile(r"\\math(?:bin|rel|ord|op|punct|open|close|inner)\s*\{([^{}]*)\}"), r"\1"),
    # "1{,}234"; not "a{,}b"
    ("{,}", re.compile(r"(?<=[0-9])\{,\}(?=[0-9])"), "\x1f"),
    # "14 {, }916", "14\\text{,}916"; not "2\\text{, }5"
    ("{", re.compile(r"(?<=[0-9])\s*(?:\\(?:text|mathrm|mbox)\s*)?\{\s*,\s*\}\s*(?=[0-9]{3}(?![0-9]))"), "\x1f"),
    # "\\text{-}5", "3\\text{, }4"; not "\\text{a}"
    ("{", re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\s*\{\s*([-+:.,;]?)\s*\}"), r" \1"),
    # "1,\!234"; not "1,\!23"
    (r"\!", re.compile(r"(?<=[0-9])\s*,\s*\\!\s*(?=[0-9]{3}(?![0-9]))"), "\x1f"),
    # "1\!234"; not "x\!y"
    (r"\!", re.compile(r"(?<=[0-9])\\!(?=[0-9])"), ""),
    # "1\,234"; not "1\,23"
    ("", re.compile(r"(?<=[0-9])(?:\\[,;: ]|~|_)(?=[0-9]{3}(?![0-9]))"), "\x1f"),
    (
        "",
        # "\displaystyle x"; not "\italic"
        re.compile(
            r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|quad|qquad|bf|rm|it|hfill|noindent|thinspace"
            r"|tiny|small|normalsize|large|Large|LARGE|huge|Huge"
            r"|enspace)(?![A-Za-z])"
        ),
        " ",
    ),
    # "\hspace{2pt}"; not "\hspace"
    ("{", re.compile(r"\\(?:phantom|hspace|vspace|hphantom|label|tag)\*?\s*\{[^{}]*\}"), " "),
    # "a\,b"; not "\\,"
    ("", re.compile(r"(?<!\\)\\[,;:!> \n]|~"), " "),
    # "\$5"; not "$5"
    (r"\$", re.compile(r"\\\$"), " "),
    # "\color{red} 7"; not "\color 7"
    ("color", re.compile(r"\\(?:text)?color\s*\{[A-Za-z0-9!]+\}"), ""),
    # "90\deg"; not "\deg(p)"
    (r"\deg", re.compile(r"(?<=[0-9}])\s*\\deg(?![A-Za-z(])"), r"^\\circ "),
    # "f\colon A"; not "\colonequals"
    (r"\colon", re.compile(r"\\colon(?![A-Za-z])"), ":"),
    # "120^\\text{o}"; not "x^\\text{a}"
    (r"^\text", re.compile(r"\^\s*\\text\s*\{\s*o\s*\}"), r"^\\circ "),
    # "7\\ "; not "7\\ x"
    ("", re.compile(r"\\{1,2}(?=\s*$)"), ""),
    (
        r"\circ",
        # "20^\circ C"; not "20^\circ Cat"
        re.compile(r"\^\s*\{?\s*\\circ\s*\}?\s*(?:\\(?:text|mathrm)\s*\{\s*)?([CF])(?:\s*\}|(?![A-Za-z]))"),
        r"\\text{ deg\1 }",
    ),
)
"""A mark without which a text has no such noise, the noise, and what stands for it."""
# "1.2 x 10^3"; not "2x 10"
_TIMES_TEN = re.compile(r"(?<=[0-9])\s*[xX]\s*(?=10\s*\^)")
# "\\frac{1}{2}"; not "\frac{1}{2}"
_DOUBLED = re.compile(
    r"\\\\(?=(?:boxed|frac|dfrac|tfrac|sqrt|begin|end|text|left|right|cdot|times|pi|le|ge|leq|geq|in|infty|cup)(?![a-z]))"
)
_FRAMES = (
    # "$$7$$."; not "$7$"
    (re.compile(r"\s*\$\$(.*)\$\$[\s.,]*", re.DOTALL), "$$"),
    # "$7$."; not "$a$ and $b$"
    (re.compile(r"\s*\$(?!\s*$)([^$]*)\$[\s.,]*", re.DOTALL), "$"),
    # "\(7\)"; not "(7)"
    (re.compile(r"\s*\\\((.*)\\\)[\s.,]*", re.DOTALL), r"\)"),
    # "\[7\]"; not "[7]"
    (re.compile(r"\s*\\\[(.*)\\\][\s.,]*", re.DOTALL), r"\]"),
    # "**7**."; not "*7*"
    (re.compile(r"\s*\*\*([^*]*)\*\*[\s.,]*", re.DOTALL), "**"),
    # "`7`"; not "`a` `b`"
    (re.compile(r"\s*`([^`]*)`[\s.,]*", re.DOTALL), "`"),
)
"""With the mark that may not stand inside: `$a$ and $b$` is no frame around `a$ and $b`."""
# "\boxed{7}."; not "\text{7}"
_WRAPPERS = re.compile(
    r"\s*\\(?:displaystyle|boxed|fbox|ensuremath|bm|boldsymbol|mathbf|color\{\w+\})\s*\{(.*)\}[\s.]*", re.DOTALL
)


# "\u09e9"; not "3"
_FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")


def ascii_digits(text: str) -> str:
    """The text with the digits of other scripts as ours."""
    return _FOREIGN_DIGIT.sub(lambda match: str(unicodedata.decimal(match[0])), text)


def clean(text: str) -> str:
    """The text with one spelling for each sign. `\x1f` stands where a mark only groups digits."""
    if not text.isascii():
        text = ascii_digits(text).translate(_UNICODE).replace("\u6839\u53f7", r"\sqrt ")
    for pattern, plain in _ESCAPES if not text.isprintable() else ():
        text = pattern.sub(plain, text)
    if r"\\" in text and (r"\\begin" in text or r"\begin" not in text):
        text = _DOUBLED.sub(r"\\", text)
    if "\\" in text or "{" in text or "<|" in text:
        for mark, pattern, plain in _NOISE:
            if mark in text:
                text = pattern.sub(plain, text)
    # "5!=120"; not "x!=5"
    if "!=" in text:
        text = re.sub(r"(?<=[0-9)}])!=", "! =", text)
    if "10" in text:
        text = _TIMES_TEN.sub(r" \\times ", text)
    return unframe(text)


def unframe(text: str) -> str:
    r"""Without `$...$`, `\(...\)`, `**...**` and the like around the whole, and without the full stop behind it."""
    text = text.strip()
    for _ in range(8):
        before = text
        for frame, mark in _FRAMES:
            match = frame.fullmatch(text) if mark in text else None
            if match and mark not in match[1]:
                text = match[1].strip()
        match = _WRAPPERS.fullmatch(text)
        if match and _is_balanced(match[1]):
            text = match[1].strip()
        if text[:1] == "{" and text[-1:] == "}" and "," not in text and _is_balanced(text[1:-1]):
            text = text[1:-1].strip()
        text = _strip_ends(text)
        if text == before:
            break
    return text


def _is_balanced(text: str) -> bool:
    depth = 0
    # "\{"; not "["
    for match in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth < 0:
            return False
    return depth == 0


def _strip_ends(text: str) -> str:
    text = text.strip().rstrip(",;").rstrip()
    if text.endswith(".") and not text.endswith(("..", r"\.")):
        text = text[:-1].rstrip()
    if text.endswith(r"\\"):
        text = text[:-2].rstrip()
    if text.count("$") % 2 and not text.endswith(r"\$"):
        if text.startswith("$"):
            text = text[1:].lstrip()
        elif text.endswith("$"):
            text = text[:-1].rstrip()
    return text
