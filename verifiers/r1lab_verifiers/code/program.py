"""Extracts the program from a completion: its last block of Python after the thinking. Runs nothing.

A text without a fence counts where it reads like Python: references and base models write bare programs, and a prompt
may have opened the fence. It runs in the trainer's process, so its time grows with the length of a text and no more,
and what needs Python's own parser is bounded.
"""

import ast
import re
import textwrap
from typing import Any

from r1lab_data import programs
from r1lab_verifiers.code import fences
from r1lab_verifiers.code.fences import Block, TooManyFences

BYTE_ORDER_MARK = "\ufeff"
"""Of the order of bytes: no part of a text."""
MAX_PROGRAM_CHARACTERS = 8 << 20
MAX_PARSED_CHARACTERS = 6000
"""Of a completion, where only a parser can tell what its program is: it takes some 20 ms, and holds every thread."""
MAX_PROSE_LINES = 200
MAX_LOOKED_CHARACTERS = 1 << 17
"""Of a text, where a pattern says whether it reads like a program: it takes 0.1 s for a million empty lines."""
MAX_TOKENS, MAX_TOKEN_CHARACTERS = 20, 60
"""That end a turn, at the end of a text."""
MAX_NAMES = 1000
MAX_LINE_CHARACTERS = 300
# "x, y = 1, 2"; not "The answer"
_STATEMENT = re.compile(
    r"(?:def|class|import|from|for|while|if|with|try|async|return|print|global|lambda|@|raise|assert|del|exec|match)\b|@"
    r"|[A-Za-z_][\w.]*\s*(?:\[[^\]]*\]\s*)?(?:,\s*[A-Za-z_*][\w.]*\s*)*(?::\s*[\w\[\], .]+)?"
    r"(?:[-+*/%&|^]|//|\*\*|<<|>>)?=[^=]"
    r"|[A-Za-z_][\w.]*\("
)
# "def f(x):", "print(x)", "x = 1"; not "the value of x"
_CODE = re.compile(
    r"^[ \t]*(?:(?:async )?def |class \w+[:(]|import \w|from [\w.]+ import|print\(|(?:for|while|if|with) [^\n]*:[ \t]*$"
    r"|return\b|@\w|[A-Za-z_][\w., \[\]]{0,80}=[^=\n])",
    re.MULTILINE,
)
# "<|im_end|>", "</s>"; not "<b>"
_TOKEN = re.compile(r"(?:<\|[\w-]{1,40}\|>|</?s>|<eos>|<end_of_turn>|</answer>)$")


class NoProgram(ValueError):
    """There is none; the text says why."""


class _Parser:
    """Says what parses, of so many characters together."""

    def __init__(self):
        self._left = MAX_PARSED_CHARACTERS

    def parses(self, text: str, otherwise: bool) -> bool:
        """otherwise: what is said of a text that is too long to be looked at."""
        self._left -= len(text)
        return _parses(text) if self._left >= 0 else otherwise


def extract_program(completion: str, prompt: Any = "") -> str:
    """The program; raises NoProgram. prompt: the problem's, which may end within a block."""
    region = _after_thinking(completion).lstrip(BYTE_ORDER_MARK)
    parser, is_open = _Parser(), _is_open(prompt)
    opening = _find(region, "<answer>", last=True)
    if opening < 0:
        closing = _find(region, "</answer>")
        return _extract(region if closing < 0 else region[:closing], is_open, parser)
    inside = region[opening + len("<answer>") :]
    closing = _find(inside, "</answer>")
    try:
        return _extract(inside if closing < 0 else inside[:closing], False, parser)
    except NoProgram:
        try:
            return _extract(region[:opening], is_open, parser)  # the answer may only point at it
        except NoProgram:
            pass
        raise


def _after_thinking(text: str) -> str:
    """What follows the last `</think>`; endless thinking is no answer. A tag in a string of a program is none."""
    closing = _find(text, "</think>", last=True)
    region = text[closing + len("</think>") :] if closing >= 0 else text
    opening = _find(region, "<think>")
    return region if opening < 0 else region[:opening]


def _find(text: str, tag: str, last: bool = False) -> int:
    """Where a tag stands, but in a string of a fenced program; -1: nowhere."""
    place = text.rfind(tag) if last else text.find(tag)
    for _ in range(20):
        line = text[text.rfind("\n", 0, max(place, 0)) + 1 : max(place, 0)]
        is_string = any(line.count(quote) % 2 for quote in "'\"") and text.count("```", 0, max(place, 0)) % 2
        if place < 0 or not is_string:
            break
        place = text.rfind(tag, 0, place) if last else text.find(tag, place + 1)
    return place


def _extract(text: str, is_open: bool, parser: _Parser) -> str:
    try:
        if is_open or _begins_as_code(text, parser):
            found = fences.blocks(text, is_open=True)[:1]
            if not found or not found[0].is_closed:
                return _bare(text, parser)
            block = _program(text, found[0], parser)
            return block if is_open else _bare(block, parser)
        found = fences.blocks(text)
    except TooManyFences as error:
        raise NoProgram(str(error)) from None
    return _of_blocks(text, found, parser) if found else _bare(text, parser)


def _begins_as_code(text: str, parser: _Parser) -> bool:
    """Whether a text with fences is a program from its first line on: one was opened before it, or it holds them."""
    all_fences = fences.fences(text)
    if not all_fences or any(fence.is_python for fence in all_fences[:1]):
        return False
    before = text[: all_fences[0].line_start if all_fences[0].is_alone else all_fences[0].start]
    start, is_prose = _first_statement(before)
    if start is None or (is_prose and not _shows_code(before, start, len(before))):
        return False
    return len(all_fences) % 2 == 1 or parser.parses(text[start:], False)


def _of_blocks(text: str, all_blocks: list[Block], parser: _Parser) -> str:
    """The last block of Python, else the last without a language that reads like a program."""
    ours = [block for block in all_blocks if block.is_python]
    if not ours:
        unnamed, left = [block for block in all_blocks if block.language == ""], MAX_LOOKED_CHARACTERS
        for block in reversed(unnamed):
            if left > 0 and _shows_code(text, block.start, min(block.end, block.start + left)):
                ours = [block]
                break
            left -= block.end - block.start
        ours = ours or unnamed
    if not ours:
        raise NoProgram(f"the code block is in {all_blocks[-1].language[:30]}, not in Python")
    filled = (block for block in reversed(ours) if text[block.start : block.end].strip())
    return _program(text, next(filled, ours[-1]), parser)


def _shows_code(text: str, start: int, end: int) -> bool:
    """Whether any line from a place on reads like Python."""
    return _CODE.search(text, start, min(end, start + MAX_LOOKED_CHARACTERS)) is not None


def _program(text: str, block: Block, parser: _Parser) -> str:
    """The text of a block, which ends where it is a program if that can be told."""
    whole = _text(text, block)
    is_quoting = whole.count('"""') % 2 or whole.count("'''") % 2
    others = [*block.earlier, *(block.later if is_quoting else ())]
    if others and not parser.parses(whole, block.is_closed):
        told = (_text(text, block, end) for end in others)
        whole = next((each for each in told if parser.parses(each, not block.is_closed)), whole)
    if not whole.strip():
        raise NoProgram("the code block is empty")
    return _sized(whole)


def _text(text: str, block: Block, end: int | None = None) -> str:
    """A block's text without what it is indented or quoted by."""
    whole = text[block.start : block.end if end is None else end].removeprefix(BYTE_ORDER_MARK)
    if block.opening is not None and ">" in block.opening.before and block.opening.is_alone:
        whole = ("\n" + whole).replace("\n> ", "\n").replace("\n>", "\n")[1:]
    first = whole.lstrip("\r\n")
    indent = first[: len(first) - len(first.lstrip(" \t"))]
    if indent:
        whole = ("\n" + whole).replace("\n" + indent, "\n")[1:]
    return whole if block.is_closed else _without_tokens(whole)


def _without_tokens(text: str) -> str:
    """Without what ends a turn."""
    end = len(text)
    for _ in range(MAX_TOKENS):
        tail = text[max(0, end - MAX_TOKEN_CHARACTERS) : end].rstrip()
        match = _TOKEN.search(tail)
        if match is None:
            break
        end = max(0, end - MAX_TOKEN_CHARACTERS) + match.start()
    return text[:end]


def _bare(text: str, parser: _Parser) -> str:
    """A program without a fence, and without the words before and behind it."""
    text = _without_tokens(text)
    start, is_prose = _first_statement(text)
    if start is None or (is_prose and not _shows_code(text, start, len(text))):
        raise NoProgram("no code block")
    whole = text[start:].strip("\n")
    if not parser.parses(whole, True):
        lines = whole.split("\n")
        while lines and (not lines[-1].strip() or _is_prose(lines[-1])):
            lines.pop()
        shorter = "\n".join(lines)
        if lines and parser.parses(shorter, False):
            return shorter
    return _sized(whole)


def _first_statement(text: str) -> tuple[int | None, bool]:
    """Where the first line stands that reads like Python, and whether there is prose before it."""
    place, is_prose = 0, False
    for _ in range(MAX_PROSE_LINES):
        end = text.find("\n", place)
        line = text[place : end if end >= 0 else len(text)][:MAX_LINE_CHARACTERS]
        if line.strip() and not _is_prose(line):
            return place, is_prose
        is_prose = is_prose or bool(line.strip())
        if end < 0:
            break
        place = end + 1
    return None, is_prose


def _is_prose(line: str) -> bool:
    """Whether a line is none of a program, as far as it tells by itself. Prose may begin with if, for or with."""
    stripped = line.strip()[:MAX_LINE_CHARACTERS]
    if stripped.startswith(("#", '"""', "'''", 'r"""', ")", "]", "}")):
        return stripped.startswith("##")
    if not _STATEMENT.match(stripped):
        return not line.startswith(("    ", "\t"))
    # "For this task we sort."; not "with open(name) as file:"
    is_sentence = re.match(r"[A-Za-z]+,?(?: [A-Za-z',]+){3,}[.:]?$", stripped)
    return is_sentence is not None and "import" not in stripped and not _parses(stripped + " pass")


def _is_open(prompt: Any) -> bool:
    """Whether a prompt ends within a block that the completion continues."""
    text = _last_message(prompt)
    try:
        found = fences.blocks(text) if "```" in text else []
    except TooManyFences:
        return False
    is_ours = bool(found) and (found[-1].is_python or not found[-1].language)
    return is_ours and not found[-1].is_closed and not text[found[-1].start :].strip()


def _last_message(prompt: Any) -> str:
    if isinstance(prompt, str) or not prompt:
        return prompt or ""
    return str(prompt[-1].get("content", ""))


def code_in_prompt(prompt: Any) -> str:
    """The code that a prompt shows: its last block of Python, else all of it. Of a chat, that of its last message."""
    text = _last_message(prompt)
    try:
        found = [] if _parses(text) else fences.blocks(text)
        return _of_blocks(text, found, _Parser()) if found else text
    except (NoProgram, TooManyFences):
        return text


def complete_with_prompt(text: str, entry: str, prompt: object) -> str:
    """The program with what a prompt that defines `entry` stands for: continued by a body, or what stands around it."""
    if not isinstance(prompt, str) or not _defines(prompt, entry, ("def",)):
        return text
    defines = _defines(text, entry, ("def", "")) or _defines(text, "class ", ("class",))
    if defines:
        around = "" if "from __future__" in text else programs.other_functions(prompt, entry)
        return f"{around}\n\n{text}" if around else text
    body = text if text.startswith((" ", "\t")) else "    " + text.replace("\n", "\n    ")
    return f"{prompt.rstrip()}\n{body}\n"


def _defines(text: str, name: str, ways: tuple[str, ...]) -> bool:
    """Whether a function is defined in a text, or at its top bound to something else: the way "" of `f = abs`.

    Not by a pattern: one that looks at the beginnings of lines takes a third of a second for a million empty ones.
    """
    place = text.find(name)
    for _ in range(MAX_NAMES):
        if place < 0:
            break
        end = place + len(name)
        line = text[max(0, text.rfind("\n", max(0, place - MAX_LINE_CHARACTERS), place) + 1) : place]
        after = text[end : end + MAX_LINE_CHARACTERS].lstrip(" \t")
        is_name = not (text[end : end + 1].isalnum() or text[end : end + 1] == "_")
        words = line.split()
        if is_name and "def" in ways and words in (["def"], ["async", "def"]) and line.endswith((" ", "\t")):
            return True
        if not line and ("class" in ways or (is_name and "" in ways and after[:1] == "=")):
            return True
        place = text.find(name, end)
    return False


def _parses(text: str) -> bool:
    try:
        ast.parse(textwrap.dedent(text[: 1 << 20]))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _sized(text: str) -> str:
    if len(text) > MAX_PROGRAM_CHARACTERS:
        raise NoProgram(f"a program of {len(text)} characters; at most {MAX_PROGRAM_CHARACTERS}")
    return text
