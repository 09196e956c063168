"""Finds the fenced blocks of a text: how they are written by models, not only as Markdown has them. Runs nothing.

A fence may stand in a list, behind words or a `>`, and be followed by words, a tag or an end-of-turn token. Time grows
with the length of the text, whatever it holds.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_FENCES = 1000
MAX_PROGRAM_LINE = 1 << 16
MAX_BEFORE_CHARACTERS, MAX_AFTER_CHARACTERS = 200, 1000
MAX_INDENT = 3
"""Spaces by which a closing fence may be indented further than the opening one."""
# "```"; not "~~~"
RUNS = {"`": re.compile("`+"), "~": re.compile("~+")}
# "python", "py3", "python3.11"; not "javascript"
PYTHON = re.compile(r"i?python[\d.]*|py[\d.]*")
# "  ", "- ", "2. ", "> "; not "x = 1"
BEFORE = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,3}[.)]|>)[ \t]*)*")
# "python" of "python title='x'", ".python" of "{.python}"; not "a b"
LANGUAGE = re.compile(r"\{?[ \t]*\.?([^\s,:={}`]*)")


class TooManyFences(ValueError):
    """More than a text for people has."""


@dataclass(frozen=True)
class Fence:
    """A run of marks, and what stands around it on its line."""

    start: int
    line_start: int
    line_end: int
    mark: str
    before: str
    after: str

    @property
    def is_alone(self) -> bool:
        """Whether nothing of the text stands before it."""
        return len(self.before) <= MAX_BEFORE_CHARACTERS and BEFORE.fullmatch(self.before) is not None

    @property
    def language(self) -> str:
        found = LANGUAGE.match(self.after)
        return found[1].lower() if found else ""

    @property
    def is_python(self) -> bool:
        return PYTHON.fullmatch(self.language) is not None

    @property
    def is_opening(self) -> bool:
        """Whether it may begin a block: words behind it are none of a language, unless it is Python's."""
        is_info = not self.after or self.is_python or self.after[:1] == "{" or len(self.after.split()) == 1
        if self.is_alone:
            return is_info and self.after[:1] != "<"
        return self.is_python or (not self.after and self.before.rstrip().endswith((":", ">")))

    def closes(self, opening: "Fence") -> bool:
        """Whether it ends a block that another one began, as a line of its own."""
        is_near = len(self.before) <= len(opening.before if opening.is_alone else "") + MAX_INDENT
        return self.mark[0] == opening.mark[0] and len(self.mark) >= len(opening.mark) and self.is_alone and is_near


@dataclass
class Block:
    """A fenced block: where its text begins, and where it may end."""

    opening: Fence | None
    """None: it was opened before the text began."""
    start: int
    end: int
    """The likeliest end; that of the text where no fence closes it."""
    is_closed: bool = False
    earlier: list[int] = field(default_factory=list)
    """Ends behind a line of the program: `x = 1```."""
    later: list[int] = field(default_factory=list)
    """Fences further down, for a program that holds fences itself."""

    @property
    def language(self) -> str:
        return "python" if self.opening is None else self.opening.language

    @property
    def is_python(self) -> bool:
        return self.opening is None or self.opening.is_python


def fences(text: str) -> list[Fence]:
    """All fences, in order; raises TooManyFences."""
    places = sorted([*_places(text, "```"), *_places(text, "~~~")])
    found: list[Fence] = []
    line_start = line_end = -1
    for start, end in places:
        if start > line_end:
            line_start = text.rfind("\n", max(line_end, 0), start) + 1
            line_end = text.find("\n", start)
            line_end = len(text) if line_end < 0 else line_end
        before, after = text[line_start:start], text[end : min(line_end, end + MAX_AFTER_CHARACTERS)]
        if len(found) == MAX_FENCES or (len(before) > MAX_PROGRAM_LINE and found):
            raise TooManyFences(f"more than {MAX_FENCES} code fences, or a line without end")
        found.append(Fence(start, line_start, line_end, text[start:end], before, after.strip()))
    return found


def _places(text: str, mark: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each run of marks; `str.find` is the quickest way through a long text."""
    start = text.find(mark)
    for _ in range(MAX_FENCES + 1):
        if start < 0:
            return
        end = RUNS[mark[0]].match(text, start).end()  # type: ignore[union-attr]  it has found the mark
        yield start, end
        start = text.find(mark, end)


def blocks(text: str, is_open: bool = False) -> list[Block]:
    """The fenced blocks of a text, in order. is_open: the text begins within a block."""
    found: list[Block] = []
    current = Block(None, 0, len(text)) if is_open else None
    for fence in fences(text):
        if current is None:
            if fence.is_opening:
                current = Block(fence, min(fence.line_end + 1, len(text)), len(text))
        elif current.opening is not None and fence.line_end == current.opening.line_end:
            code = text[current.opening.start : fence.start].lstrip("`~")
            if not fence.after and code.strip():  # a block on one line
                start = fence.start - len(code) + (len(current.language) if current.is_python else 0)
                found.append(Block(current.opening, start, fence.start, is_closed=True))
            current = None
        elif current.opening is None or fence.closes(current.opening):
            is_inline = not fence.is_alone
            current.end, current.is_closed = (fence.start if is_inline else fence.line_start), True
            found.append(current)
            place = fence.start + len(fence.mark)
            is_next = fence.is_python or (fence.is_opening and text[place : place + 1].isalpha())
            current = Block(fence, min(fence.line_end + 1, len(text)), len(text)) if is_next else None
        elif not fence.is_alone and (not fence.after or fence.after[:1] == "<"):
            current.earlier.append(fence.start)
    found += [current] if current is not None else []
    alone = [fence.line_start for fence in fences(text) if fence.is_alone and not fence.after]
    for block in found:
        block.later = [place for place in alone if place > block.end][:4]
    return found
