import pytest

from r1lab_verifiers import Item, resolve


def verdict(completion, answer="5", **settings):
    return resolve({"use": "numeric", **settings}).build().verify(Item(completion, answer))


RIGHT = {
    "last": [
        "5",
        "3 + 2 = 5",
        "so 7 becomes 5.0 dollars.",
        "<think>9</think> it is **5**",
        "<answer>5</answer> 9",
        "10 cm, then 5 cm^2",
    ],
    "boxed": [r"9 \boxed{5} 9", r"\boxed{5} so \boxed{5.0}", r"\boxed{x = 5}", r"\boxed{$5$}", r"\fbox{5\text{ kg}}"],
    "whole": ["5", " <think>7</think>5. ", "<answer>5 apples</answer>"],
    "Answer:": [
        "Answer: 5",
        "7\nanswer: $5.",
        "Answer: 4\nAnswer: 5",
        "Answer: **5** apples, not more",
        r"Answer: \boxed{5}",
    ],
}
WRONG = {
    "last": [
        "6",
        "5 6",
        "",
        "<think>5",
        "<think>5</think>",
        "4 or 5",
        "10/2",
        "\uff15",
        "2^5",
        "x5",
        "five",
        "5 is not 6",
    ],
    "boxed": [
        "5",
        r"\boxed{4} \boxed{5}",
        r"\boxed{3=4=5}",
        r"\boxed{4 or 5}",
        r"\boxed{5, 4}",
        r"\boxed{5",
        r"\boxed{10/2}",
    ],
    "whole": ["it is 5", "5 5", "", "5 = 5", "10/2"],
    "Answer:": [
        "5",
        "Answer: 5 or 6",
        "Answer: 5, 6, 7",
        "Answer: 5+1 = 6",
        "Answer: 6\n5",
        "Answer: maybe 5",
        "Answer: 10/2",
    ],
}


def settings_of(kind):
    return {"after": kind} if ":" in kind else {"extract": kind}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in RIGHT.items() for text in texts])
def test_right_answers_score_1(kind, text):
    assert verdict(text, **settings_of(kind)).status == "correct"


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in WRONG.items() for text in texts])
def test_what_does_not_answer_scores_0(kind, text):
    assert verdict(text, **settings_of(kind)).score == 0.0


def test_the_statuses_say_why():
    texts = ("6", "none", "9" * 500, "<think>5")
    assert [verdict(text).status for text in texts] == ["wrong", "no_answer", "unparsable", "no_answer"]
    assert verdict(r"\boxed{5x+1}", extract="boxed").status == "unparsable"


def test_a_list_of_candidates_is_one_guess_at_most():
    listed = " ".join(map(str, range(100)))
    assert sum(verdict(listed, str(gold)).score for gold in range(100)) == 1.0
    assert (
        sum(verdict("Answer: " + listed.replace(" ", ", "), str(n), after="Answer:").score for n in range(100)) == 0.0
    )


def test_tolerance_is_relative_to_the_gold_and_none_by_default():
    assert verdict("3.14", "3.14159").score == 0.0
    assert verdict("3.14", "3.14159", tolerance=0.001).score == 1.0
    assert verdict("3.13", "3.14159", tolerance=0.001).score == 0.0
    assert verdict("0.001", "0", tolerance=0.001).score == 0.0


@pytest.mark.parametrize("gold", ["", "x", {"a": 1}, "5 or 6", "1/0"])
def test_a_gold_that_is_no_number_is_our_error(gold):
    assert verdict("5", gold).status == "error"


@pytest.mark.parametrize("extract", [{}, {"after": "Answer:"}, {"extract": "boxed"}, {"extract": "whole"}])
@pytest.mark.parametrize("gold", ["5", "-1,234.50", "3/4", "$18", "10/2"])
def test_every_gold_proves_itself(extract, gold):
    live = resolve({"use": "numeric", **extract}).build()
    made = live.verify(Item(live.witness(gold), gold))
    assert made.score == (0.0 if gold == "10/2" else 1.0)  # written out it is an exercise, as a gold it is a number


@pytest.mark.parametrize(
    "settings", [{"extract": "first"}, {"extract": "after"}, {"extract": "boxed", "after": "x"}, {"tolerance": -1}]
)
def test_senseless_settings_are_refused(settings):
    with pytest.raises(ValueError, match="numeric: "):
        resolve({"use": "numeric", **settings})
