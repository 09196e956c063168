"""Finds the part of a completion that holds its answer: after the thinking, in <answer>, behind a marker, in a box.

Text in, text out. Reads no numbers and judges nothing; every built-in reads a completion through these.
"""

import re

from r1lab_data.answers import BOX, closing_brace

MAX_BOX_CHARACTERS = 4096
MAX_UNCLOSED = 16
"""Boxes that never close, after which a text is read no further for boxes (each costs a look ahead)."""
MAX_TAIL_CHARACTERS = 30_000
"""From the end: where an answer stands that is read by patterns, each of which looks at every character."""


def final_region(text: str) -> str:
    """What follows the last `</think>`; of that, the inside of the last `<answer>`. Endless thinking is no answer."""
    if "<" not in text:
        return text
    text = text.rpartition("</think>")[2].partition("<think>")[0]
    _, tag, inside = text.rpartition("<answer>")
    return inside.partition("</answer>")[0] if tag else text


def tail(region: str) -> str:
    """The end of a long region, from a white space on, so that nothing is read in halves."""
    if len(region) <= MAX_TAIL_CHARACTERS:
        return region
    cut = region[-MAX_TAIL_CHARACTERS:]
    # "half whole"; not "half"
    space = re.search(r"\s", cut)
    return cut[space.start() :] if space else cut


def has_answer_tag(text: str) -> bool:
    """Whether an <answer> is opened after the thinking."""
    return "<answer>" in text and "<answer>" in text.rpartition("</think>")[2].partition("<think>")[0]


def after_marker(text: str, marker: str) -> str | None:
    """What follows the last occurrence of the marker (in any case), or None where there is none."""
    lower, wanted = text.lower(), marker.lower()
    if (len(lower), len(wanted)) == (len(text), len(marker)):
        start = lower.rfind(wanted)
        return text[start + len(marker) :] if start >= 0 else None
    # a text such as "\u0130", which is longer in small letters; with the marker "A:" its last "a:", not "A 2"
    ends = [match.end() for match in re.finditer(re.escape(marker), text, re.IGNORECASE)]
    return text[ends[-1] :] if ends else None


def boxes(text: str) -> list[str]:
    r"""The insides of all `\boxed{...}` and `\fbox{...}` that are closed, in order; of nested ones the outer."""
    insides, position = [], 0
    unclosed = 0
    while unclosed < MAX_UNCLOSED and (match := BOX.search(text, position)):
        end = closing_brace(text, match.end(), MAX_BOX_CHARACTERS)
        if end is None:
            position, unclosed = match.end(), unclosed + 1
            continue
        insides.append(text[match.end() : end])
        position = end + 1
    return insides
