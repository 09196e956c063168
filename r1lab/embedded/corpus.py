"""The text the embedded model is pretrained on: documents drawn from a generator of random numbers.

Documents of mixed quality, as on the web. On question pages (`Q: 347+285` / `A: ...`) most answers are bare and wrong,
some are talk, some are worked badly, and about a quarter are worked column by column, with slips. Textbook pages
work the same additions without a question, which is where the skill is learned. It is not a task: what a run is trained
or evaluated on comes from `r1lab_data.tasks`, and no page shows an addition of the split `eval`.
"""

import random
from collections.abc import Iterator, Mapping
from typing import TypeVar

from r1lab_data.tasks import split_of

PAGES = {"answer": 0.64, "textbook": 0.27, "talk": 0.09}
"""Share of each kind of page."""
ANSWERS = {"worked": 0.26, "leftward": 0.07, "bare": 0.45, "guess": 0.10, "talk": 0.12}
"""What stands after `A:` on a question page."""
SLIPS = {"question": 0.035, "textbook": 0.01}
"""Chance that one column of a worked addition goes wrong."""
DIGITS = {3: 0.72, 2: 0.12, 4: 0.16}
"""Digits of both numbers."""

NOUNS = ["cat", "dog", "sum", "moon", "river", "train", "baker", "garden", "number", "teacher", "winter", "apple"]
NOUNS += ["window", "letter", "sailor", "clock"]
VERBS = ["sees", "likes", "counts", "finds", "forgets", "follows", "carries", "paints", "hears", "wants"]
PLACES = ["at home", "in the rain", "near the sea", "by the door", "at noon", "in the book"]
PLACES += ["on the hill", "after school"]
Key = TypeVar("Key")
SHRUGS = ["I do not know.", "Use a calculator.", "Good question!", "It is a large number.", "Add the digits.", "Why?"]


def documents(rng: random.Random) -> Iterator[str]:
    """Pages without end, each without its end-of-text token."""
    makers = {"answer": question_page, "textbook": textbook_page, "talk": talk}
    while True:
        yield makers[pick(rng, PAGES)](rng)


def question_page(rng: random.Random) -> str:
    """`Q: a+b`, a line break, `A:` and an answer of any quality."""
    a, b = numbers(rng)
    makers = {"worked": worked, "leftward": leftward, "bare": bare, "guess": guess, "talk": shrug}
    return f"Q: {a}+{b}\nA: {makers[pick(rng, ANSWERS)](rng, a, b)}"


def textbook_page(rng: random.Random) -> str:
    """An addition worked with care, under a heading instead of a question."""
    a, b = numbers(rng)
    heading = rng.choice(["Example", "Exercise", "Sum"])
    return f"{heading}: {a}+{b}\n{worked(rng, a, b, SLIPS['textbook'])}"


def talk(rng: random.Random) -> str:
    """Sentences that say nothing, one to three."""
    return " ".join(sentence(rng) for _ in range(rng.randint(1, 3)))


def worked(rng: random.Random, a: int, b: int, slip: float = SLIPS["question"]) -> str:
    """The addition in the demonstrations' form; after a slip the writer goes on from the wrong column."""
    steps, digits, carry = [], "", 0
    for x, y in columns(a, b):
        total = x + y + carry
        if rng.random() < slip:
            total = slipped(rng, x + y, carry)
        steps.append(f"{x}+{y}{'+1' if carry else ''}={total}")
        carry, digit = divmod(total, 10)
        digits = f"{digit}{digits}"
    return f"{', '.join(steps)}. Answer: {carry or ''}{digits}"


def slipped(rng: random.Random, plain: int, carry: int) -> int:
    """A wrong total of one column: the carry forgotten, or one or two off."""
    if carry and rng.random() < 0.5:
        return plain
    return max(0, min(19, plain + carry + rng.choice([-2, -1, 1, 2])))


def leftward(rng: random.Random, a: int, b: int) -> str:
    """Columns from the left, so that every carry is lost: long, tidy, and right only where nothing carries."""
    totals = [(x, y, x + y) for x, y in reversed(columns(a, b))]
    return f"{', '.join(f'{x}+{y}={t}' for x, y, t in totals)}. Answer: {''.join(str(t % 10) for _, _, t in totals)}"


def bare(rng: random.Random, a: int, b: int) -> str:
    """The sum alone, wrong more often than not."""
    total = a + b if rng.random() < 0.3 else max(1, a + b + rng.choice([-1, 1]) * rng.choice([1, 10, 100, 11, 90, 9]))
    return rng.choice(["{}", "{}", "{}.", "Answer: {}", "It is {}."]).format(total)


def guess(rng: random.Random, a: int, b: int) -> str:
    """A rounded number with a hedge."""
    return f"{rng.choice(['about', 'maybe', 'around', 'I guess'])} {round(a + b, -2) + 50 * rng.randint(-2, 2)}"


def shrug(rng: random.Random, a: int, b: int) -> str:
    """No number at all."""
    return rng.choice([*SHRUGS, sentence(rng)])


def sentence(rng: random.Random) -> str:
    """`The cat sees a moon near the sea.`"""
    article = rng.choice(["The", "A", "My", "Your"])
    return f"{article} {rng.choice(NOUNS)} {rng.choice(VERBS)} a {rng.choice(NOUNS)} {rng.choice(PLACES)}."


def numbers(rng: random.Random) -> tuple[int, int]:
    """Two numbers of equally many digits whose question belongs to the split `train`."""
    while True:
        digits = pick(rng, DIGITS)
        a, b = (rng.randint(10 ** (digits - 1), 10**digits - 1) for _ in range(2))
        if split_of("addition", f"{a}+{b}") == "train":
            return a, b


def columns(a: int, b: int) -> list[tuple[int, int]]:
    """The pairs of digits from the ones upward."""
    return [(int(x), int(y)) for x, y in zip(reversed(str(a)), reversed(str(b)), strict=True)]


def pick(rng: random.Random, shares: Mapping[Key, float]) -> Key:
    """A key with its share as probability."""
    return rng.choices(list(shares), weights=list(shares.values()))[0]
