"""Finds the part of a completion that holds its answer: after the thinking, in <answer>, behind a marker, in a box.

Text in, text out. Reads no numbers and judges nothing; every built-in reads a completion through these.
"""

import re

from r1lab_data.answers import closing_brace

MAX_BOX_CHARACTERS = 4096
MAX_UNCLOSED = 100
"""Boxes that never close, after which a text is read no further for boxes (each costs a look ahead)."""


def final_region(text: str) -> str:
    """What follows the last `</think>`; of that, the inside of the last `<answer>`. Endless thinking is no answer."""
    text = text.rpartition("</think>")[2].partition("<think>")[0]
    _, tag, inside = text.rpartition("<answer>")
    return inside.partition("</answer>")[0] if tag else text


def has_answer_tag(text: str) -> bool:
    """Whether an <answer> is opened after the thinking."""
    return "<answer>" in text.rpartition("</think>")[2].partition("<think>")[0]


def after_marker(text: str, marker: str) -> str | None:
    """What follows the last occurrence of the marker (in any case), or None where there is none."""
    # with the marker "A:" the last "a:" of "A: 1, a: 2"; not "A 2"
    ends = [match.end() for match in re.finditer(re.escape(marker), text, re.IGNORECASE)]
    return text[ends[-1] :] if ends else None


def boxes(text: str) -> list[str]:
    r"""The insides of all `\boxed{...}` and `\fbox{...}` that are closed, in order; of nested ones the outer."""
    insides, position = [], 0
    # "\boxed{7}"; not "\boxed 7"
    opening = re.compile(r"\\(?:boxed|fbox)\s*\{")
    unclosed = 0
    while unclosed < MAX_UNCLOSED and (match := opening.search(text, position)):
        end = closing_brace(text, match.end(), MAX_BOX_CHARACTERS)
        if end is None:
            position, unclosed = match.end(), unclosed + 1
            continue
        insides.append(text[match.end() : end])
        position = end + 1
    return insides
