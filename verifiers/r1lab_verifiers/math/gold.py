r"""What a gold answer asks for: where it stands in the data's text, and what it may mean.

Not the completion's side (`extract`). A gold that cannot be read makes every verdict an error: `Math.check` says so
before anything is trained on it.
"""

from functools import lru_cache

from r1lab_verifiers.math.read.answer import MAX_TEXT, read
from r1lab_verifiers.math.read.tree import Node, Seq
from r1lab_verifiers.text.region import boxes

MAX_GOLD = 20 * MAX_TEXT
"""Characters of a gold with its solution around it."""
MAX_SHORT = 400
"""Characters of a gold in which several boxes are the members of one answer."""


def gold_texts(answer: str | float) -> list[str]:
    """Where a gold says its answer: in its boxes (several that differ, in a short text, are its members), else behind
    `####` or `answer is`, else all of it."""
    text = str(answer)
    if len(text) > MAX_GOLD or not text.strip():
        return []
    if inside := list(dict.fromkeys(boxes(text))):
        return inside if len(text) < MAX_SHORT else inside[-1:]
    for marker in ("####", "answer is"):
        if marker in text and text.rpartition(marker)[2].strip():
            return [text.rpartition(marker)[2]]
    return [text]


@lru_cache(maxsize=4096)
def gold_readings(answer: str | float) -> tuple[Node, ...]:
    """What a gold may mean; empty where it cannot be read."""
    readings = [read(text, is_gold=True) for text in gold_texts(answer)]
    if len(readings) < 2:
        return readings[0] if readings else ()
    return (joined([each for each in readings if each]),)


def joined(readings: list[tuple[Node, ...]]) -> Seq:
    """One list of what several places hold, each in its likeliest reading."""
    items = []
    for first, *_ in readings:
        items += first.items if isinstance(first, Seq) and first.kind == "list" else [first]
    return Seq("list", tuple(items))
