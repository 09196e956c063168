"""The verifier `countdown`: an expression over given numbers that reaches a target. Any solution counts."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

from r1lab_verifiers.text.arithmetic import ArithmeticFault, evaluate, plain_operators
from r1lab_verifiers.text.region import after_marker, boxes, final_region, has_answer_tag, tail
from r1lab_verifiers.verdict import Item, Verdict

MAX_REGION_CHARACTERS = 2000
"""Characters from the end in which an unmarked expression is looked for."""
MAX_STATES = 10_000
"""Sets of numbers that the search for a witness looks at: a good half second."""
# "- 5"; not "5.0"
_NUMBER = re.compile(r"-? ?[0-9]{1,20}")
# "= (3 + 4) * 2 -", its frame with it; not "x"
_RUN = re.compile(r"[0-9 \t()*/+=-]++")


@dataclass(frozen=True)
class Countdown:
    """The problem's answer is `{numbers: [...], target: n}`."""

    use_all: bool = True
    """Each number exactly once; else at most once."""
    after: str | None = None
    """A marker such as `Answer:`: the rest of the line behind the last one is read. None: the last box, the inside of
    the last `<answer>`, or the last expression after the thinking."""

    def verify(self, item: Item) -> Verdict:
        if reason := self.check(item.answer):
            return Verdict(None, "error", reason=f"countdown: {reason}")
        numbers, target = _puzzle(item.answer)
        text = self.final_expression(item.completion, target)
        if not text:
            return Verdict(0.0, "no_answer", reason="no expression")
        expression, equals, claimed = text.partition("=")
        if equals and (not _NUMBER.fullmatch(claimed.strip()) or Fraction(claimed.strip().replace(" ", "")) != target):
            return Verdict(0.0, "wrong", text, "after = only the target may stand")
        try:
            value, used = evaluate(expression)
        except ArithmeticFault as fault:
            return Verdict(0.0, "unparsable", text, str(fault))
        return self.verdict_on(text, value, target, used, numbers)

    def verdict_on(self, text: str, value: Fraction, target: Fraction, used: list[int], numbers: list[int]) -> Verdict:
        """Whether an expression uses the numbers as it may and comes to the target."""
        spare, missing = Counter(used) - Counter(numbers), Counter(numbers) - Counter(used)
        if spare or (missing and self.use_all):
            which = (
                f"uses {sorted(spare.elements())} too often" if spare else f"leaves out {sorted(missing.elements())}"
            )
            return Verdict(0.0, "wrong", text, which)
        if value != target:
            return Verdict(0.0, "wrong", text, f"is {value}, not {target}")
        return Verdict(1.0, "correct", text)

    def final_expression(self, completion: str, target: Fraction) -> str:
        """The expression where the answer stands, without its frame; empty where there is none."""
        region = final_region(completion)
        if self.after:
            return _clean((after_marker(region, self.after) or "").strip().partition("\n")[0][:MAX_REGION_CHARACTERS])
        if boxed := boxes(tail(region)):
            expression = _clean(boxed[-1])
            # A box of the target alone repeats what the expression before it comes to.
            if not _NUMBER.fullmatch(expression) or Fraction(expression.replace(" ", "")) != target:
                return expression
        elif has_answer_tag(completion):
            return _clean(region[-MAX_REGION_CHARACTERS:])
        text = plain_operators(region[-2 * MAX_REGION_CHARACTERS :])[-MAX_REGION_CHARACTERS:]
        runs = [run.lstrip(" \t)*/+=").rstrip(" \t(*/+=-") for run in _RUN.findall(text)]
        # "3 + 4"; not "-34"
        return _clean(next((run for run in reversed(runs) if re.search(r"[0-9)]\s*[-+*/]", run)), ""))

    def check(self, answer: str | dict) -> str | None:
        """Why the puzzle cannot be read, or None. Whether it has a solution is not asked."""
        try:
            _puzzle(answer)
        except (TypeError, KeyError, ValueError):
            return "the gold answer must be a dict {numbers, target}"
        return None

    def witness(self, answer: str | dict) -> str:
        """A solution, where the search finds one."""
        numbers, target = _puzzle(answer)
        found = search(tuple((Fraction(n), str(n)) for n in numbers), target, self.use_all)
        found = found or " + ".join(map(str, numbers))
        return f"{self.after} {found}" if self.after else f"<answer>{found}</answer>"


def _puzzle(answer: Any) -> tuple[list[int], Fraction]:
    return [int(number) for number in answer["numbers"]], Fraction(str(answer["target"]))


def _clean(text: str) -> str:
    """Without the frames around an expression: $, bold, LaTeX delimiters, the full stop."""
    text = plain_operators(text)
    # "$3+4$"; not "3+4"
    text = re.sub(r"^(?:\\[(\[]|[\s$`]|\*\*)+|(?:\\[)\]]|[\s$`.]|\*\*)+$", "", text)
    return boxes(text)[-1].strip() if boxes(text) else text


def search(terms: tuple[tuple[Fraction, str], ...], target: Fraction, use_all: bool) -> str | None:
    """An expression over the terms (all of them, or any) that equals the target; None where the search finds none."""
    seen: set[tuple[Fraction, ...]] = set()

    def reach(terms: tuple[tuple[Fraction, str], ...]) -> str | None:
        key = tuple(sorted(value for value, _ in terms))
        if key in seen or len(seen) == MAX_STATES:
            return None
        seen.add(key)
        for value, text in terms:
            if value == target and (len(terms) == 1 or not use_all):
                return text
        for a, b in combinations(terms, 2):
            rest = tuple(term for term in terms if term is not a and term is not b)
            for joined in _joined(a, b):
                if found := reach((*rest, joined)):
                    return found
        return None

    return reach(terms)


def _joined(a: tuple[Fraction, str], b: tuple[Fraction, str]) -> Iterator[tuple[Fraction, str]]:
    yield a[0] + b[0], f"({a[1]} + {b[1]})"
    yield a[0] * b[0], f"({a[1]} * {b[1]})"
    for x, y in ((a, b), (b, a)):
        yield x[0] - y[0], f"({x[1]} - {y[1]})"
        if y[0]:
            yield x[0] / y[0], f"({x[1]} / {y[1]})"
