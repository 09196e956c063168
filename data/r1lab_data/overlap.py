"""Leaks: which evaluation problems stand in the training set, word for word or with other numbers. It removes nothing.

Problems of one template (all additions) are the same once numbers are masked; whether that is a leak the caller says.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from r1lab_data.problem import Problem

SIGNS = str.maketrans("\u2212\u2013\u00d7\u00b7\u00f7", "--**/")
"""Minus, en dash, times, middle dot and division sign."""
TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[^\w\s.,;:!?'\"`$\u2018-\u201f\u3001\u3002]|_")
"""A number, a word, a sign: `2.5`, `well`, `+`; no sentence's punctuation, no `$`."""
HYPHEN = re.compile(r"(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})")
"""In `well-known`, not in `x-y` or `12-5`."""
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
"""In `1,000`, not in `1,2` or `1,0000`."""
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
"""`1,250.50`, `4`."""
MAX_EXAMPLES = 5


@dataclass(frozen=True)
class Overlap:
    """How much of an evaluation set is in a training set."""

    evaluation: int
    """Problems of the evaluation set."""
    exact: int
    """Those whose normalised text is that of a training problem."""
    masked: int
    """Those whose normalised text is that of a training problem once numbers are masked; never fewer than `exact`."""
    examples: tuple[tuple[str, str], ...]
    """Pairs (evaluation id, training id), the exact ones first, at most MAX_EXAMPLES."""


def overlap(train: Iterable[Problem], evaluation: Iterable[Problem]) -> Overlap:
    """Counts over the evaluation set, by the text of the prompts (of chats: all messages but the system's)."""
    exact_ids: dict[str, str] = {}
    masked_ids: dict[str, str] = {}
    for problem in train:
        key = normalise(prompt_text(problem))
        exact_ids.setdefault(key, problem.id)
        masked_ids.setdefault(mask_numbers(key), problem.id)
    keys = {problem.id: normalise(prompt_text(problem)) for problem in evaluation}
    exact = [(name, exact_ids[key]) for name, key in keys.items() if key in exact_ids]
    masked = [(name, masked_ids[mask_numbers(key)]) for name, key in keys.items() if mask_numbers(key) in masked_ids]
    only_masked = [pair for pair in masked if keys[pair[0]] not in exact_ids]
    return Overlap(len(keys), len(exact), len(masked), (*exact, *only_masked)[:MAX_EXAMPLES])


def prompt_text(problem: Problem) -> str:
    """What is asked, as one text."""
    if isinstance(problem.prompt, str):
        return problem.prompt
    return "\n".join(message["content"] for message in problem.prompt if message["role"] != "system")


def normalise(text: str) -> str:
    """Words, numbers and signs in lower case, a space between each; punctuation of sentences and layout are gone.

    Signs and brackets stay (12-5 is not 12+5), but not hyphens within words and `$`; `1,000` is `1000`. A text of
    punctuation alone stays itself.

    >>> normalise("Tom's  well-known sum: 1,000 + 2.5?")
    'tom s well known sum 1000 + 2.5'
    """
    folded = unicodedata.normalize("NFKC", text.translate(SIGNS)).casefold()
    folded = THOUSANDS.sub("", HYPHEN.sub(" ", folded))
    return " ".join(TOKEN.findall(folded)) or text.strip()


def mask_numbers(text: str) -> str:
    """Every number written in digits as `#`; number words stay.

    >>> mask_numbers("1,250.50 for three of 4")
    '# for three of #'
    """
    return NUMBER.sub("#", text)
