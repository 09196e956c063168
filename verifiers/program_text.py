"""The program in a completion: its last fenced block of Python after the thinking. Runs nothing, decides nothing.

A text without any fence counts where it reads like Python, since references and base models write bare programs.
"""

import ast
import re
import textwrap

PYTHON = frozenset({"", "python", "py", "python3", "python2", "py3", "ipython"})
MAX_PROGRAM = 8 << 20
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*$", re.MULTILINE)
_STATEMENT = re.compile(
    r"(?:def|class|import|from|for|while|if|with|try|async|return|print|global|lambda|@|raise|assert|del|exec)\b|@"
    r"|[A-Za-z_][\w.]*\s*(?:\[[^\]]*\]\s*)?(?:,\s*[A-Za-z_*][\w.]*\s*)*(?:[-+*/%&|^]|//|\*\*|<<|>>)?=[^=]"
    r"|[A-Za-z_][\w.]*\("
)


class NoProgram(ValueError):
    """There is none; the text says why."""


def program(completion: str) -> str:
    """The program; raises NoProgram."""
    region = completion.rpartition("</think>")[2].partition("<think>")[0]
    blocks = _blocks(region)
    if not blocks:
        return _bare(region)
    ours = [text for language, text in blocks if language in PYTHON - {""}]
    ours = ours or [text for language, text in blocks if language == ""]
    if not ours:
        raise NoProgram(f"the code block is in {blocks[-1][0][:30]}, not in Python")
    if not ours[-1].strip():
        raise NoProgram("the code block is empty")
    return _sized(textwrap.dedent(ours[-1]) if ours[-1].startswith((" ", "\t")) else ours[-1])


def completed(text: str, entry: str, prompt: object) -> str:
    """The program, where it is the body that continues a prompt which defines `entry`."""
    head = re.compile(rf"^\s*(?:async\s+)?def\s+{re.escape(entry)}\b", re.MULTILINE)
    defines = head.search(text) or re.search(rf"^{re.escape(entry)}\s*=|^class\s", text, re.MULTILINE)
    if not isinstance(prompt, str) or defines or not head.search(prompt):
        return text
    body = text if text.startswith((" ", "\t")) else textwrap.indent(text, "    ")
    return f"{prompt.rstrip()}\n{body}\n"


def _blocks(text: str) -> list[tuple[str, str]]:
    """(language in small letters, text) of every fenced block; one that is never closed ends with the text."""
    found, position = [], 0
    while opening := _FENCE.search(text, position):
        start = min(opening.end() + 1, len(text))
        mark = opening[1]
        closing = re.compile(rf"^[ \t]{{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$", re.MULTILINE)
        end = closing.search(text, start)
        found.append((opening[2].lower().strip("{}."), text[start : end.start() if end else len(text)]))
        if end is None:
            break
        position = end.end()
    return found


def _bare(text: str) -> str:
    first = next((line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")), "")
    if first.startswith(('"""', "'''", 'r"""')) and _parses(text):
        return _sized(text)
    if not _STATEMENT.match(first) or (_is_sentence(first) and not _parses(text)):
        raise NoProgram("no code block")
    return _sized(text.strip("\n"))


def _is_sentence(line: str) -> bool:
    """Prose may begin with if, for or with."""
    return bool(re.match(r"[A-Za-z]+,?(?: [A-Za-z',]+){3,}[.:]?$", line)) and "import" not in line


def _parses(text: str) -> bool:
    try:
        ast.parse(textwrap.dedent(text[: 1 << 20]))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _sized(text: str) -> str:
    if len(text) > MAX_PROGRAM:
        raise NoProgram(f"a program of {len(text)} characters; at most {MAX_PROGRAM}")
    return text
