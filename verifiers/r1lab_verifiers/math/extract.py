"""Finds where a completion's final answer stands: in a box, behind `####` or `the answer is`, in the last formula.

A policy is a row of `POLICIES`: which places are looked at, in which order. Knows text only. Several boxes that differ
are all returned: what they mean beside the gold is the verifier's to say.
"""

import re
from collections import deque
from dataclasses import dataclass

from r1lab_verifiers.math.read.hedges import denies, takes_back
from r1lab_verifiers.text.region import after_marker, boxes, final_region, has_answer_tag

MAX_TAIL_CHARACTERS = 20_000
"""Characters from the end of a region in which an answer without any mark is looked for."""


@dataclass(frozen=True)
class ExtractedAnswer:
    """The texts that a place holds; several boxes give several."""

    place: str
    texts: tuple[str, ...]


# "the answer is 7"; not "they answered 7"
_STATED = re.compile(
    r"(?:final\s+answer|answer|result|solution|value|probability)\s*(?:\([^()\n]{0,40}\)\s*)?(?:is|are|=|:|equals)+\s*(?:therefore|thus|simply|just|exactly)?\s*:?\s*([^\n]+)",
    re.IGNORECASE,
)
# "#### 7"; not "### 7"
_HASHES = re.compile(r"####\s*([^\n]+)")
# "so $x+1$"; not "costs \$5 or \$6"
_MATH = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$(.+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
# "**7**"; not "** 7"
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
# "costs $1,234.50"; not "x^2"
_NUMBER = re.compile(r"(?<![\w.^/])-?\$?[0-9][0-9,]*(?:\.[0-9]+)?(?:\s?/\s?[0-9]+)?%?")
# "so it's (B)."; not "is Bob"
_LETTER = re.compile(r"\b(?:it'?s|is|choose|choice|option|answer:?)\s+\(?([A-Z])\)?[.\s]*$")


def in_boxes(region: str, after_thinking: bool) -> ExtractedAnswer | None:
    """The boxes of the final region: of all of it where that is marked, else of the last paragraph with a box."""
    if "boxed" not in region and "fbox" not in region:
        return None
    # "a\n\nb"; not "a\nb"
    parts = [region] if after_thinking else re.split(r"\n\s*\n", region)
    for part in reversed(parts):
        if found := boxes(part):
            return ExtractedAnswer("box", tuple(_inner(text) for text in found))
    found = [] if after_thinking else boxes(region)
    return ExtractedAnswer("box", tuple(_inner(text) for text in found[-1:])) if found else None


def _inner(text: str) -> str:
    """The box within a box, if there is one."""
    inside = boxes(text)
    return _inner(inside[-1]) if len(inside) == 1 else text


def inside_tags(region: str, _: bool) -> ExtractedAnswer:
    """The inside of the last <answer>, which the region already is."""
    return ExtractedAnswer("<answer>", (region,))


def after_hashes(region: str, _: bool) -> ExtractedAnswer | None:
    """What follows the last `####` on its line."""
    found = _HASHES.findall(region)
    return ExtractedAnswer("####", (found[-1],)) if found else None


def after_statement(region: str, _: bool) -> ExtractedAnswer | None:
    """What follows the last `the answer is`, up to the end of its sentence."""
    found = list(_STATED.finditer(region[-MAX_TAIL_CHARACTERS:]))
    return ExtractedAnswer("statement", (_sentence(found[-1][1]),)) if found else None


def _sentence(text: str) -> str:
    # "7. The rest" up to its full stop; all of "7.5 m"
    match = re.match(r"(.*?)(?:\.(?=\s+[A-Z])|<\||$)", text)
    text = match[1] if match and match[1].strip() else text
    # "so x is 7"; not "$x is 7$"
    last = re.match(r"(?:[^$]|\$[^$]*\$)*\b(?:is|are|equals)\b:?\s+([^\s].*)", text)
    return last[1] if last else text


def whole_region(region: str, _: bool) -> ExtractedAnswer | None:
    """All of the region."""
    return ExtractedAnswer("whole text", (region,)) if region.strip() else None


def last_math(region: str, _: bool) -> ExtractedAnswer | None:
    """The last formula between dollar signs or TeX's brackets."""
    return _last("last formula", _MATH, region)


def last_bold(region: str, _: bool) -> ExtractedAnswer | None:
    """The last text in bold."""
    return _last("last bold text", _BOLD, region)


def _last(place: str, pattern: re.Pattern, region: str) -> ExtractedAnswer | None:
    """The last match; nothing where it is denied (`not 5`), bounded (`> 5`) or one of several offered (`4 or 5`)."""
    tail = region[-MAX_TAIL_CHARACTERS:]
    match = deque(pattern.finditer(tail), maxlen=1)
    if not match or denies(tail[: match[0].start()]) or takes_back(tail[match[0].end() :]):
        return None
    (match,) = match
    return ExtractedAnswer(place, (next(filter(None, match.groups()), match[0]).rstrip(","),))


def last_letter(region: str, _: bool) -> ExtractedAnswer | None:
    """A capital letter that is stated at the very end: `it's (B).`"""
    match = _LETTER.search(region[-200:].rstrip(" *$"))
    return ExtractedAnswer("last letter", (match[1],)) if match else None


def last_number(region: str, _: bool) -> ExtractedAnswer | None:
    """The last plain number."""
    return _last("last number", _NUMBER, region)


POLICIES = {
    "auto": (in_boxes, after_hashes, whole_region, after_statement, last_letter, last_math, last_bold, last_number),
    "boxed": (in_boxes,),
    "answer": (inside_tags,),
    "hash": (after_hashes,),
    "stated": (after_statement,),
    "whole": (whole_region,),
}
"""In which order places are asked; `auto` falls back on weaker ones where a stronger holds nothing that can be read."""


def candidates(completion: str, policy: str, after: str | None):
    """The places of a policy that hold something, strongest first."""
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
        if (found := place(region, is_marked)) is not None:
            yield found
            if found.place in ("box", "####") and policy == "auto":
                return
