import pytest

from r1lab_verifiers import Item, resolve


def verdict(completion, answer="B", **settings):
    return resolve({"use": "choice", **settings}).build().verify(Item(completion, answer))


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "(B)",
        "b",
        "**B**",
        "B.",
        "B. Paris",
        "B) Paris",
        r"\boxed{B}",
        r"\boxed{\text{(B)}}",
        r"\boxed{B. 7}",
        "<answer>B</answer>",
        "The answer is B.",
        "the answer is (b), I think",
        "Answer: **B**",
        "<think>A or C</think> The correct option is B because",
        "Option (A) is wrong. The answer is B",
        "The answer is B, a city",
        r"A is wrong, so \boxed{B}",
        "Reasons.\n\n(B) Paris",
    ],
)
def test_a_letter_in_the_answers_place_scores_1(text):
    assert verdict(text).status == "correct"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "A or B",
        "A, B, C, D",
        "The answer is A or B",
        "The answer is either (A) or (B).",
        "Answer: A, B, C, D",
        r"\boxed{A, B}",
        r"\boxed{A} \boxed{B}",
        "<answer>A B C D</answer>",
        "<answer>ABCD</answer>",
        "(A) x\n(B) y\n(C) z",
        "The answer is A. The answer is B.",
        "The answer is not B",
        "<think>The answer is B",
        "Answer: A/B",
        "The answer is B and C",
        "Bananas",
        "\uff22",
        r"\boxed{5} B",
    ],
)
def test_hedges_and_letters_elsewhere_score_0(text):
    assert verdict(text).score == 0.0


def test_an_article_is_no_answer():
    assert verdict("A dog barked and I left.", "A").status == "no_answer"


def test_letters_that_are_no_options_are_unparsable_and_no_gold():
    assert verdict("The answer is E", letters="ABCD").status == "unparsable"
    assert verdict("A", "E", letters="ABCD").status == verdict("A", "AB").status == verdict("A", {}).status == "error"
    with pytest.raises(ValueError, match="capital letters"):
        resolve({"use": "choice", "letters": "abc"})


@pytest.mark.parametrize("gold", ["A", "(D)", "c", "B. Paris"])
def test_every_gold_proves_itself(gold):
    live = resolve("choice").build()
    assert live.verify(Item(live.witness(gold), gold)).score == 1.0
