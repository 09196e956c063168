import pytest

from r1lab_verifiers import Item, resolve


def score(completion, answer="New York", **settings):
    return resolve({"use": "exact", **settings}).build().verify(Item(completion, answer)).score


def test_white_space_and_thinking_do_not_matter_and_all_else_does():
    assert score("<think>x</think> <answer> New \n York </answer> or so") == score(" New York") == 1.0
    assert score("new york") == score("New York or Paris") == score("") == score("<think>New York") == 0.0
    assert score("new york", ignore_case=True) == score("e\u0301", "\u00e9") == 1.0


def test_behind_the_last_marker_stands_one_line():
    assert score("Answer: Rome\nAnswer: New York\nbye", after="Answer:") == 1.0
    assert score("New York", after="Answer:") == 0.0


@pytest.mark.parametrize("gold", ["", " \n", {"a": 1}])
def test_an_empty_gold_is_our_error(gold):
    assert score("", gold) is None
