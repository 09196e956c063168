r"""Metamorphic variants of an answer: written another way, which must not change a verdict, or made wrong, which must.
Pure text.

For golds that are mathematics or one letter. A rule that does not fit an answer makes nothing of it; none of them knows
a verifier, so what a verifier was never meant to read (`12,345` for `exact`) shows as a failure.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

DOLLARS = "dollar signs"
Rule = Callable[[str], str | None]

# "5 cm"; not "2x"
_WORDS = re.compile(r"[A-Za-z]{2,}")
# "\text{cm}"; not "x^{2}"
_COMMANDS = re.compile(r"\\(?:text\w*|mathrm|mbox|operatorname)\s*\{[^{}]*\}|\\[A-Za-z]+")
# "-12345.6"; not "12,345"
_WHOLE = re.compile(r"(-?)([1-9][0-9]{3,14})(\.[0-9]+)?")
# "12,345"; not "12,34"
_GROUPED = re.compile(r"-?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?")
# "-3/4"; not "x/4"
_PLAIN_FRACTION = re.compile(r"(-?)\s*([0-9]+)\s*/\s*([0-9]+)")
# "\dfrac{3}{4}"; not "\frac{x}{4}"
_LATEX_FRACTION = re.compile(r"(-?)\s*\\[dt]?frac\s*\{\s*([0-9]+)\s*\}\s*\{\s*([0-9]+)\s*\}")
# "1,234.5"; not "1,2"
_NUMBER = re.compile(r"[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+")
# "\{1, 2\}"; not "(1, 2)"
_SET = re.compile(r"(?P<open>(?:\\left)?\\\{)(?P<inside>.*?)(?P<close>(?:\\right)?\\\})", re.DOTALL)
# "x \mid x > 0"; not "1, 2"
_NO_LIST = re.compile(r"\||\\mid|:|\\l?dots|\.\.\.|[0-9],[0-9]{3}(?![0-9])")
# "(B)"; not "K"
_LETTER = re.compile(r"\(?([A-J])\)?")
# "x = 12"; not "x_1"
_INTEGER = re.compile(r"(?<![0-9_])(?<!_\{)[0-9]{1,100}")
# "$x$"; not "$x$ and $y$"
_FRAMED = re.compile(r"\$([^$]+)\$")
# "x = 1"; not "x <= 1"
_EQUALS = re.compile(r"(?<![<>!:\\])=(?!=)")


@dataclass(frozen=True)
class Variant:
    """What one rule makes of an answer."""

    rule: str
    text: str
    is_same: bool
    """Whether it is still the answer."""


def variants(answer: str) -> Iterator[Variant]:
    """What each rule that fits makes of the answer; inside `$...$` where that is around all of it."""
    framed = _FRAMED.fullmatch(answer)
    frame, bare = ("${}$", framed[1]) if framed else ("{}", answer)
    for rules, is_same in ((SAME, True), (OTHER, False)):
        for name, rule in rules.items():
            text = rule(bare)
            if text is not None and text != bare:
                yield Variant(name, frame.replace("{}", text), is_same)
    text = bare if framed else dollars(answer)
    if text is not None:
        yield Variant(DOLLARS, text, True)


def dollars(answer: str) -> str | None:
    """`$...$` around mathematics; not around words, nor what LaTeX reads as another thing there."""
    # "50%"; not "50\%"
    if re.search(r"\$|boxed|\\\(|\\\[|(?<!\\)[%#&]|\\\\|\\begin", answer) or _has_words(answer):
        return None
    return f"${answer}$"


def spaces(answer: str) -> str:
    """Spaces on both sides, and around signs where there are no words."""
    is_prose = _has_words(answer) or "\\text" in answer
    # "x+1"; not "1e+5"
    inner = answer if is_prose else re.sub(r"(?<=[\w)}])(?<![0-9][eE])([+=<>])(?=[\w\\({])", r" \1 ", answer)
    return f" {inner} "


def latex_fraction(answer: str) -> str | None:
    match = _PLAIN_FRACTION.fullmatch(answer)
    return rf"{match[1]}\frac{{{match[2]}}}{{{match[3]}}}" if match else None


def plain_fraction(answer: str) -> str | None:
    match = _LATEX_FRACTION.fullmatch(answer)
    return f"{match[1]}{match[2]}/{match[3]}" if match else None


def other_frac(answer: str) -> str | None:
    r"""`\dfrac` for `\frac`, or the other way round."""
    # "\frac{1}{2}"; not "\fraction"
    if re.search(r"\\frac(?![A-Za-z])", answer):
        return re.sub(r"\\frac(?![A-Za-z])", r"\\dfrac", answer)
    # "\dfrac{1}{2}"; not "\frac{1}{2}"
    return re.sub(r"\\[dt]frac(?![A-Za-z])", r"\\frac", answer)


def separated(answer: str) -> str | None:
    match = _WHOLE.fullmatch(answer)
    return f"{match[1]}{int(match[2]):,}{match[3] or ''}" if match else None


def joined(answer: str) -> str | None:
    return answer.replace(",", "") if _GROUPED.fullmatch(answer) else None


def reordered(answer: str) -> str | None:
    """A set's members the other way round; not of one that is described, goes on, or may hold grouped digits."""
    match = _SET.fullmatch(answer.strip())
    if match is None or _NO_LIST.search(match["inside"]):
        return None
    members = _members(match["inside"])
    if members is None or len(members) < 2 or not all(member.strip() for member in members):
        return None
    return match["open"] + ", ".join(member.strip() for member in reversed(members)) + match["close"]


def resized(answer: str) -> str | None:
    r"""`\left( \right)` for the brackets around all of an answer, or such brackets made plain."""
    # "\right."; not "\right)"
    if re.search(r"\\(?:left|right)\s*\.", answer):
        return None
    # "\left("; not "\leftarrow"
    if re.search(r"\\left(?![A-Za-z])", answer):
        return re.sub(r"\\(?:left|right)(?![A-Za-z])\s*", "", answer)
    if _LETTER.fullmatch(answer) or answer[:1] not in ("(", "[") or _closing(answer) != len(answer) - 1:
        return None
    return rf"\left{answer[:-1]}\right{answer[-1]}"


def shifted(answer: str, by: int) -> str | None:
    """Another first integer (of what an equation ends in: its left side is a name); subscripts are no numbers."""
    start = max((match.end() for match in _EQUALS.finditer(answer)), default=0)
    match = _INTEGER.search(answer, start)
    return f"{answer[: match.start()]}{int(match[0]) + by}{answer[match.end() :]}" if match else None


def negated(answer: str) -> str | None:
    """The other sign of one number or fraction that is not zero."""
    body = answer.removeprefix("-")
    is_number = _NUMBER.fullmatch(body) or _PLAIN_FRACTION.fullmatch(body) or _LATEX_FRACTION.fullmatch(body)
    # "3/4"; not "34"
    top = re.split(r"/|\}", body)[0]
    if not is_number or body.startswith("-") or not re.search("[1-9]", top):
        return None
    return body if answer != body else f"-{body}"


def next_letter(answer: str) -> str | None:
    match = _LETTER.fullmatch(answer.strip())
    return answer.replace(match[1], "B" if match[1] == "A" else chr(ord(match[1]) - 1)) if match else None


SAME: dict[str, Rule] = {
    "spaces": spaces,
    "LaTeX fraction": latex_fraction,
    "plain fraction": plain_fraction,
    "dfrac and frac": other_frac,
    "separators added": separated,
    "separators removed": joined,
    "set reordered": reordered,
    "left and right": resized,
}
"""Must not change the verdict; nor must dollar signs, put or taken away."""
OTHER: dict[str, Rule] = {
    "first integer + 1": lambda answer: shifted(answer, 1),
    "first integer + 3": lambda answer: shifted(answer, 3),
    "other sign": negated,
    "another letter": next_letter,
}
"""Must change it."""


def _has_words(answer: str) -> bool:
    return _WORDS.search(_COMMANDS.sub(" ", answer)) is not None


def _members(inside: str) -> list[str] | None:
    """The text cut at commas outside brackets; None where brackets do not pair."""
    depth, members, start = 0, [], 0
    for at, sign in enumerate(inside):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            members.append(inside[start:at])
            start = at + 1
    return [*members, inside[start:]] if depth == 0 else None


def _closing(answer: str) -> int | None:
    """Where the first bracket closes; kinds are not told apart, for `[0, 1)` is an interval."""
    depth = 0
    for at, sign in enumerate(answer):
        depth += (sign in "([") - (sign in ")]")
        if depth == 0:
            return at
    return None
