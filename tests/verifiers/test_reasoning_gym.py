import pytest

from r1lab_verifiers import Item, resolve

pytest.importorskip("reasoning_gym")
GOLD = {"task": "chain_sum", "entry": {"question": "4 + 3", "answer": "7", "metadata": {}}}


def verdict(completion, answer=GOLD, **settings):
    return resolve({"use": "reasoning_gym", **settings}).build().verify(Item(completion, answer))


def test_the_tasks_own_scorer_decides():
    assert verdict("<think>8</think> <answer>7</answer>").score == verdict("7").score == 1.0
    assert verdict("<answer>8</answer>").status == "wrong" and verdict("<think>7").status == "no_answer"


def test_partial_credit_for_holding_the_answer_is_paid_only_by_setting():
    assert verdict("1 2 3 4 5 6 7 8 9").score == 0.0
    assert 0.0 < verdict("1 2 3 4 5 6 7 8 9", partial=True).score < 0.1


@pytest.mark.parametrize("gold", ["7", {"task": "chain_sum"}, {}])
def test_a_gold_without_task_and_entry_is_our_error(gold):
    assert verdict("7", gold).status == "error"
