r"""The verifier `choice`: one letter of several. A hedge over different letters is wrong, a denied letter no answer.

The most explicit place that holds a letter decides: a box, an <answer>, `answer is C`, the last line (`C is correct`,
`so I choose C`, the letter alone), an option at the start of a line. Bare letters in running text are never read: `A`
is an article.
"""

import re
from dataclasses import dataclass

from r1lab_verifiers.text.denial import is_denied, is_taken_back
from r1lab_verifiers.text.region import boxes, final_region, has_answer_tag, tail
from r1lab_verifiers.verdict import Item, Verdict

MAX_LINE_CHARACTERS = 2000
"""Of a last line that is read as a conclusion, and of a text that is to be one option."""
MAX_PLACES = 200
"""Boxes, statements or listed options that are looked at, from the end."""
# "\text{B}"; not "text B"
_WRAP = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textrm|mathit|textit|mathsf|operatorname)\s*\{([^{}]*)\}")
# "C\ 12"; not "C\\12"
_TEX_SPACE = re.compile(r"(?<!\\)\\(?:[ ,;:!]|quad\b|qquad\b)|~")
# "A because"; not "A dog", where it is an article
_ARTICLE = (
    r"(?![AI]\s+(?!(?:and|as|because|but|by|due|for|from|given|here|in|is|not|or|since|so|that|when|which|with|would)\b)"
    r"[a-z])"
)
# "(c)", "C", "c" at a line's end; not "C's", "Cat"
_LETTER = rf"{_ARTICLE}(?:\(([A-Za-z])\)|([A-Z])\b(?!['\u2019])|([a-z])(?=\)?[\s*$`.]*$))"
# "**Option: (" before a letter
_FRAME = r"[\s*$`:\"']*+"
_OPTION = r"(?i:(?:option|choice|answer|letter)\s*:?\s*)?"
# "Option: (B)."; not "B or C"
_ONLY = re.compile(
    r"[\s*$`\"']*+(?:(?:option|choice|answer)\s*:?\s*)?\(?([A-Z])\)?(?:[\s*$`\"'.]*+|[.):]\s.*)",
    re.IGNORECASE | re.DOTALL,
)
# "The correct option is B", "Answer: (B)"; not "the options are: big ones"
_STATED = re.compile(
    r"\b(?i:answers?|ans|(?:correct|right|best)\s+(?:option|choice|answer))\b\.?(?i:\s+choice|\s+option)?[*`]{0,3}"
    r"(?i:\s+is|\s+are|\s*:|\s*=){1,4}+(?i:\s+(?:therefore|thus|hence|clearly|indeed|definitely|most\s+likely))?"
    rf"(?i:\s*(?:either|both))?{_FRAME}{_OPTION}{_FRAME}{_LETTER}",
    re.MULTILINE,
)
# "C is correct", "(C) must be the right answer"; not "C is not correct"
_CALLED = re.compile(
    rf"(?<![\w'\u2019])(?i:option\s+|choice\s+|answer\s+)?{_ARTICLE}(?:\(([A-Za-z])\)|([A-Z])\b)()[\s*$`]{{0,4}}"
    r"(?i:is|must\s+be|has\s+to\s+be)\s+(?i:therefore\s+|thus\s+|clearly\s+|indeed\s+)?(?i:the\s+)?"
    r"(?i:only\s+)?(?i:correct|right|best|true|answer)\b"
)
# "I choose (C)", "so C.", "which is option C"; not "I would not choose C"
_CHOSEN = re.compile(
    r"(?:\b(?i:choose|pick|select|go(?:ing)?\s+with|choosing|picking|selecting)\b|\b(?i:is|matches|gives|means|"
    r"corresponds\s+to)\s+(?=(?i:option|choice|answer)\b)|^[\s*]{0,4}(?i:so|thus|hence|therefore)\b,?(?=[^\n]{0,24}$))"
    rf"{_FRAME}{_OPTION}{_FRAME}{_LETTER}",
    re.MULTILINE,
)
# "(b) x"; not "A cat"
_LISTED = re.compile(r"^[ \t*$]*+(?:\(([A-Za-z])\)|([A-Z])[.):](?=\s|\*|$))()", re.MULTILINE)
# " or C", " (or maybe C)"; not ", a cat"
_MORE = re.compile(
    r"[\s*$`)?]*+\(?(?:(?:,|;)(?=[\s*$`]*\(?[A-Z]\b(?!\s+[a-z]))|/|&|(?i:,?\s*(?:and/or|or|and|nor)\b)"
    r"|(?i:,?\s*(?:but\s+|or\s+|and\s+)?(?:maybe|perhaps|possibly|alternatively|(?:it\s+)?could\s+(?:also\s+)?be)\b))"
    r"[\s*$`,]*(?i:(?:maybe|perhaps|possibly|even|also)\s+)?(?i:(?:option|choice)\s+)?(?!I\s+[a-z])"
    rf"{_ARTICLE}(?:\(([A-Za-z])\)|([A-Z])\b(?!'))()"
)


@dataclass(frozen=True)
class Choice:
    """Compares one letter with the gold letter."""

    letters: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    """The letters that are options; others are no answer."""

    def __post_init__(self):
        # "ABCD"; not "A-D"
        if not re.fullmatch(r"[A-Z]{2,26}", str(self.letters)):
            raise ValueError(f"choice: letters {self.letters!r}: give at least two capital letters, such as ABCD")

    def verify(self, item: Item) -> Verdict:
        if reason := self.check(item.answer):
            return Verdict(None, "error", reason=f"choice: {reason}")
        offered = _letters(item.completion)
        if offered is None:
            return Verdict(0.0, "no_answer", reason="no letter")
        if len(offered) > 1:
            return Verdict(0.0, "wrong", " ".join(sorted(offered)), "several different letters")
        letter = min(offered, default="")
        if letter not in self.letters or not letter:
            return Verdict(0.0, "unparsable", letter or None, "the answer's place holds no option")
        if letter != self._gold_letter(item.answer):
            return Verdict(0.0, "wrong", letter)
        return Verdict(1.0, "correct", letter)

    def check(self, answer: str | dict) -> str | None:
        """Why the gold answer cannot be used, or None."""
        if self._gold_letter(answer):
            return None
        return f"the gold answer {str(answer)[:80]!r} is no letter of {self.letters}"

    def _gold_letter(self, answer: object) -> str:
        """The gold letter; empty where the answer is none of the options."""
        match = _ONLY.fullmatch(answer) if isinstance(answer, str) else None
        letter = match[1].upper() if match else ""
        return letter if letter in self.letters else ""

    def witness(self, answer: str | dict) -> str:
        """A statement of the gold letter."""
        gold = _ONLY.fullmatch(str(answer))
        return f"The answer is {gold[1].upper()}" if gold else str(answer)


def _plain(text: str) -> str:
    """The text without TeX's frames and spaces, its long runs of white space shortened."""
    text = _TEX_SPACE.sub(" ", _WRAP.sub(r"\1", text))
    # "   "; not "  "
    return re.sub(r"\s{3,}+", lambda run: "\n" if "\n" in run[0] else " ", text)


def _letters(completion: str) -> set[str] | None:
    """The letters offered where the answer stands; empty: its place holds none; None: no such place."""
    region = _plain(tail(final_region(completion)))
    inside = boxes(region)
    if boxed := set().union(*(_only(text) for text in inside[-MAX_PLACES:])):
        return boxed
    is_tagged = has_answer_tag(completion)
    if is_tagged and (found := _only(region)):
        return found
    if found := _collect(_STATED, region):
        return set() if found == {""} else found - {""}
    last = region.rstrip().rpartition("\n")[2]
    if found := _concluded(last, is_whole=len(last) == len(region.strip())):
        return found
    if found := _collect(_LISTED, region) - {""}:
        lines = [*_LISTED.finditer(region)][-MAX_PLACES:]
        return found.union(*(_others(region, match) for match in lines))
    return set() if inside or is_tagged else None


def _concluded(line: str, is_whole: bool) -> set[str]:
    """The letters that the last line concludes with; the text of an option may follow where it is the whole answer."""
    if len(line) > MAX_LINE_CHARACTERS:
        return set()
    is_listed = _LISTED.match(line) is not None
    if not is_listed and (found := (_collect(_CALLED, line) | _collect(_CHOSEN, line)) - {""}):
        return found
    # "**C**."; not "C. Paris"
    is_alone = re.fullmatch(rf"[\s*$`]*{_OPTION}[\s*$`]*\(?[A-Za-z]\)?[\s*$`.]*", line)
    return _only(line) if is_alone or is_whole else set()


def _only(text: str) -> set[str]:
    """The letter that a text is, or all letters of a list such as `A, B`."""
    if len(text) > MAX_LINE_CHARACTERS:
        return set()
    # "**(b)"; not "Both"
    start = re.match(r"[\s*$`]*+(?:\(([A-Za-z])\)|([A-Za-z])\b)()", text)
    if start and is_denied(text, 0, start.end()):
        return set()
    if start and _MORE.match(text, start.end()):
        return _chain(text, start) - {""}
    match = _ONLY.fullmatch(text)
    return {match[1].upper(), *(_others(text, start) if start else ())} if match else set()


def _others(text: str, match: re.Match) -> list[str]:
    """The letters of further options behind one, where they stand in one line: `(A) 3 (B) 4`, `A. 3 B. 4`."""
    line = text[match.end() : match.end() + MAX_LINE_CHARACTERS].partition("\n")[0]
    # " (B) 4"; not "(Bob)". " B. 4", " B) 4"; not "plan B, 4"
    pattern = r"(?<!\w)\(([A-Z])\)" if match[1] else r"(?<=\s)([A-Z])[.)](?=\s)"
    return re.findall(pattern, line)


def _collect(pattern: re.Pattern, text: str) -> set[str]:
    """The letters of every match; empty text for a match that is denied or taken back behind it."""
    found, end = set(), 0
    for match in [*pattern.finditer(text)][-MAX_PLACES:]:
        if match.start() >= end:  # else it is part of the list that the match before began
            found |= _chain(text, match)
            end = match.end()
    return {""} if found and is_taken_back(text, end) else found


def _chain(text: str, match: re.Match) -> set[str]:
    """The letter matched and those joined to it: `A or B`, `A, B and C`; empty text for one that is denied."""
    letters, start = set(), match.start()
    more: re.Match | None = match
    while more:
        letters.add("" if is_denied(text, start, more.end()) else next(filter(None, more.groups())).upper())
        more = _MORE.match(text, more.end())
    return letters
