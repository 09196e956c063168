"""Finds where a completion's final answer stands: in a box, behind `####` or `the answer is`, in the last formula.

A policy is a row of `POLICIES`: which places are looked at, in which order. Knows text only. Several boxes that differ
are all returned: what they mean beside the gold is the verifier's to say.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from r1lab_verifiers.math.read.hedges import denies, takes_back
from r1lab_verifiers.math.read.sentence import (
    ENDS_ALONE,
    SENTENCE_END,
    SentencePart,
    conclusion,
    first_sentence,
    is_name,
    masked,
    pieces,
    without_annotations,
)
from r1lab_verifiers.math.read.statement import own_turn, stated
from r1lab_verifiers.text.denial import is_taken_back
from r1lab_verifiers.text.region import after_marker, boxes, final_region, has_answer_tag

MAX_TAIL_CHARACTERS = 20_000
"""Characters from the end of a region in which boxes and statements are looked for."""
MAX_END_CHARACTERS = 2000
"""Characters of a region's end in which an answer without any mark is looked for."""
MAX_PIECE_CHARACTERS, MAX_BOXES = 1000, 64
"""Characters of a formula in a sentence; boxes in one region (more are no answer)."""
MAX_BARE_CHARACTERS, MAX_BARE_WORDS = 300, 6
"""What has more of both is an essay and no bare answer."""


class ExtractedAnswer(NamedTuple):
    """The texts that a place holds; several boxes give several."""

    place: str
    texts: tuple[str, ...]


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
_LETTER = re.compile(
    r"\b(?:it'?s|is|choose|choice|option|answer:?|[Ss]o|[Tt]hus|[Hh]ence|[Tt]herefore),?\s+\(?([A-Z])\)?[.\s]*$"
)
# "it's (B).", "I"; not "is bob"
_CAPITAL_END = re.compile(r"[A-Z]\)?[.\s]*\Z")
"""Without it _LETTER matches nothing, which is quicker to see."""
# "Option (A) is correct."; not "A is a number"
_CALLED_RIGHT = re.compile(
    r"\W*(?:(?:so|thus|hence|therefore),?\s+)?(?:(?:the\s+)?(?:option|choice|answer|statement)\s+)?\(?([A-J])\)?[*\s]+is\s+(?:the\s+)?"
    r"(?:(?:only\s+)?(?:correct|right)(?:\s+(?:answer|option|choice|one))?|answer)[\s.*]*",
    re.IGNORECASE,
)
# "Note that", "(We can check"; not "So"
_ASIDE = re.compile(
    r"\s*\([A-Z][a-z]* [^()]* "
    r"|[\s(*]*(?:Note|Notice|Here|Recall|We (?:can|could|might)(?: also| even)? (?:check|verify|have))\b"
)
# "we cannot determine", "Find the digits in base 5"; not "Find the sum: 2+3 = 5"
_OPEN = re.compile(
    r"\b(?:if\s+(?:it|this|that|the\s+answer|x)\s+were|(?:cannot|can\s?not|can['\u2019]t)\s+(?:be\s+)?(?:uniquely\s+)?(?:determin|know|tell|find|found|say|said|solv|answer|conclu|comput|calculat"
    r"|decid|infer|deduc)|unable|impossible|inconclusive|undetermined|insufficient|not\s+enough|assume\b|suppose\b)"
    r"|\A\W*(?:(?:we\s+)?(?:need|have|want)\s+to\s+)?(?:find|solve|compute|determine|calculate|evaluate|step|question|problem)\b[^=]*\Z",
    re.IGNORECASE,
)
# "Is it 7?"; not "So Ann has 7 bars?"
_ASKS = re.compile(
    r"\W*(?:(?:so|but|or|and|then|now|well),?\s+)?(?:is|are|was|were|can|could|does|do|did|will|would|should|has|have|what|how|why|which|where"
    r"|when|who|whether|maybe|perhaps)\b",
    re.IGNORECASE,
)
# "I do not know how many are left"; not "we do not know y, but"
_GIVES_UP = re.compile(
    r"\W*(?:(?:but|so|sorry|unfortunately|therefore|however|thus),?\s+)?(?:(?:i|we)\s+(?:still\s+)?(?:do\s+not|don['\u2019]t|cannot|can['\u2019]t)"
    r"\s+(?:know|tell|say|determine|solve|answer)|it\s+cannot\s+be\s+(?:determined|known|solved)|there\s+is(?:n['\u2019]t|\s+not)\s+enough|i\s+need\s+more)\b[^,;]*\Z",
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
        text = _NEXT_TURN.sub("", first_sentence(mark[1]))
        body = mark.string[mark.end() :].strip()
        if body and _HEADING.match(text):
            if mark is marks[-1] and re.search("answer|result", text, re.IGNORECASE):
                return ExtractedAnswer("####", (first_sentence(body),))
            continue
        return ExtractedAnswer("####", (text,)) if text.strip() else None
    return None


def after_statement(region: str, _: bool) -> ExtractedAnswer | None:
    """What the last `the answer is` states."""
    text = stated(region[-MAX_TAIL_CHARACTERS:])
    return None if text is None else ExtractedAnswer("statement", (text,))


def whole_region(region: str, _: bool) -> ExtractedAnswer | None:
    """All of the region, where it is no essay; for its words alone where it is a sentence."""
    if not region.strip():
        return None
    words = _PROSE.finditer(region[:MAX_END_CHARACTERS])
    if next(islice(words, MAX_BARE_WORDS, None), None) is None:
        return ExtractedAnswer("whole text", (region,))
    return ExtractedAnswer("words", (region,)) if len(region) <= MAX_BARE_CHARACTERS else None


def last_sentence(region: str, _: bool) -> ExtractedAnswer | None:
    """The last sentence, words and all."""
    found = _last_sentences(region)
    return ExtractedAnswer("last sentence", (found[-1],)) if found else None


def concluded(region: str, _: bool) -> ExtractedAnswer | None:
    """What the last sentence with a number or formula comes to; nothing where it is denied (`not 5`), bounded (`> 5`)
    or one of several offered (`4 or 5`)."""
    later: list[str] = []
    for sentence in _backwards(region):
        if _GIVES_UP.fullmatch(sentence):
            return None
        is_asked = sentence.endswith("?") and (later or _ASKS.match(sentence))
        if not (is_asked or all(map(is_name, pieces(sentence))) or _ASIDE.match(sentence)):
            is_left = _OPEN.search(sentence) or is_taken_back(" ".join(later[::-1]), 0)
            piece = None if is_left else unless_denied(sentence)
            place = "last formula" if piece and piece.is_formula else "last number"
            return piece and ExtractedAnswer(place, (piece.text,))
        later.append(sentence)
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


def _backwards(region: str) -> Iterator[str]:
    """The sentences of the region's end, the last one first."""
    last = _last_sentences(region)
    yield from reversed(last)
    yield from reversed(_split(without_annotations(_end(region)))[: -len(last) or None])


@lru_cache(maxsize=4)
def _last_sentences(region: str) -> tuple[str, ...]:
    """The sentences of the last line, in order, which are nearly always enough; all of the region's end where a formula
    may go on over several lines."""
    end = _end(region)
    if "$" not in end and "\\" not in end:
        line = without_annotations(_last_line(end))
    else:
        end = without_annotations(end)  # which may leave $$
        line = end if "$$" in end or "\\" in end else _last_line(end)
    return _split(line) or _split(without_annotations(_end(region)))


def _last_line(text: str) -> str:
    """With the end of the line before it, which is a mark that patterns look back at."""
    return text[max(0, text.rfind("\n")) :]


def _end(region: str) -> str:
    """The region's end, from a paragraph's beginning on where it is cut."""
    end = region.rstrip()[-MAX_END_CHARACTERS:]
    return end.partition("\n\n")[2] if len(end) == MAX_END_CHARACTERS and "\n\n" in end else end


def _split(text: str) -> tuple[str, ...]:
    """The sentences of a text, in order."""
    start, found = 0, []
    for end in SENTENCE_END.finditer(masked(text)):
        first, last = end.span()
        found.append(text[start : first if end[0] in ENDS_ALONE else last])
        start = last
    found.append(text[start:])
    return tuple(filter(str.strip, found))


def verdict_word(region: str, _: bool) -> ExtractedAnswer | None:
    """Yes, no, true or false at the beginning of the region or of its last sentence."""
    for text in (region.lstrip()[:40], *_last_sentences(region)[-1:]):
        if match := _VERDICT.match(text):
            return ExtractedAnswer("first word", (match[1],))
    return None


def last_letter(region: str, _: bool) -> ExtractedAnswer | None:
    """A capital letter that is stated at the very end: `it's (B).`"""
    end = region[-200:].rstrip(" *$")
    last = _last_sentences(region)[-1:]
    if last and (called := _CALLED_RIGHT.fullmatch(last[0])):
        return ExtractedAnswer("last letter", (called[1],))
    match = _LETTER.search(end) if _CAPITAL_END.search(end) else None
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
    region = own_turn(region)
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
