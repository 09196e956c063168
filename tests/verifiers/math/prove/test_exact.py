"""Work is counted before it is done: a short answer cannot buy a long computation."""

import time

import pytest

from r1lab_verifiers import Item, resolve
from r1lab_verifiers.math.prove.exact import MAX_RANGE, MAX_UNROLLED_SIZE, unrolled_size
from r1lab_verifiers.math.read.answer import read

MATH = resolve({"use": "math", "unevaluated": True}).build()
DEAR = (
    r"\sum_{k=1}^{400}\sum_{j=1}^{400}\frac1{k+j}",
    r"\sum_{k=1}^{400}\sum_{j=1}^{k}\sqrt{j}",
    r"\sum_{k=1}^{\sum_{j=1}^{400}\sum_{i=1}^{400}\sqrt{ij}}\sqrt{k}",
    "+".join([r"\sum_{k=1}^{400}\sqrt{k}"] * 80),
    r"\prod_{k=1}^{400}\sum_{j=k}^{400}\sqrt{j}",
)


def cost(text):
    return unrolled_size(read(text)[0])


def test_a_sum_costs_its_terms_times_its_body():
    assert cost("k+1") == 3
    assert cost(r"\sum_{k=1}^{10}(k+1)") == 2 + 10 * 3  # two bounds
    assert cost(r"\sum_{k=1}^{10}\sum_{j=1}^{4}j") == 2 + 10 * (2 + 4)
    assert cost(r"\sum_{k=3}^{5}\sum_{j=1}^{k}j") == 2 + 3 * (2 + 5)
    assert cost(r"\sum_{k=1}^{5}\sum_{j=1}^{k^9}j") >= 5 * MAX_RANGE


@pytest.mark.parametrize("answer", DEAR)
def test_an_answer_that_costs_too_much_is_wrong_at_once(answer):
    assert cost(answer) > MAX_UNROLLED_SIZE
    start = time.process_time()
    assert MATH.verify(Item(rf"\boxed{{{answer}}}", "5")).score == 0
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("gold, answer", [("5050", r"\sum_{k=1}^{100}k"), ("36", r"\sum_{k=1}^{3}\sum_{j=1}^{3}(k+j)")])
def test_sums_of_a_usual_size_are_added_up(gold, answer):
    assert MATH.verify(Item(rf"\boxed{{{answer}}}", gold)).score == 1


def test_long_lists_in_another_order_are_matched_quickly():
    roots = [rf"\sqrt{{{number}}}" for number in range(1001, 1149)]
    start = time.process_time()
    assert MATH.verify(Item(rf"\boxed{{{', '.join(reversed(roots))}}}", ", ".join(roots))).score == 1
    assert time.process_time() - start < 2
