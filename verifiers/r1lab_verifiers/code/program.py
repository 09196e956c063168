"""Extracts the program from a completion: its last fenced block of Python after the thinking. Runs nothing.

A text without any fence counts where it reads like Python, since references and base models write bare programs.
"""

import ast
import re
import textwrap
from typing import Any

from r1lab_data import programs

# "python3.11"; not "javascript"
PYTHON = re.compile(r"i?python[\d.]*|py[\d.]*")
BYTE_ORDER_MARK = "\ufeff"
"""Of the order of bytes: no part of a text."""
MAX_PROGRAM_CHARACTERS = 8 << 20
# "```python"; not "`x`"
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*$", re.MULTILINE)
# "x, y = 1, 2"; not "The answer"
_STATEMENT = re.compile(
    r"(?:def|class|import|from|for|while|if|with|try|async|return|print|global|lambda|@|raise|assert|del|exec)\b|@"
    r"|[A-Za-z_][\w.]*\s*(?:\[[^\]]*\]\s*)?(?:,\s*[A-Za-z_*][\w.]*\s*)*(?:[-+*/%&|^]|//|\*\*|<<|>>)?=[^=]"
    r"|[A-Za-z_][\w.]*\("
)


class NoProgram(ValueError):
    """There is none; the text says why."""


def extract_program(completion: str) -> str:
    """The program; raises NoProgram."""
    region = completion.rpartition("</think>")[2].partition("<think>")[0].lstrip(BYTE_ORDER_MARK)
    text = _last_block(region)
    return _bare(region) if text is None else text


def _last_block(region: str) -> str | None:
    """The last block of Python; None where there is no block at all. Raises NoProgram."""
    blocks = _blocks(region)
    if not blocks:
        return None
    ours = [text for language, text in blocks if PYTHON.fullmatch(language)]
    ours = ours or [text for language, text in blocks if language == ""]
    if not ours:
        raise NoProgram(f"the code block is in {blocks[-1][0][:30]}, not in Python")
    text = ours[-1].removeprefix(BYTE_ORDER_MARK)
    if not text.strip():
        raise NoProgram("the code block is empty")
    return _sized(textwrap.dedent(text) if text.startswith((" ", "\t")) else text)


def code_in_prompt(prompt: Any) -> str:
    """The code that a prompt shows: its last block of Python, else all of it. Of a chat, that of its last message."""
    if not isinstance(prompt, str):
        prompt = str(prompt[-1].get("content", ""))
    try:
        return prompt if _parses(prompt) else _last_block(prompt) or prompt
    except NoProgram:
        return prompt


def complete_with_prompt(text: str, entry: str, prompt: object) -> str:
    """The program with what a prompt that defines `entry` stands for: continued by a body, or what stands around it."""
    # "async def f(x):"; not "def free(x):"
    head = re.compile(rf"^\s*(?:async\s+)?def\s+{re.escape(entry)}\b", re.MULTILINE)
    # "f = abs"; not "return f = 1"
    defines = head.search(text) or re.search(rf"^{re.escape(entry)}\s*=|^class\s", text, re.MULTILINE)
    if not isinstance(prompt, str) or not head.search(prompt):
        return text
    if defines:
        around = "" if "from __future__" in text else programs.other_functions(prompt, entry)
        return f"{around}\n\n{text}" if around else text
    body = text if text.startswith((" ", "\t")) else textwrap.indent(text, "    ")
    return f"{prompt.rstrip()}\n{body}\n"


def _blocks(text: str) -> list[tuple[str, str]]:
    """(language in small letters, text) of every fenced block; one that is never closed ends with the text."""
    blocks, position = [], 0
    while opening := _FENCE.search(text, position):
        start = min(opening.end() + 1, len(text))
        mark = opening[1]
        fence = rf"{re.escape(mark[0])}{{{len(mark)},}}[ \t\r]*$"
        # "  ```"; not "```python"
        end = re.compile(rf"^[ \t]{{0,3}}{fence}", re.MULTILINE).search(text, start)
        # "x = 1 ```"; not "x = 1 ``` #"
        inline = re.compile(fence, re.MULTILINE).search(text, start)
        if inline and (end is None or inline.start() < end.start()) and _ends_there(text[start:], inline, end, start):
            end = inline
        blocks.append((opening[2].lower().strip("{}."), text[start : end.start() if end else len(text)]))
        if end is None:
            break
        position = end.end()
    return blocks


def _ends_there(block: str, inline: re.Match, end: re.Match | None, start: int) -> bool:
    """Whether a fence at the end of a line of the program closes it: what stands before it is Python, all is not."""
    whole = block[: end.start() - start] if end else block
    return _parses(block[: inline.start() - start]) and not _parses(whole)


def _bare(text: str) -> str:
    first = next((line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")), "")
    if first.startswith(('"""', "'''", 'r"""')) and _parses(text):
        return _sized(text)
    if not _STATEMENT.match(first) or (_is_sentence(first) and not _parses(text)):
        raise NoProgram("no code block")
    return _sized(text.strip("\n"))


def _is_sentence(line: str) -> bool:
    """Prose may begin with if, for or with."""
    # "For this task we sort."; not "with open(name) as file:"
    return bool(re.match(r"[A-Za-z]+,?(?: [A-Za-z',]+){3,}[.:]?$", line)) and "import" not in line


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
