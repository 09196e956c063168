"""Finds what a text states behind `the answer is`: the last such statement, corrected where it corrects itself.

Words only; reads no mathematics. A statement that is not made (`I doubt that the answer is 7`, `suppose the answer is
7`), a question that nobody says yes to, and one that is taken back are none.
"""

import re

from r1lab_verifiers.math.read.hedges import denies, without_reserve
from r1lab_verifiers.math.read.sentence import first_sentence, masked, pieces
from r1lab_verifiers.text.denial import MAX_LEAD_CHARACTERS, is_taken_back, is_unclaimed

MAX_REST_CHARACTERS, MAX_BEFORE_CHARACTERS = 400, 2000
"""Characters behind a statement that may take it back, and of an answer before another problem's."""
MAX_STATEMENTS, MAX_CORRECTIONS = 16, 8
"""Statements of one text that are looked at, the last ones, and corrections of one."""

_WORD = (
    "answers?|ans|correct\\s+(?:option|choice)|respuesta|r\u00e9ponse|resposta|risposta|antwort|\u043e\u0442\u0432\u0435\u0442"
    "|\u7b54\u6848|\u7b54\u3048|\u7b54|\uc815\ub2f5|\u0909\u0924\u094d\u0924\u0930"
)
_WORDS_SEEN = ("ans", "correct opt", "correct cho", "resp", "risp", "antw")
"""Without any of these an ASCII text has none of the words."""
# "the answer", "ans."; not "means", "answered"
_SEEN_ALONE = re.compile(
    r"(?<![a-z])(?:answers?|ans|correct\s+(?:option|choice)|respuesta|resposta|risposta|antwort)(?![a-z])"
)
"""The same, where one of them is seen in small letters."""
_IS = (
    "is|are|was|=>|->|\u2192|=|:|\uff1a|equals?|(?:should|must|will|would)\\s+be|comes\\s+(?:out\\s+)?to|becomes|es|est|ist|\u00e9|\u00e8|sera"
    "|\u662f|\u4e3a|\u70ba|\u306f"
)
# "the answer is 7", "**Answer:** 7", "answer, which is not 8, is 7"; not "they answered 7", "find the answer: 7"
_STATED = re.compile(
    rf"(?<![A-Za-z])(?<!an )(?:{_WORD})(?![A-Za-z])[\s*_]{{0,4}}(?:\([^()\n]{{0,40}}\)\s?)?"
    rf"(?:,[^.,\n]{{0,60}},\s?|(?:to|for|of|in)\s[^.:=\n]{{0,60}}?\s)?(?:(?:{_IS})(?![A-Za-z])[\s*_]{{0,4}})+"
    r"(?:(?:therefore|thus|simply|just|exactly|indeed|clearly|obviously)\b,?\s?)?:?[\s*_]*(?:(?<=\n)[-\u2022+]\s+)?",
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
# "Wait, ", "No: ", "Let me recompute: "; not "Note", "let me check"
_CORRECTION = re.compile(
    r"(?:^|[.!?;,\n]\s*)(?:(?:no|wait|hmm+|oops|actually|sorry|correction|scratch\s+that|rather|i\s+meant?|on\s+second\s+thoughts?"
    r"|(?:it|that|this)\s+should\s+(?:actually\s+|really\s+|instead\s+)?(?:be|have\s+been)"
    r"|let\s+me\s+(?:re-?(?:compute|calculate|do|consider|vise|think)|correct|fix)(?:\s+(?:it|that|this|myself))?)\b[\s,:.!-]*)+",
    re.IGNORECASE,
)
# "it is London."; not "let me check", "doubt"
_REPLACEMENT = re.compile(
    r"(?:(?:it|that|this|the\s+answer)(?:['\u2019]s|\s+is|\s+was|\s+(?:should|must)\s+be)\s+)?(?!(?:not|let|check|i|we|that|this|it|the|yes|really"
    r"|more|need|hold|just|sorry|never|because|since|problem|matter|doubt|other|further|is|that's|it's|wait|no|thanks?|worries)\b)"
    r"([^\s.,?]+(?:\s+[^\s.,?]+){0,2})[.!\s]*",
    re.IGNORECASE,
)
# "Or maybe 6", "Unless "; not "Order"
_ALTERNATIVE = re.compile(
    r"[\s.;,!?)*\"']*(?:or\s|alternatively|otherwise|maybe\b|perhaps\b|unless\b|hmm)", re.IGNORECASE
)
# "or maybe the "; not "for the "
_ALSO = re.compile(
    r"\b(?:or|maybe|perhaps|possibly|alternatively)[\s,*(]*(?:(?:the|my|its)\s+)?(?:[a-z]+\s+)?\Z", re.IGNORECASE
)
# "we can verify this: 7 = 7"; not "it is 7"
_CHECK = re.compile(
    r"\s*(?:we|you|i|let\s+(?:me|us))\b[^:=]{0,60}\b(?:verify|check|confirm|see|note|double)\b", re.IGNORECASE
)
# "B because A is wrong"; not "because"
_BECAUSE = re.compile(r"(?<=\S),?\s+(?:because|since)\b", re.IGNORECASE)
# "not A, so it must be B"; not "not A"
_INSTEAD = re.compile(
    r"\s*not\b(?!\s+only)[^,;.]{0,40}?(?:[,;]|\bbut\b)\s*(?:so\s+|but\s+|rather\s+|instead\s+)?"
    r"(?:it(?:'s|\s+is|\s+must\s+be|\s+has\s+to\s+be)\s+)?(?!not\b)(\S.*)",
    re.IGNORECASE | re.DOTALL,
)
# "? Yes, it is"; not "? I do not think so"
_QUESTION = re.compile(
    r"[\s\"'*$)]*\?(?!\s*(?:yes|yeah|yep|yup|correct|right|indeed|exactly|sure|of\s+course)\b)", re.IGNORECASE
)
# "7, not 8", "7 (not 8)"; not "not 7"
_CONTRAST = re.compile(
    r"(?<=[^\s(,])\s*(?:[,;(\u2014\u2013]|\s-|\bbut|\band)\s*(?:(?:and|but)\s+)?not\b", re.IGNORECASE
)
_TURNS = ("Question", "Q", "Problem", "Exercise", "Human", "User", "Instruction")
# "Question: ", "Q 2) "; not "Questions"
_OTHER_TURN = re.compile(rf"(?:{'|'.join(_TURNS)})(?:[ \t]*[0-9]{{1,3}})?[ \t*]*[:.)](?=[\s*])")
MAX_INDENT_CHARACTERS = 40
"""Of marks and blanks between the beginning of a line and the next turn's name."""
MAX_TURNS = 64
"""Places of each name that are looked at: an answer has not so many before it."""


def stated(tail: str) -> str | None:
    """What the last statement of the text says, up to the end of its sentence; a correction behind it (`wait, 6`)
    counts instead, and where it is taken back it is empty. None where there is no statement."""
    if tail.isascii():
        lower = tail.lower()
        if not any(map(lower.__contains__, _WORDS_SEEN)) or not _SEEN_ALONE.search(lower):
            return None
    found = list(_HEADED.finditer(tail))[-1:]
    made: list[re.Match] = []
    for match in list(_STATED.finditer(tail))[: -MAX_STATEMENTS - 1 : -1]:
        if len(made) < 2 and not _is_sought(tail, match) and not _is_open(tail, match):
            made.append(match)
    if len(made) > 1 and _ALSO.search(tail, max(0, made[0].start() - MAX_LEAD_CHARACTERS), made[0].start()):
        return ""
    found += made[:1]
    if not found:
        return None
    last = max(found, key=lambda match: match.end())
    text = first_sentence(tail[last.end() :])
    rest = tail[last.end() + len(text) :][:MAX_REST_CHARACTERS]
    if not rest.strip() and text.rstrip()[-2:-1].isdigit():
        text = text.rstrip().rstrip("!")  # `my answer is 7!`
    return _corrected(text, rest)


def _is_open(tail: str, match: re.Match) -> bool:
    """Whether a statement is not made (`I doubt that the answer is 7`, `suppose the answer is 7`), or is a question
    that nobody says yes to."""
    if is_unclaimed(tail[max(0, match.start() - MAX_LEAD_CHARACTERS) : match.end()]):
        return True
    said = first_sentence(tail[match.end() :])
    end = match.end() + len(said)
    return said.rstrip().endswith("?") or _QUESTION.match(tail, end, end + MAX_LEAD_CHARACTERS) is not None


def _corrected(text: str, rest: str) -> str:
    """A statement, or what stands behind it instead: a correction (`wait, 6`); nothing where it is taken back."""
    whole, at, chosen = text + rest, len(text), text
    for match in list(_CORRECTION.finditer(whole))[-MAX_CORRECTIONS:]:
        corrected = first_sentence(whole[match.end() :])
        other = None if pieces(corrected) else _REPLACEMENT.fullmatch(corrected.strip())
        if match.end() > 0 and (other or pieces(corrected)) and not _CHECK.match(corrected):
            chosen, at = other[1] if other else corrected, match.end() + len(corrected)
    if _is_alternative(chosen, whole[at:]) or is_taken_back(whole[at:], 0) or _denied_again(chosen, whole[at:]):
        return ""
    if not pieces(chosen):  # "B because A is wrong", "not A, so it must be B"
        chosen = _BECAUSE.split(chosen)[0]
        chosen = instead[1] if (instead := _INSTEAD.match(chosen)) else chosen
    if contrast := _CONTRAST.search(masked(chosen)):
        chosen = chosen[: contrast.start()]
    chosen = without_reserve(chosen)
    # "(C)**."; not "**C**"
    if masked(chosen).count("**") % 2 and (stars := re.search(r"\*\*[\s.]*\Z", chosen)):
        chosen = chosen[: stars.start()]
    return chosen


def _is_alternative(text: str, rest: str) -> bool:
    """Whether another answer is offered behind what is said: `7. Or maybe 8`."""
    offered = _ALTERNATIVE.match(rest)
    other = first_sentence(rest[offered.end() :]) if offered else ""
    return bool(pieces(other) or (not pieces(text) and _REPLACEMENT.fullmatch(other.strip())))


def _denied_again(text: str, rest: str) -> bool:
    """Whether what is said is denied by name: `The answer is 7. It cannot be 7.`"""
    said = [piece.text for piece in pieces(text)] or [text.strip(" .*")]
    return any(piece.text == said[-1] and denies(rest[: piece.start]) for piece in pieces(rest)) or (
        len(said[-1]) > 2 and re.search(rf"\b(?:not|n't)\s+(?:be\s+)?{re.escape(said[-1])}\b", rest) is not None
    )


def own_turn(region: str) -> str:
    """The region without the next problem that a model goes on to after its answer."""
    for start in sorted(_places(region)):
        lead = region[max(0, start - MAX_INDENT_CHARACTERS) : start]
        indent = len(lead) - len(lead.rstrip(" \t#*>"))
        if not lead[: len(lead) - indent].endswith("\n") or _OTHER_TURN.match(region, start) is None:
            continue
        end = start - indent - 1
        before = region[max(0, end - MAX_BEFORE_CHARACTERS) : end]
        if "boxed" in before or "####" in before or _STATED.search(before):
            return region[:end]
    return region


def _places(region: str) -> set[int]:
    """Where the first names of turns stand. Found as plain texts: a pattern's search of a megabyte takes too long."""
    places = set()
    for name in _TURNS:
        start, left = region.find(name), MAX_TURNS
        while start >= 0 and left:
            places.add(start)
            start, left = region.find(name, start + len(name)), left - 1
    return places


def _is_sought(tail: str, match: re.Match) -> bool:
    """Whether an answer is only spoken of: `to find the answer:`."""
    return _SOUGHT.search(tail[max(0, match.start() - 60) : match.start()]) is not None
