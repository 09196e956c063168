"""Finds where a completion's final answer stands: in a box, behind `####` or `the answer is`, in the last formula.

A policy is a row of `POLICIES`: which places are looked at, in which order. Knows text only. Several boxes that differ
are all returned: what they mean beside the gold is the verifier's to say.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from r1lab_verifiers.math.read.hedges import denies, takes_back
from r1lab_verifiers.math.read.sentence import SentencePart, conclusion, formulas, is_name, pieces, without_annotations
from r1lab_verifiers.text.region import after_marker, boxes, final_region, has_answer_tag

MAX_TAIL_CHARACTERS = 20_000
"""Characters from the end of a region in which boxes and statements are looked for."""
MAX_END_CHARACTERS, MAX_SENTENCE_CHARACTERS, MAX_REST_CHARACTERS = 2000, 4000, 400
"""Characters of a region's end in which an answer without any mark is looked for, of one sentence, and of what may
take it back."""
MAX_PIECE_CHARACTERS, MAX_BOXES, MAX_CORRECTIONS = 1000, 64, 8
"""Characters of a formula in a sentence; boxes in one region (more are no answer); corrections of one statement."""
MAX_BARE_CHARACTERS, MAX_BARE_WORDS = 300, 6
"""What has more of both is an essay and no bare answer."""


@dataclass(frozen=True)
class ExtractedAnswer:
    """The texts that a place holds; several boxes give several."""

    place: str
    texts: tuple[str, ...]


_WORD = (
    "answers?|ans|correct\\s+(?:option|choice)|respuesta|r\u00e9ponse|resposta|risposta|antwort|\u043e\u0442\u0432\u0435\u0442"
    "|\u7b54\u6848|\u7b54\u3048|\u7b54|\uc815\ub2f5|\u0909\u0924\u094d\u0924\u0930"
)
_WORDS_SEEN = ("ans", "correct opt", "correct cho", "resp", "risp", "antw")
"""Without any of these an ASCII text has none of the words."""
_IS = (
    "is|are|was|=|:|\uff1a|equals?|(?:should|must|will|would)\\s+be|comes\\s+(?:out\\s+)?to|becomes|es|est|ist|\u00e9|\u00e8|sera"
    "|\u662f|\u4e3a|\u70ba|\u306f"
)
# "the answer is 7", "**Answer:** 7", "answer, which is not 8, is 7"; not "they answered 7", "find the answer: 7"
_STATED = re.compile(
    rf"(?<![A-Za-z])(?<!an )(?:{_WORD})(?![A-Za-z])[\s*_]{{0,4}}(?:\([^()\n]{{0,40}}\)\s?)?"
    rf"(?:,[^.,\n]{{0,60}},\s?|(?:to|for|of|in)\s[^.:=\n]{{0,60}}?\s)?(?:(?:{_IS})(?![A-Za-z])[\s*_]{{0,4}})+"
    r"(?:(?:therefore|thus|simply|just|exactly|indeed|clearly|obviously)\b,?\s?)?:?[\s*_]*",
    re.IGNORECASE,
)
# "### Final Answer", "**Answer**"; not "Answer 7"
_HEADED = re.compile(
    rf"(?:\A|\n)[ \t#*_>]{{0,20}}(?:the\s)?(?:final\s)?(?:{_WORD})[ \t#*_:.]{{0,12}}\n[\s\W]{{0,40}}?(?=[\w$\\(\[{{-])",
    re.IGNORECASE,
)
# "to find the "; not "so the "
_SOUGHT = re.compile(
    r"\b(?:find|get|obtain|calculate|compute|determine|give|reach|write|box|check|verify|simplify|express|need|want|report|present|round)"
    r"(?:ing|s)?\s+(?:[a-z]+\s+){0,3}\Z",
    re.IGNORECASE,
)
# "7. The rest" ends behind 7; "7.5 m" does not end
_SENTENCE_END = re.compile(
    r"(?:(?<![\s(][A-Z])[.!?](?=[\"')*\]$]*\s+[\"'(*$\\]*[A-Z\u0400-\u042f])|[.!?](?=\s+i\s+hope)|(?<=\x02)|\u3002|<\||\n)"
)
# "Wait, ", "No: "; not "Note"
_CORRECTION = re.compile(
    r"(?:^|[.!?;,\n]\s*)(?:no|wait|hmm+|oops|actually|sorry|correction|scratch\s+that|rather|i\s+mean)\b[\s,:.!-]*",
    re.IGNORECASE,
)
# "But that is wrong", "Or maybe 6"; not "but note"
_WITHDRAWN = re.compile(
    r"\A[\s.;,!?)*\"']*(?:or\s|alternatively|otherwise|maybe\b|perhaps\b|unless\b|hmm)"
    r"|\b(?:that|this|it|which)(?:'s|\s+is|\s+was|\s+seems|\s+looks)\s+(?:not|wrong|incorrect|a\s+mistake|false|impossible)\b"
    r"|\b(?:that|this|it|which)\s+(?:is|was)n't\b|\bi\s+(?:was\s+wrong|made\s+(?:a|an)\s+(?:mistake|error))\b",
    re.IGNORECASE,
)
# "a\n \nb"; not "a\nb"
_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n")
# "#### 7", "##### Answer: 7"; not "### 7"
_HASHES = re.compile(r"#{4,}[ \t]*([^\n]*)")
# "42 Question: Tom"; not "42 apples"
_NEXT_TURN = re.compile(r"(?<!\s)\s+(?:Question|Q|Problem|Note|User|Human|Assistant|Explanation)\s*:.*", re.DOTALL)
# "Step 3"; not "7"
_HEADING = re.compile(
    r"[\s*_]*(?:step|part|case|method|approach|solution|conclusion|verification|check|explanation|final|the\s+final|answer|result)\b[^=]*\Z",
    re.IGNORECASE,
)
# "so it's (B)."; not "is Bob"
_LETTER = re.compile(r"\b(?:it'?s|is|choose|choice|option|answer:?)\s+\(?([A-Z])\)?[.\s]*$")
# "Note that", "(We can check"; not "So"
_ASIDE = re.compile(
    r"[\s(*]*(?:Note|Notice|Here|Recall|We (?:can|could|might)(?: also| even)? (?:check|verify|have))\b"
)
# "we cannot determine", "Find the digits in base 5"; not "Find the sum: 2+3 = 5"
_OPEN = re.compile(
    r"\b(?:cannot|can\s?not|unable|impossible|inconclusive|undetermined|insufficient|not\s+enough|assume|suppose)\b|\bcan't\b"
    r"|\A\W*(?:(?:we\s+)?(?:need|have|want)\s+to\s+)?(?:find|solve|compute|determine|calculate|evaluate|step|question|problem)\b[^=]*\Z",
    re.IGNORECASE,
)
# "not choose ", "eliminate "; not "choose "
_DENIED_CHOICE = re.compile(
    r"\b(?:not|never|eliminate|exclude|rule\s+out|reject)\b[^.,;]*\Z|n't\b[^.,;]*\Z", re.IGNORECASE
)
# " apples are"; not "\\text"
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}(?=[ ,.])")
# "Yes, since"; not "Yesterday"
_VERDICT = re.compile(r"[\s*_\"']*(yes|no|true|false)(?=\s*(?:[,.;:!(*]|-|\u2014|because\b|since\b|\Z))", re.IGNORECASE)


def in_boxes(region: str, after_thinking: bool) -> ExtractedAnswer | None:
    """The boxes of the final region: of all of it where that is marked, else of the last paragraph with a box."""
    tail = region[-MAX_TAIL_CHARACTERS:]
    if "boxed" not in tail and "fbox" not in tail:
        return None
    if tail.count("\\boxed") > MAX_BOXES:
        tail = "\\boxed" + "\\boxed".join(tail.rsplit("\\boxed", MAX_BOXES + 1)[1:])
    # "a\n\nb"; not "a\nb"
    parts = [tail] if after_thinking else _PARAGRAPH_END.split(tail)
    for part in reversed(parts):
        if "box" in part and (found := boxes(part)):
            return ExtractedAnswer("box", tuple(_inner(text) for text in found))
    found = boxes(tail) if len(parts) > 1 else []
    return ExtractedAnswer("box", tuple(_inner(text) for text in found[-1:])) if found else None


def _inner(text: str) -> str:
    """The box within a box, if there is one."""
    inside = boxes(text)
    return _inner(inside[-1]) if len(inside) == 1 else text


def inside_tags(region: str, _: bool) -> ExtractedAnswer:
    """The inside of the last <answer>, which the region already is."""
    return ExtractedAnswer("<answer>", (region,))


def after_hashes(region: str, _: bool) -> ExtractedAnswer | None:
    """What follows the last `####` that is no heading of a paragraph, in its first sentence."""
    if "####" not in region:
        return None
    marks = list(_HASHES.finditer(region[-MAX_TAIL_CHARACTERS:]))
    for mark in reversed(marks):
        text = _NEXT_TURN.sub("", _first_sentence(mark[1]))
        body = mark.string[mark.end() :].strip()
        if body and _HEADING.match(text):
            if mark is marks[-1] and re.search("answer|result", text, re.IGNORECASE):
                return ExtractedAnswer("####", (_first_sentence(body),))
            continue
        return ExtractedAnswer("####", (text,)) if text.strip() else None
    return None


def after_statement(region: str, _: bool) -> ExtractedAnswer | None:
    """What follows the last `the answer is`, up to the end of its sentence; a correction behind it (`wait, 6`) counts
    instead, and where it is taken back nothing does."""
    tail = region[-MAX_TAIL_CHARACTERS:]
    if tail.isascii() and not any(word in tail.lower() for word in _WORDS_SEEN):
        return None
    found = list(_HEADED.finditer(tail))[-1:]
    for match in reversed(list(_STATED.finditer(tail))):
        if not _is_sought(tail, match):
            found.append(match)
            break
    if not found:
        return None
    last = max(found, key=lambda match: match.end())
    text = _first_sentence(tail[last.end() :])
    rest = tail[last.end() + len(text) :][:MAX_REST_CHARACTERS]
    if not rest.strip() and text.rstrip()[-2:-1].isdigit():
        text = text.rstrip().rstrip("!")  # `my answer is 7!`
    if _WITHDRAWN.search(rest):
        return ExtractedAnswer("statement", ("",))
    for match in list(_CORRECTION.finditer(text + rest))[-MAX_CORRECTIONS:]:
        corrected = _first_sentence((text + rest)[match.end() :])
        if match.end() > 0 and pieces(corrected):
            text = corrected
    return ExtractedAnswer("statement", (text,))


def _is_sought(tail: str, match: re.Match) -> bool:
    """Whether an answer is only spoken of: `to find the answer:`."""
    return _SOUGHT.search(tail[max(0, match.start() - 60) : match.start()]) is not None


def _first_sentence(text: str) -> str:
    """The text up to the end of its first sentence, or line; formulas are not cut."""
    masked = _masked(text[:MAX_SENTENCE_CHARACTERS])
    end = _SENTENCE_END.search(masked)
    while end and not text[: end.start()].strip(" .\t"):
        end = _SENTENCE_END.search(masked, end.end())
    return text[: end.start()] if end else text[:MAX_SENTENCE_CHARACTERS]


def _masked(text: str) -> str:
    """The text with its formulas blotted out, as long as before."""
    for piece in formulas(text):
        is_end = text[piece.start] != "$" and piece.text.rstrip().endswith(".")
        blot = "\x01" * (piece.end - piece.start - 1) + ("\x02" if is_end else "\x01")
        text = text[: piece.start] + blot + text[piece.end :]
    return text


def whole_region(region: str, _: bool) -> ExtractedAnswer | None:
    """All of the region, where it is no essay; for its words alone where it is a sentence."""
    if not region.strip():
        return None
    if len(_PROSE.findall(region[:MAX_END_CHARACTERS])) <= MAX_BARE_WORDS:
        return ExtractedAnswer("whole text", (region,))
    return ExtractedAnswer("words", (region,)) if len(region) <= MAX_BARE_CHARACTERS else None


def last_sentence(region: str, _: bool) -> ExtractedAnswer | None:
    """The last sentence, words and all."""
    found = _sentences(region)
    return ExtractedAnswer("last sentence", (found[-1],)) if found else None


def concluded(region: str, _: bool) -> ExtractedAnswer | None:
    """What the last sentence with a number or formula comes to; nothing where it is denied (`not 5`), bounded (`> 5`)
    or one of several offered (`4 or 5`)."""
    for sentence in reversed(_sentences(region)):
        if not all(map(is_name, pieces(sentence))) and not _ASIDE.match(sentence):
            piece = None if _OPEN.search(sentence) else unless_denied(sentence)
            place = "last formula" if piece and piece.is_formula else "last number"
            return piece and ExtractedAnswer(place, (piece.text,))
    return None


def unless_denied(sentence: str) -> SentencePart | None:
    """What a sentence comes to, unless it says that this is not the answer, or not all of it."""
    piece = conclusion(sentence)
    if (
        piece is None
        or len(piece.text) > MAX_PIECE_CHARACTERS
        or denies(sentence[: piece.start])
        or takes_back(sentence[piece.end :])
    ):
        return None
    return piece


@lru_cache(maxsize=4)
def _sentences(region: str) -> tuple[str, ...]:
    """The sentences of the region's end, in order."""
    tail = region.rstrip()[-MAX_END_CHARACTERS:]
    if len(tail) == MAX_END_CHARACTERS and "\n\n" in tail:
        tail = tail.partition("\n\n")[2]
    tail = without_annotations(tail)
    masked, start, found = _masked(tail), 0, []
    for end in _SENTENCE_END.finditer(masked):
        found.append(tail[start : end.start()])
        start = end.end()
    return tuple(text for text in [*found, tail[start:]] if text.strip())


def verdict_word(region: str, _: bool) -> ExtractedAnswer | None:
    """Yes, no, true or false at the beginning of the region or of its last sentence."""
    for text in (region.lstrip()[:40], *_sentences(region)[-1:]):
        if match := _VERDICT.match(text):
            return ExtractedAnswer("first word", (match[1],))
    return None


def last_letter(region: str, _: bool) -> ExtractedAnswer | None:
    """A capital letter that is stated at the very end: `it's (B).`"""
    end = region[-200:].rstrip(" *$")
    match = _LETTER.search(end)
    if match is None or denies(end[: match.start(1)]) or _DENIED_CHOICE.search(end[: match.start(1)]):
        return None
    return ExtractedAnswer("last letter", (match[1],))


POLICIES = {
    "auto": (
        in_boxes,
        after_hashes,
        whole_region,
        after_statement,
        last_letter,
        last_sentence,
        concluded,
        verdict_word,
    ),  # fmt: skip,
    "boxed": (in_boxes,),
    "answer": (inside_tags,),
    "hash": (after_hashes,),
    "stated": (after_statement,),
    "whole": (whole_region,),
}
_WORDS_ALONE = (last_sentence, verdict_word)
FINAL = ("box", "####", "statement")
"""Places that say which the answer is: where it cannot be read, or is words, weaker places are not asked by `auto`."""
"""In which order places are asked; `auto` falls back on weaker ones where a stronger holds nothing that can be read."""


def candidates(completion: str, policy: str, after: str | None, has_words: bool = True):
    """The places of a policy that hold something, strongest first. has_words: whether words alone may be right."""
    region = final_region(completion)
    if after is not None:
        tail = after_marker(region, after)
        if tail is not None:
            tail = tail.strip()
            line = tail.partition("\n")[0]
            yield ExtractedAnswer(f"after {after!r}", tuple(boxes(line)) or (line,))
        return
    is_marked = "</think>" in completion or has_answer_tag(completion)
    if policy == "answer" and not has_answer_tag(completion):
        return
    for place in POLICIES[policy]:
        if place in _WORDS_ALONE and not has_words:
            continue
        if (found := place(region, is_marked)) is not None:
            yield found
            if found.place in ("statement", "####") and (piece := unless_denied(found.texts[0])) is not None:
                yield ExtractedAnswer(found.place, (piece.text,))
            if found.place in FINAL and policy == "auto":
                return
