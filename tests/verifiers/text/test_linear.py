"""Reading a text costs time in proportion to its length, whatever stands in it."""

import time

import pytest

from r1lab_verifiers.text import arithmetic, number, region
from r1lab_verifiers.verdict import plain

CHARACTERS = 1 << 15
HOSTILE = {
    "spaces": " ", "newlines": "\n", "digits": "1", "grouped digits": "1,111", "fractions": "1/2 ", "mixed": "1 1/2 ",
    "backslashes": "\\", "boxes": "\\boxed{", "closed boxes": "\\boxed{1}", "boxes and spaces": "\\boxed   ",
    "texts": "\\text{", "fracs": "\\frac ", "degrees": "^{\\circ", "braces": "{", "closing braces": "}",
    "tags": "<answer>", "thoughts": "<think>", "ends of thoughts": "</think>", "dollars": "$ ", "stars": "**",
    "names": "x = ", "long names": "abc ", "exponents": "1e5e", "signs": "-$-", "powers": "2^", "roots": "1 \\sqrt",
    "units": "7 cm^2 ", "dots": ". ", "thousands": "1\\,111", "marker": "The answer is ", "controls": "\x1b",
}  # fmt: skip
READERS = {
    "final_region": region.final_region,
    "has_answer_tag": region.has_answer_tag,
    "after_marker": lambda text: region.after_marker(text, "answer is"),
    "boxes": region.boxes,
    "numbers": lambda text: number.last_numbers(number.simplify(text), CHARACTERS),
    "read_first": lambda text: number.read_first(number.simplify(text)),
    "read_only": number.read_only,
    "operators": arithmetic.plain_operators,
    "plain": lambda text: plain(text, len(text)),
}


@pytest.mark.parametrize("reader", READERS)
def test_no_repeated_text_takes_more_than_its_length(reader):
    for name, unit in HOSTILE.items():
        for end in ("x", "^2"):
            text = "7 " + unit * (CHARACTERS // len(unit)) + end
            start = time.process_time()
            READERS[reader](text)
            assert time.process_time() - start < 1.0, (name, end)


def test_arithmetic_stops_at_its_bound():
    for unit in ("1+", "(", "-", " ", "1"):
        start = time.process_time()
        with pytest.raises(arithmetic.ArithmeticFault):
            arithmetic.evaluate(unit * CHARACTERS)
        assert time.process_time() - start < 1.0
