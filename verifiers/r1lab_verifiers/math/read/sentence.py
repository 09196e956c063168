r"""Finds the formulas and numbers of a sentence, and which it comes to: `Ann has 81 plants after 12 years` -> 81.

Text in, pieces of it out; reads no mathematics. Whether the words around a piece deny it is for `hedges` to say.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

MAX_SENTENCE_CHARACTERS, MAX_NAME_CHARACTERS = 4000, 4
"""Characters of a sentence, and letters of a formula that only names something: `$n$`, `$ABC$`."""
# "\(", "$$", "\begin{align*}", "\$", a line's end; not "("
_DELIMITER = re.compile(
    r"\\(?:begin|end)\s?\{(?:align|equation|gather|multline|eqnarray|displaymath)\*?\}|\\.|\$\$?|\n", re.DOTALL
)
_CLOSING = {"\\(": "\\)", "\\[": "\\]", "$$": "$$", "$": "$", "\\begin": "\\end"}
# "\\", "\begin{pmatrix}"; not "\begin{aligned}"
_ROW_END = re.compile(
    r"(?P<matrix>\\(?:begin|end)\s?\{(?!align|split|gather|equation)[A-Za-z]*\*?\})|(?P<row>\\\\(?:\[[0-9a-z. ]*\])?)"
)
# "\begin{aligned}"; not "\begin{pmatrix}"
_ALIGNED = re.compile(r"\\(?:begin|end)\s?\{(?:aligned|align|split|gathered|alignedat)\*?\}(?:\{[0-9]+\})?")
# "7. The rest" ends behind 7; "7.5 m" does not end. Every way begins with a mark, so that what lies between is skipped
SENTENCE_END = re.compile(
    r"[.!?\n\x02\u3002<](?:(?<=[\n\x02\u3002])|(?<=<)\||(?<=[.!?])(?:(?<![\s(][A-Z][.!?])(?=[\"')*\]$]*\s+[\"'(*$\\]*[A-Z\u0400-\u042f])"
    r"|(?<=\?)(?=\s+[-$(\\]{0,3}[0-9])|(?=\s+i\s+hope)))"
)
ENDS_ALONE = (".", "!", "\n", "\u3002", "<|")
"""Ends that are no part of the sentence; the others, of a question and of a formula, are."""
# "<<2*59=118>>"; not "<<2*59"
_ANNOTATION = re.compile(r"<<([^<>\n]{0,200})>>")
# "-$1,234.50", "12 000", "1 1/2", "8:34 p.m.", "25ml", "6th"; not the "2" of "x^2", "H2O", "3.5.2", "2x"
NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.^/\\])-?[$\u20ac\u00a3]?-?(?:"
    r"[0-9]{1,2}:[0-5][0-9](?![0-9:])(?:\s?[ap]\.?m\b\.?)?|[0-9]+ [0-9]+/[0-9]+(?![0-9])"
    r"|[1-9][0-9]{0,2}(?: [0-9]{3})++(?![0-9,])"
    r"|[0-9][0-9,]*+(?:\.[0-9]++)?(?:\s?/\s?[0-9]++)?|\.[0-9]++)"
    r"(?:\s?\\?%)?(?=[^A-Za-z0-9_]|\Z|[a-wA-W][a-z]{1,9}(?![A-Za-z0-9(])|[mgLshKM](?![A-Za-z0-9(]))"
)
# "**7**"; not "**Step 3:**"
_BOLD = re.compile(r"\*\*(?=[^*\n]{0,200}[0-9$\\])([^*\n]{1,200})(?<![:\s])\*\*")
# "$n$", "\triangle ABC"; not "2n"
_NAME = re.compile(
    r"\s*(?:\\(?:triangle|angle|overline|vec|mathbb|mathrm|text)\s*)?\{?[A-Za-z]{1,4}(?:_\{?[A-Za-z0-9]\}?)?'?\}?(?:\([a-z]\))?\s*"
    r"|\s*\\(?:blacksquare|square|qed|Box)\s*"
)
# "after ", "for the "; not "has "
_PREPOSITION = re.compile(
    r"\b(?:(?:at|by|in|until|before|after|over|from)\s+the\s+(?:end|beginning|start|middle|course|rest)\s+of|after|in|for|within|during|from|at|by|on|per|every|each|over|with|among|between|when|if|where|since"
    r"|because|against|through|as|across|before|until|around|into|using|than)\s+(?:(?:the|all|his|her|their|its|these"
    r"|those|each|every|only|just|another|a|an|day|days|year|city|point|step|line|level|only|first|last|next|other)"
    r"\s+){0,3}[$*(]*\Z",
    re.IGNORECASE,
)
# " groups of "; not ", for a total of "
_PART_OF = re.compile(r"\s*[a-z]+\s+of\s+(?:(?:the|all|his|her|their|its)\s+)?[$*(]*", re.IGNORECASE)
# " to make "; not " to be "
_PURPOSE = re.compile(
    r"\bto\s+(?!be\b|get\b)[a-z]+\s+(?:(?:the|all|his|her|their|up|out|another)\s+)?[$*(]*\Z", re.IGNORECASE
)
# ", and "; not ", so "
_COORDINATED = re.compile(r"(?:[a-z]+\s*){0,3}(?:,|\band\b|,\s*and\b)\s*[$*(]*\Z", re.IGNORECASE)
# "so ", "which is "; not "also "
_CLAUSE = re.compile(
    r"\b(?:so|thus|therefore|hence|meaning|but|leaving|which\s+(?:is|are|equals?|rounds?|means|makes|gives|comes|totals?))\b"
    r"(?!\s+far\b)|\\(?:Rightarrow|implies)|=>|->",
    re.IGNORECASE,
)
# " because 3 > 2"; not "Because 3 > 2"
_REASON = re.compile(r"(?<=\S)\s+(?:because|since)\b", re.IGNORECASE)
# "x = 5"; not "x <= 5", "a == b"
_EQUALS = re.compile(r"(?<![<>=!:])=(?![=>])")
# "the solutions are ", "the solution is "; not "the value is "
_PLURAL = re.compile(r"(?:\bare|\bwere|:|\bsolution\s+is)[\s$*]*\Z")
# "The center is (3, 4).", "is x > 3"; not "is 5", "is $x$"
_SAID = re.compile(
    r"\b(?:is|are|equals|be):?\s+(?:at\s+)?(?=[^\sA-Za-z]|[A-Za-z](?![A-Za-z]))((?=[^$]*[-+*/^=<>(:\[{|,])[^$]*[^$\s.])[.\s]*\Z"
)
# "since 5"; not "\\sqrt"
_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
# "y = 2x", "f(x) = 2x"; not "2 + 3 = 5"
_HEAD = re.compile(r"[A-Za-z](?:\([a-z]\)|_[0-9a-z])?\s*=")
# "x = 2"; not "2 = x"
_NAMED = re.compile(r"\s*([A-Za-z])\s*=")
# " (that is "; not " that is "
_OTHER_FORM = re.compile(
    r"\((?:reject(?:ing)?|discard(?:ing)?|not|but\s+not|i\.e\.|that\s+is|about|approximately|roughly|which|since|because)\b[^()]*\Z",
    re.IGNORECASE,
)
# " x."; not " x + 1"
_BARE_NAME = re.compile(r"\s*[A-Za-z][.\s]*")
# "the largest is "; not "the equation is "
_WORTH = re.compile(
    r"\A(?!.*\b(?:equations?|inequalit(?:y|ies)|relation|condition|constraint|system|line)\b).*\bis\s*\Z",
    re.IGNORECASE | re.DOTALL,
)
# "2a = ", "n + 1 = "; not "a = "
_ASKED = re.compile(
    r"\s*(?:[0-9]+\s*[A-Za-z](?:\s*[-+]\s*[0-9]+)?|[A-Za-z]\s*[-+]\s*[0-9]+)\s*=(?=[^<>]*\Z)(?:.*=)?", re.DOTALL
)
# " and ", ", "; not " so "
_AND = re.compile(r"\s*(?:,|,?\s*and|or)\s*", re.IGNORECASE)


class SentencePart(NamedTuple):
    """A formula, a bold text or a number with its place in a sentence."""

    start: int
    end: int
    text: str
    """Without what frames it."""
    is_formula: bool


def without_annotations(text: str) -> str:
    """Without GSM8K's `<<2*59=118>>`; its result where nothing is written behind it."""
    if "<<" not in text:
        return text

    def plain(match: re.Match) -> str:
        follows = match.string[match.end() : match.end() + 1]
        return "" if follows.isdigit() or follows in ("-", ".", "$") else match[1].rpartition("=")[2]

    return _ANNOTATION.sub(plain, text)


def formulas(text: str) -> list[SentencePart]:
    r"""What stands in `$...$`, `$$...$$`, `\(...\)`, `\[...\]`, `\begin{align}...`, in order. A sign of money opens
    nothing."""
    found, opened = [], None
    for match in _DELIMITER.finditer(text):
        mark = match[0].partition("{")[0].strip() if len(match[0]) > 2 else match[0]
        if mark == "\n":
            opened = None if opened and opened[0] == "$" else opened
        elif opened is not None and mark == _CLOSING[opened[0]]:
            if opened[0] != "$" or _closes(text, opened[2], match.start()):
                found.append(SentencePart(opened[1], match.end(), last_row(text[opened[2] : match.start()]), True))
                opened = None
            else:
                opened = (mark, match.start(), match.end())
        elif mark in _CLOSING and (opened is None or opened[0] == "$" != mark):
            opened = (mark, match.start(), match.end())
    return [piece for piece in found if piece.text.strip()]


def last_row(formula: str) -> str:
    r"""The last row of a derivation, `a &= b \\ &= c`; a matrix is not cut."""
    if "&" not in formula and r"\\" not in formula:
        return formula
    depth, start, rows = 0, 0, []
    for mark in _ROW_END.finditer(formula):
        if mark["matrix"]:
            depth += 1 if mark[0].startswith(r"\begin") else -1
        elif mark["row"] and not depth:
            rows.append(formula[start : mark.start()])
            start = mark.end()
    rows = [row for row in [*rows, formula[start:]] if _ALIGNED.sub("", row).strip(" \n.&")]
    if not rows or any(each in rows[-1] for each in (r"\begin{cases", r"\begin{array")):
        return formula
    row = _ALIGNED.sub(" ", rows[-1])
    return row if r"\begin" in row else row.replace("&", " ").strip()


def _closes(text: str, start: int, end: int) -> bool:
    """Whether a dollar sign ends the formula that another began: no space before it and no digit behind it, or spaces
    at both ends."""
    inner = text[start:end]
    follows = text[end + 1 : end + 3]
    if not inner.strip() or follows[:1].isdigit():
        return False
    if inner[0].isspace() or inner[-1].isspace():
        return inner[0].isspace() and inner[-1].isspace() and not follows.strip()[:1].isdigit()
    return True


@lru_cache(maxsize=64)
def pieces(text: str) -> tuple[SentencePart, ...]:
    """Formulas, and numbers outside of them, in order; a bold text with a number in it stands for the numbers in it."""
    found = formulas(text) if "$" in text or "\\" in text else []
    if "**" in text:
        found += _outside([SentencePart(*each.span(), each[1], False) for each in _BOLD.finditer(text)], found)
    numbers = [SentencePart(*each.span(), each[0].rstrip(","), False) for each in NUMBER.finditer(text)]
    if not found:
        return tuple(numbers)
    return tuple(sorted(found + _outside(numbers, found), key=lambda piece: piece.start))


def _outside(inner: list[SentencePart], outer: list[SentencePart]) -> list[SentencePart]:
    """Those of the one list that overlap none of the other; both are sorted here."""
    kept, rest = [], sorted(outer, key=lambda part: part.start, reverse=True)
    for part in sorted(inner, key=lambda part: part.start):
        while rest and rest[-1].end <= part.start:
            rest.pop()
        if not rest or rest[-1].start >= part.end:
            kept.append(part)
    return kept


def is_name(piece: SentencePart) -> bool:
    """Whether a formula only names something."""
    return piece.is_formula and _NAME.fullmatch(piece.text) is not None


def weighty(text: str, all_pieces: Sequence[SentencePart]) -> Sequence[SentencePart]:
    """The pieces that may be what a sentence comes to: neither names, nor numbers that an `after` or a `for` leads in,
    unless there are no others."""
    kept = [piece for piece in all_pieces if not is_name(piece)] or all_pieces
    main, is_aside, at = [], False, 0
    for piece in kept:
        lead, at = text[at : piece.start], piece.end
        is_list = is_aside and _COORDINATED.fullmatch(lead.strip() + " ") is not None
        is_purpose = bool(main) and (_PURPOSE.search(lead) is not None or _PART_OF.fullmatch(lead) is not None)
        is_aside = is_list or is_purpose or _PREPOSITION.search(lead) is not None
        if not is_aside:
            main.append(piece)
    return main or kept


def conclusion(text: str) -> SentencePart | None:
    """What a sentence comes to: what is in bold; what follows its last `=`; else the last weighty piece of its last
    clause (`so`, `therefore`, `which is`), or the members that it lists behind `are`."""
    found = pieces(text)
    bold = "**" in text and [piece for piece in found if not piece.is_formula and text.startswith("**", piece.start)]
    if bold:
        return bold[-1]
    said = _SAID.search(text)
    if said and not _WORDS.search(said[1]) and ("=" not in said[1] or _HEAD.match(said[1])):
        return SentencePart(said.start(1), said.end(1), said[1], False)
    found = _without_reason(text, found)
    if "(" in text:
        found = [piece for piece in found if not _OTHER_FORM.search(text[: piece.start])] or found
    start = 0
    for mark in _CLAUSE.finditer(text):
        if any(piece.start >= mark.end() for piece in found):
            start = mark.end()
    for mark in reversed(list(_EQUALS.finditer(text, start)) if "=" in text else ()):
        after = [piece for piece in found if piece.start >= mark.end()]
        if not after and _BARE_NAME.fullmatch(text, mark.end()):
            after = [piece for piece in found if start <= piece.start and piece.end <= mark.start()][-1:]
        if after and not any(piece.start <= mark.start() < piece.end for piece in found):
            return after[0]
    main = weighty(text, [piece for piece in found if piece.start >= start])
    return _listed(text, main) if main else None


def _without_reason(text: str, all_pieces: Sequence[SentencePart]) -> Sequence[SentencePart]:
    """The pieces before a `because`, where there are any."""
    reason = _REASON.search(text)
    if reason is None or ", " in text[reason.end() :]:
        return all_pieces
    kept = [piece for piece in all_pieces if piece.end <= reason.start()]
    return kept if any(not is_name(piece) for piece in kept) else all_pieces


def _listed(text: str, main: Sequence[SentencePart]) -> SentencePart:
    """The last piece, or all of a list: `the solutions are $x=1$ and $x=2$`."""
    chosen = [main[-1]]
    for piece in reversed(main[:-1]):
        if not _AND.fullmatch(text[piece.end : chosen[0].start]):
            break
        chosen.insert(0, piece)
    names = {match[1] if (match := _NAMED.match(part.text)) else None for part in chosen}
    is_list = None not in names and len(names) == 1
    if len(chosen) == 1 and chosen[0].is_formula and _WORTH.match(text[: chosen[0].start]):
        worth = _ASKED.match(chosen[0].text)  # the largest is n + 1 = 6
        return chosen[0]._replace(text=chosen[0].text[worth.end() :]) if worth else chosen[0]
    if len(chosen) == 1 or (not is_list and not _PLURAL.search(text[: chosen[0].start])):
        return main[-1]
    joined = ", ".join(piece.text for piece in chosen)
    return SentencePart(chosen[0].start, chosen[-1].end, joined, chosen[-1].is_formula)


def first_sentence(text: str) -> str:
    """The text up to the end of its first sentence, or line; formulas are not cut."""
    blotted = masked(text[:MAX_SENTENCE_CHARACTERS])
    end = SENTENCE_END.search(blotted)
    while end and not text[: end.start()].strip(" .\t"):
        end = SENTENCE_END.search(blotted, end.end())
    return text[: end.end() if end[0] == "\x02" else end.start()] if end else text[:MAX_SENTENCE_CHARACTERS]


def masked(text: str) -> str:
    """The text with its formulas blotted out, as long as before."""
    if "$" not in text and "\\" not in text:
        return text
    for piece in formulas(text):
        is_end = text[piece.start] != "$" and piece.text.rstrip().endswith(".")
        blot = "\x01" * (piece.end - piece.start - 1) + ("\x02" if is_end else "\x01")
        text = text[: piece.start] + blot + text[piece.end :]
    return text
