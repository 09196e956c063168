import time
from difflib import SequenceMatcher

import pytest

from r1lab_verifiers import Item, resolve
from r1lab_verifiers.similar import MAX_CHARACTERS


def verdict(completion, answer="7+5=12"):
    return resolve("similar").build().verify(Item(completion, answer))


@pytest.mark.parametrize("said, gold", [("7+5=13", "7+5=12"), ("so 7+5=12", "7+5=12"), ("abcd", "bcde"), ("x", "y")])
def test_the_score_is_twice_the_matched_characters_over_all(said, gold):
    assert verdict(said, gold).score == pytest.approx(SequenceMatcher(None, said, gold, autojunk=False).ratio())


def test_by_hand():
    assert verdict("7+5=13").score == pytest.approx(10 / 12)  # five of six characters, twice, over twelve
    assert verdict("abcd", "bcde").score == pytest.approx(6 / 8)


def test_thinking_and_white_space_do_not_count_and_nothing_said_is_no_answer():
    assert verdict("<think>carry one</think>\n 7+5=12 ").status == "correct"
    assert verdict("two  \n words", "two words").score == 1
    assert verdict("").status == verdict("<think>7+5=12").status == "no_answer"
    assert verdict("quick", "zzz").status == "wrong" and verdict("7+5=13").status == "partial"


def test_a_repeated_answer_is_worth_less_and_a_flood_almost_nothing_in_little_time():
    assert verdict("7+5=12 7+5=12").score < verdict("7+5=13").score
    gold = "ab" * (MAX_CHARACTERS // 2)
    start = time.monotonic()
    assert verdict("ba" * 500_000, gold).score < 0.01
    assert time.monotonic() - start < 60


def test_an_answer_that_is_no_text_or_too_long_is_our_error():
    live = resolve("similar").build()
    for answer in ({"a": 1}, " ", "x" * (MAX_CHARACTERS + 1)):
        assert live.verify(Item("x", answer)).status == "error" and live.check(answer)
    assert live.check("7+5=12") is None and live.verify(Item(live.witness("a b"), "a b")).score == 1
