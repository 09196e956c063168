r"""Reading the answer out of a column: what `answer_format` may be. Not verification: no answer is compared here.

- plain: the column as it stands
- hash: the text after the last `####` (GSM8K)
- boxed: the inside of the last \boxed{...} whose braces are balanced (MATH, minerva)
- number: the first number of the text, its thousands separators kept
- any: a list of answers, each of which is right: `["70", "71"]`, also written out; the answer is `{"any": [...]}`
- unit: the text before a unit in parentheses: `9 (apples)` is `9`, while `5:6` and `Yes` stay (ASDiv)
"""

import ast
import json
import math
import re
from collections.abc import Callable

NUMBER = re.compile(r"[-+]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?(?:/\d+)?", re.IGNORECASE)
"""`-1,250.5`, `3/4`, `.5e-3`."""
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
r"""`\boxed{`, `\fbox {`."""
# "\{", one escaped brace; not "["
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def text_of(value: object) -> str | None:
    r"""A cell as text, as it stands but for line ends (\n). None: nothing is there (null, NaN, blank, empty list).

    A float that is whole loses its `.0` (145.0 is `145`), every other one is written with all its digits; a list of
    one is its item. A longer list or a mapping is no text: TypeError.
    """
    if isinstance(value, list | tuple) and len(value) <= 1:
        return text_of(value[0]) if value else None
    if isinstance(value, list | tuple | dict):
        raise TypeError(f"a {type(value).__name__} of {len(value)} items")
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    text = str(value).replace("\r\n", "\n").replace("\r", "\n")
    return text if text.strip() else None


def after_hashes(text: str) -> str | None:
    """The text after the last `####`."""
    _, mark, answer = text.rpartition("####")
    return answer.strip() or None if mark else None


def last_boxed(text: str) -> str | None:
    r"""The inside of the last \boxed{...} (or \fbox{...}) with balanced braces."""
    for match in reversed(list(BOX.finditer(text))):
        end = closing_brace(text, match.end())
        if end is not None:
            return text[match.end() : end].strip() or None
    return None


def closing_brace(text: str, start: int, limit: int | None = None) -> int | None:
    r"""Where the brace opened just before `start` closes, within `limit` characters; `\{` and `\}` do not count."""
    depth = 1
    for brace in _BRACE.finditer(text, start, len(text) if limit is None else start + limit):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return brace.start()
    return None


def first_number(text: str) -> str | None:
    """The first number with its sign, separators, decimals, exponent, denominator; a ratio or time (`5:6`) is none."""
    match = NUMBER.search(text)
    return match.group() if match and not re.match(r":\d", text[match.end() :]) else None


def before_unit(text: str) -> str | None:
    """The text without a last part in parentheses."""
    return re.sub(r"\s*\([^()]*\)\s*$", "", text) or None


FORMATS: dict[str, Callable[[str], str | None]] = {
    "plain": lambda text: text,
    "hash": after_hashes,
    "boxed": last_boxed,
    "number": first_number,
    "unit": before_unit,
}
ANY = "any"
"""The format of a column that lists every accepted answer, and the one key of the answer that is made of it."""
WHOLE_IS_SOLUTION = frozenset({"hash", "boxed"})
"""Formats whose column is a worked solution: it becomes the demonstration where `columns` names none."""


def accepted(value: object) -> str | dict[str, list[str]] | None:
    """The answers of a list, or of a text that is one; one alone is a plain text. None: nothing is there."""
    members = value if isinstance(value, list | tuple) else _listed(value)
    texts = [text for member in members if (text := text_of(member)) is not None]
    texts = list(dict.fromkeys(text.strip() for text in texts))
    return None if not texts else texts[0] if len(texts) == 1 else {ANY: texts}


def _listed(value: object) -> list:
    """The members of a list that is written as JSON or as Python does; else the value alone."""
    if isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"):
        for read in (json.loads, ast.literal_eval):
            try:
                members = read(value.strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(members, list) and all(isinstance(each, str | int | float | None) for each in members):
                return members
    return [value]
