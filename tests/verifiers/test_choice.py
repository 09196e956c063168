import time

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


FOUND = [
    "so \\boxed{x \\ll y}\n\n**Answer: B**",  # a box that holds no option does not end the search
    "the readings point to wear...\n\nB",
    r"\boxed{\textbf{(B)}\ 12}",
    r"\boxed{\mathbf{(B)}~12}",
    r"\boxed{\text{(B)}\quad 12}",
    "Therefore, B is correct.",
    "<answer>The answer is B</answer>",
    "<answer>Option B is correct.</answer>",
    "x\n\n**Option B**",
    "Reasons.\nHence, (B).",
    "Reasons.\nI would go with option (B).",
    "The result is 5, which is option B.",
    "The answer is B, since A is wrong.",
    "The answer is B and A is incorrect.",
    "The most likely answer is B",
    "**Final Answer**: B",
    "answer: b",
    'Answer is: "B"',
    "A. wrong\nC. wrong\n\nB",
    "Not A, not C. The answer is B.",
    "The answer is B. It is wrong to think of A.",
    "(B) Vitamin C is best",
    "B. Vitamin C (ascorbic acid) helps.",
]
DENIED = [
    "(B) is wrong",
    "B is not correct.",
    "I would not choose B",
    "Don't pick B",
    "Therefore, B isn't right.",
    "Option B cannot be the answer.",
    "The answer is B, which is wrong",
    "The answer is B. But that is wrong.",
    "The answer is B?",
    "Is the answer B?",
    r"\boxed{B?}",
    r"\boxed{not B}",
    "The answer is B (or C)",
    "The answer is B, maybe C",
    "The answer is B but it could be C",
    "The answer is both B and C",
    "both B and C are correct",
    "B is correct and C is correct",
    "Neither A nor B",
    "Which? (A) 1\n(B) 2 (C) 3",
    "(B) 1 (C) 2 (D) 3",
    "B. 1 C. 2 D. 3",
    "<think>The answer is B</think> The answer is C",
    "The answer is \u0412",
]


@pytest.mark.parametrize("text", FOUND)
def test_the_next_place_is_asked_where_one_holds_no_letter(text):
    assert verdict(text).status == "correct"


@pytest.mark.parametrize("text", DENIED)
def test_denied_doubted_and_several_letters_score_0(text):
    assert verdict(text).score == 0.0


@pytest.mark.parametrize(("text", "score"), [
    ("The answer is A because of x", 1), ("A is correct.", 1), ("The answer is A", 1),
    ("The answer is A dog", 0), ("A dog is right.", 0), ("The answer is A small one", 0),
])  # fmt: skip
def test_an_article_is_told_from_the_letter(text, score):
    assert verdict(text, "A").score == score


LONG = [
    ":", "A.\n", "(A) \n", "\\boxed{", "\\boxed{A}", "answer is ", "answer:", "\\text{A}", "C is correct ",
    " ", "A or ", "((",
]  # fmt: skip


@pytest.mark.parametrize("unit", LONG)
@pytest.mark.parametrize("use", ["choice", "numeric", "exact", "countdown"])
def test_a_megabyte_is_judged_in_no_time(use, unit):
    answer = {"numbers": [1, 2], "target": 3} if use == "countdown" else "5" if use == "numeric" else "B"
    live, text = resolve(use).build(), "Answer: " + unit * (10**6 // len(unit))
    start = time.process_time()
    assert live.verify(Item(text, answer)).score == 0.0
    assert time.process_time() - start < 0.5  # some 0.05 s on an idle core
