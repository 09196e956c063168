import pytest

from r1lab_verifiers import Item, resolve
from r1lab_verifiers.pool.pool import Pool


def score(completion, answer, **settings):
    return resolve({"use": "regex", **settings}).build().verify(Item(completion, answer)).score


def test_the_pattern_is_searched_in_the_final_region():
    assert score("<think>no</think> it is 42!", r"\b4\d\b") == 1.0
    assert score("<think>42</think> it is", r"\b4\d\b") == 0.0
    assert score("it is 42", "4", whole=True) == score("AB", "ab") == 0.0
    assert (
        score(" 42 ", r"\d+", whole=True) == score("AB", "ab", ignore_case=True) == score("42", "", pattern="42") == 1.0
    )


def test_a_pattern_that_is_none_or_matches_everything_is_refused():
    assert [score("x", bad) for bad in ("(", "", "a*", {"a": 1})] == [None] * 4
    for bad in ("(", "a*"):
        with pytest.raises(ValueError, match="regex: "):
            resolve({"use": "regex", "pattern": bad})


def test_a_pattern_that_backtracks_for_ever_ends_at_the_deadline():
    with Pool({"regex": resolve("regex")}, workers=1, deadline=0.3) as pool:
        verdict = pool.submit(Item("a" * 60 + "!", "(a+)+$"), "regex").result(20)
    assert (verdict.score, verdict.status) == (0.0, "timeout")
