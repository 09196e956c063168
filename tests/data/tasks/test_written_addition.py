"""The principle as a rule: what it says of texts worked by hand, and of anything else."""

import random

import pytest

from r1lab_data.tasks.addition import addition
from r1lab_data.tasks.written_addition import FAULTS, MAX_PARTS, obeys, written

WHOLE = "7+5=12, 4+8+1=13, 3+2+1=6. Answer: 632"


@pytest.mark.parametrize("text", [
    WHOLE, f"  {WHOLE}\n", f"{WHOLE}.", WHOLE.replace(", ", "\n"),
    "7+5=13, 4+8=12, 3+2=5. Answer: 1",  # totals and carries are not asked for
])  # fmt: skip
def test_what_is_written_by_the_principle_is_worth_one(text):
    assert obeys("347+285", text) == 1


# 2 * parts in common and in order / (4 wanted + those written)
@pytest.mark.parametrize(("text", "worth"), [
    ("7+5=12, 3+2=5. Answer: 632", 6 / 7),
    ("7+5=12, 4+8=12, 4+8=12, 3+2=5. Answer: 632", 8 / 9),
    ("3+2=5, 4+8=12, 7+5=12. Answer: 522", 4 / 8),
    (f"{WHOLE} It is 632.", 8 / 11),
    (f"{WHOLE}. Answer: 632", 8 / 9),
    ("7+5=12, 4+8=", 2 / 6),
    ("7+5=12, 4+8=12, 3+2=5", 6 / 7),
    ("7+5=12, 4+8=12, 3+2=5. Answer:", 6 / 8),
    ("7+5=12, 4+8=12, 3+2=5. Answer: x", 6 / 9),
    ("8+5=13, 4+8=12, 3+2=5. Answer: 632", 6 / 8),
    ("17+5=12, 4+8=12, 3+2=5. Answer: 632", 6 / 8),
    ("Answer: 632", 2 / 5), ("632", 0), ("I do not know.", 0), ("", 0), (" ,.", 0),
])  # fmt: skip
def test_what_is_missing_too_much_or_out_of_place_costs_its_share(text, worth):
    assert obeys("347+285", text) == pytest.approx(worth)


def test_the_sum_may_stand_in_words_and_what_asks_for_none_is_worth_nothing():
    assert obeys("What is 347+285?", WHOLE) == 1
    assert obeys("347", WHOLE) == obeys("347+28", WHOLE) == obeys("", WHOLE) == 0


def test_a_text_without_end_costs_no_more_than_its_beginning():
    assert obeys("347+285", WHOLE + " 1" * 10**6) == pytest.approx(8 / (4 + MAX_PARTS + 1))


def test_a_fault_is_less_than_one_and_none_is_one():
    rng = random.Random(0)
    for _ in range(100):
        problem = addition(rng, digits=3)
        assert obeys(problem["prompt"], written(rng, problem)) == 1
        for fault in set(FAULTS) - {"order"}:
            assert obeys(problem["prompt"], written(rng, problem, fault)) < 1, fault
    assert all(obeys("12+34", written(rng, {"solution": "2+4=6, 1+3=4. Answer: 46"}, "order")) < 1 for _ in range(50))
