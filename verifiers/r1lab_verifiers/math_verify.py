r"""The verifier `math_verify`: huggingface's Math-Verify, a second opinion for audits. Needs the extra `audit`.

Not for training by itself: it accepts some wrong answers, and a hostile one costs it seconds. It reads the whole
completion, the thinking too. Its own time limits are off: they need a main thread, and the pool has a deadline.
"""

import importlib.util
import logging
import re
from dataclasses import dataclass
from typing import ClassVar

from r1lab_verifiers.verdict import Item, Verdict

MAX_BARE_CHARACTERS = 200
"""Characters of a text on one line that may be a bare answer; a longer one is prose, which Math-Verify searches."""
# "The answer is 7"; not "7"
_MARKED = re.compile(r"\\boxed|\\fbox|\$|\\\(|\\\[|answer is", re.IGNORECASE)


@dataclass(frozen=True)
class MathVerify:
    """`math_verify.verify(parse(gold), parse(completion))` with that package's own defaults."""

    strict: bool = True
    """Variables keep their names, and a set is no tuple."""
    preload: ClassVar[tuple[str, ...]] = ("math_verify",)

    def __post_init__(self):
        if importlib.util.find_spec("math_verify") is None:
            raise ValueError("verifier 'math_verify' needs the package math-verify: pip install 'math-verify==0.9.*'")

    def verify(self, item: Item) -> Verdict:
        from math_verify import verify

        gold = _parsed(item.answer) if isinstance(item.answer, str) else []
        if not gold:
            return Verdict(None, "error", reason=f"math_verify: the gold answer {str(item.answer)[:80]!r} is not read")
        parsed = _parsed(item.completion)
        if not parsed:
            return Verdict(0.0, "no_answer", reason="nothing that Math-Verify reads")
        shown = str(parsed[-1])
        if verify(gold, parsed, strict=self.strict, timeout_seconds=None):
            return Verdict(1.0, "correct", shown)
        return Verdict(0.0, "wrong", shown)

    def witness(self, answer: str | dict) -> str:
        return str(answer) if _MARKED.search(str(answer)) else rf"\boxed{{{answer}}}"


def _parsed(text: str) -> list:
    """What Math-Verify reads; a bare answer is boxed first, for LaTeX without a frame is not found."""
    from math_verify import parse

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns at each call without a time limit
    bare = text.strip()
    is_bare = bare and len(bare) <= MAX_BARE_CHARACTERS and "\n" not in bare and not _MARKED.search(bare)
    return parse(rf"\boxed{{{bare}}}" if is_bare else text, parsing_timeout=None)  # pyright: ignore[reportArgumentType]  None is documented: no timeout
