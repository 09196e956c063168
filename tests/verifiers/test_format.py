import pytest

from r1lab_verifiers import Item, resolve


def score(completion, **settings):
    return resolve({"use": "format", **settings}).build().verify(Item(completion, "")).score


def test_both_parts_once_in_order_score_1():
    assert score("<think>a\nb</think> <answer>c</answer>") == score(" <think>a</think>\n<answer>c</answer>\n") == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c",
        "<think></think><answer></answer>",
        "<think> </think><answer>c</answer>",
        "<think>a</think><answer> </answer>",
        "<answer>c</answer><think>a</think>",
        "<think>a</think>b<answer>c</answer>",
        "<think>a</think><answer>c</answer>d",
        "<think>a</think><answer>c</answer><answer>d</answer>",
        "<think><think>a</think><answer>c</answer>",
        "a</think><answer>c</answer>",
        "<think>a<answer>c</answer></think>",
        "<think>a<answer>c</think></answer>",
    ],
)
def test_anything_else_scores_0(text):
    assert score(text) == 0.0


def test_a_pattern_of_ones_own_must_match_the_whole():
    assert score("Answer: 5", pattern=r"Answer: \d") == 1.0
    assert score("Answer: 5!", pattern=r"Answer: \d") == 0.0
    with pytest.raises(ValueError, match="not a pattern"):
        resolve({"use": "format", "pattern": "("})
