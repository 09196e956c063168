"""The verifier `math`: is the completion's final answer the gold one?

Not for code, for multiple choice with several letters (`choice`) or for text (`exact`).
"""

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product

from r1lab_verifiers.math.agree.agree import agree
from r1lab_verifiers.math.agree.constants import renamed_constants
from r1lab_verifiers.math.agree.conventions import Conventions
from r1lab_verifiers.math.agree.finished import members_finished
from r1lab_verifiers.math.echo import is_echo
from r1lab_verifiers.math.extract import MAX_BOXES, POLICIES, ExtractedAnswer, candidates
from r1lab_verifiers.math.gold import gold_readings, gold_texts, joined, kind_of, looks_like_mathematics, with_options
from r1lab_verifiers.math.prove.exact import MAX_UNROLLED_SIZE, unrolled_size
from r1lab_verifiers.math.read.answer import MAX_ANSWER_BYTES, read, read_words
from r1lab_verifiers.math.read.linear import fold_matrices
from r1lab_verifiers.math.read.tree import ChosenOption, Const, Node, Num, Prose, Seq, Sym, Text, TimeOfDay, contains
from r1lab_verifiers.verdict import Item, Verdict

BOXES = ("agree", "last")
PERCENT = ("both", "share", "number")
LISTS = ("unordered", "ordered")
MARKED = ("box", "<answer>")
"""Places in which words are an answer too."""
WORDS = ("last sentence", "first word", "words")
"""Places that are read for their words alone."""


@dataclass(frozen=True)
class Math:
    """Compares answers as mathematics: 1/2, 0.5 and \\frac12 are one."""

    extract: str = "auto"
    """`auto`: box, ####, whole text, `the answer is`, last formula or number. Or only `boxed`, `answer` (the <answer>
    tags), `hash` (####), `stated` (`the answer is`), `whole`."""
    after: str | None = None
    """A marker such as `A:`; what follows the last one on its line is the answer, and nothing else is looked at."""
    boxes: str = "agree"
    """Several boxes in the final region: `agree` fails where they differ (unless together they are the gold's members),
    `last` takes the last."""
    percent: str = "both"
    """10% is 0.1 and also 10 (`both`), only 0.1 (`share`), only 10 (`number`)."""
    lists: str = "unordered"
    """Members of a bare list, `1, 2`: in any order, or `ordered`. Tuples always are, sets never."""
    inequality_for_interval: bool = False
    """Whether a gold interval accepts an inequality, which may restate the problem."""
    convert_units: bool = True
    """Whether 120 minutes is accepted for 2 hours: exact conversions, where both units are stated."""
    unevaluated: bool = False
    """Whether an answer may be left to work out: 3+2 for 5, \\gcd(18, 24) for 6."""
    tolerance: float = 0.0
    """Largest difference between numbers relative to the gold."""
    undecided: str = "wrong"
    """What numbers that agree without a proof are worth: `wrong` (status undecided, score 0) or `correct`."""

    is_seeded = True
    preload = ("r1lab_verifiers.math.verifier", "r1lab_verifiers.math.prove.value", "mpmath", "sympy")

    conventions: Conventions = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        for name, allowed in (
            ("extract", tuple(POLICIES)),
            ("boxes", BOXES),
            ("percent", PERCENT),
            ("lists", LISTS),
            ("undecided", ("wrong", "correct")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"math: {name} {getattr(self, name)!r} is unknown; use one of {', '.join(allowed)}")
        if not isinstance(self.tolerance, int | float) or not 0 <= self.tolerance < 1:
            raise ValueError(f"math: tolerance {self.tolerance!r} is outside [0, 1); it is relative, 0.01 is 1 %")
        if self.after is not None and (not isinstance(self.after, str) or not self.after.strip()):
            raise ValueError(f"math: after {self.after!r} is no marker, such as 'A:'")
        made = Conventions(
            self.percent, self.lists, self.inequality_for_interval, self.convert_units, float(self.tolerance)
        )
        object.__setattr__(self, "conventions", made)

    def verify(self, item: Item) -> Verdict:
        if not (readings := _readings_of_gold(item.answer)):
            return Verdict(None, "error", reason=f"math: {self.check(item.answer)}")
        golds, has_words = with_options(readings, item), has_said(str(item.answer))
        first = None
        for extracted in candidates(item.completion, self.extract, self.after, has_words):
            if has_words or extracted.place not in WORDS:
                verdict = self._judge(golds, extracted, item)
                if verdict.status != "unparsable":
                    return verdict
            first = first or extracted
        if first is None:
            return Verdict(0.0, "no_answer", reason="no answer where one is looked for")
        return self._judge(golds, first, item)

    def check(self, answer: str | dict) -> str | None:
        """Why nothing can be judged against this gold answer, or None."""
        if _readings_of_gold(answer):
            return None
        return f"the gold answer {str(answer)[:80]!r} cannot be read"

    def _judge(self, golds: tuple[Node, ...], extracted: ExtractedAnswer, item: Item) -> Verdict:
        """The verdict on what one place holds; `unparsable` where another place may hold more."""
        texts = extracted.texts if self.boxes == "agree" else extracted.texts[-1:]
        shown = " | ".join([text.strip()[:200] for text in texts[-4:]])
        if any(map(_is_too_long, texts)):
            return Verdict(0.0, "unparsable", shown, f"{extracted.place}: longer than {MAX_ANSWER_BYTES} bytes")
        if len(texts) > MAX_BOXES:
            return Verdict(0.0, "wrong", shown, f"{len(texts)} boxes")
        if extracted.place in WORDS:
            readings = with_options(words_of(texts[0]), item) if any(map(_is_said, golds)) else ()
            is_right = bool(readings) and self._agrees(golds, readings, item.prompt) is True
            return Verdict(float(is_right), "correct" if is_right else "unparsable", shown, extracted.place)
        is_whole = extracted.place == "whole text"
        readings = [with_options(readings_of(text, not is_whole), item) for text in texts]
        if Prose in map(type, golds):
            readings = [(*each, *words_of(text)) for each, text in zip(readings, texts)]
        if not all(readings) or (extracted.place not in MARKED and all(map(_is_prose, readings))):
            if all(readings) and all(self._agrees(golds, reading, item.prompt) for reading in readings):
                return Verdict(1.0, "correct", shown, extracted.place)
            return Verdict(0.0, "unparsable", shown, f"{extracted.place}: not mathematics that can be read")
        place = extracted.place
        verdicts = [self._agrees(golds, each, item.prompt) for each in readings]
        if len(readings) > 1 and not all(verdicts):  # all of them together may be the gold's members
            verdicts, place = [self._agrees(golds, (joined(readings),), item.prompt)], "boxes that differ"
        if all(verdicts):
            return Verdict(1.0, "correct", shown, place)
        if False in verdicts:
            return Verdict(0.0, "wrong", shown, f"{place}: not the gold answer")
        score = 1.0 if self.undecided == "correct" else 0.0
        return Verdict(score, "undecided", shown, "the numbers agree, no proof was found")

    def _agrees(
        self, golds: tuple[Node, ...], readings: tuple[Node, ...], prompt: str | tuple[dict[str, str], ...] = ""
    ) -> bool | None:
        """Whether any reading of one is any of the other; None where some numbers agree without a proof."""
        is_open = False
        for gold, reading in product(golds, readings):
            verdict = pair(gold, reading, self.conventions)
            if verdict:
                if self.unevaluated or (members_finished(reading, gold) and not is_echo(reading, gold, prompt)):
                    return True
                continue
            is_open |= verdict is None
        return None if is_open else False

    def same(self, one: str, other: str) -> bool:
        """Whether two extracted answers are one: either as the gold accepts the other."""
        if one.strip() == other.strip():
            return True
        a, b = readings_of(one, False), readings_of(other, False)
        return bool(a and b) and (self._agrees(a, b) is True or self._agrees(b, a) is True)

    def describe(self, answer: str | dict) -> str:
        """The kind of answer that the gold is read as: number, fraction, expression, set, interval, text ..."""
        return kind_of(_readings_of_gold(answer))

    def doubt(self, answer: str | dict) -> str | None:
        """Why a gold that can be judged may be read as less than it says, or None: words with digits or TeX in them,
        which are compared letter by letter."""
        if self.describe(answer) == "text" and looks_like_mathematics(str(answer)):
            return f"the gold answer {str(answer)[:80]!r} is read as words"
        return None

    def witness(self, answer: str | dict) -> str:
        """The gold answer where the setting `extract` looks for it."""
        texts = gold_texts(answer)
        body = texts[-1] if len(texts) == 1 else str(answer)
        if self.after:
            return f"{self.after} {body}"
        frames = {
            "hash": f"#### {body}",
            "answer": f"<answer>{body}</answer>",
            "stated": f"The answer is {body}",
            "whole": body,
        }
        return frames.get(self.extract) or " and ".join(f"\\boxed{{{text}}}" for text in texts or [body])


def _readings_of_gold(answer: object) -> tuple[Node, ...]:
    """Nothing where a gold answer cannot be read."""
    return gold_readings(str(answer)) if isinstance(answer, (str, int, float)) else ()


def _is_too_long(text: str) -> bool:
    if len(text) <= MAX_ANSWER_BYTES // 4:  # no character takes more bytes
        return False
    return len(text.encode("utf-8", "replace")) > MAX_ANSWER_BYTES


@lru_cache(maxsize=4096)
def has_said(answer: str) -> bool:
    """Whether words alone may say a gold answer, in one of its readings."""
    return any(map(_is_said, gold_readings(answer)))


def _is_said(gold: Node) -> bool:
    """Whether words alone may say it: a name, an option, no solution, infinity, all real numbers."""
    match gold:
        case Text() | Prose() | ChosenOption() | TimeOfDay() | Seq("set", ()) | Sym("R"):
            return True
    return contains(gold, lambda part: part == Const("oo"))


def _is_prose(readings: tuple[Node, ...]) -> bool:
    return {Text, Prose}.issuperset(map(type, readings))


@lru_cache(maxsize=16384)
def readings_of(text: str, in_prose: bool = True) -> tuple[Node, ...]:
    """`read` once for each text: the answers of a group repeat."""
    return read(text, in_prose=in_prose)


@lru_cache(maxsize=16384)
def words_of(text: str) -> tuple[Node, ...]:
    """`read_words` once for each text."""
    return read_words(text)


def pair(gold: Node, reading: Node, conventions: Conventions) -> bool | None:
    """Whether one reading of the gold agrees with one of an answer."""
    if isinstance(gold, Num) and isinstance(reading, Num):
        return agree(gold, reading, conventions)
    return _pair(gold, reading, conventions)


@lru_cache(maxsize=16384)
def _pair(gold: Node, reading: Node, conventions: Conventions) -> bool | None:
    """`agree`, once for each pair: the answers of a group repeat."""
    try:
        if gold != reading and unrolled_size(reading) > MAX_UNROLLED_SIZE:
            return False
        gold, reading = fold_matrices(gold), fold_matrices(reading)
        verdict = agree(gold, reading, conventions)
        renamed = () if verdict else renamed_constants(gold, reading)
        return verdict or next(filter(None, (agree(gold, each, conventions) for each in renamed)), verdict)
    except (ArithmeticError, ValueError, TypeError, RecursionError):  # mpmath raises them at odd arguments
        return False
