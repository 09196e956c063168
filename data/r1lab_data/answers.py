r"""Reading the answer out of a column: what `answer_format` may be. Not verification: no answer is compared here.

- plain: the column as it stands
- hash: the text after the last `####` (GSM8K)
- boxed: the inside of the last \boxed{...} whose braces are balanced (MATH, minerva)
- number: the first number of the text, its thousands separators kept
- unit: the text before a unit in parentheses: `9 (apples)` is `9`, while `5:6` and `Yes` stay (ASDiv)
- any: a list of texts of which each is right: `["70", "71"]` (math); the other formats take one text
"""

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
    "any": lambda text: text,
}
WHOLE_IS_SOLUTION = frozenset({"hash", "boxed"})
"""Formats whose column is a worked solution: it becomes the demonstration where `columns` names none."""
