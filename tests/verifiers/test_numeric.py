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


BOXED, AFTER = {"extract": "boxed"}, {"after": "Answer:"}
UNITS = [
    ("\\boxed{5\\text{ cents}}", "\\$5", 0, BOXED),
    ("\\boxed{500\\text{ cents}}", "\\$5", 1, BOXED),
    ("\\boxed{5\\text{ cents}}", "5\\text{ dollars}", 0, BOXED),
    ("\\boxed{\\$5}", "\\$5", 1, BOXED),
    ("\\boxed{5}", "\\$5", 1, BOXED),
    ("\\boxed{5\\text{ cents}}", "5", 1, BOXED),
    ("\\boxed{5\\%}", "5\\%", 1, BOXED),
    ("\\boxed{5\\text{ cm}}", "5\\%", 0, BOXED),
    ("\\boxed{\xa35}", "$5", 0, BOXED),
    ("\\boxed{5\\text{ euros}}", "$5", 0, BOXED),
    ("\\boxed{5\\text{ euros}}", "\u20ac5", 1, BOXED),
    ("\\boxed{5 dollars}", "$5", 1, BOXED),
    ("it costs 500 cents.", "$5", 1, {}),
    ("it costs 5 cents.", "$5", 0, {}),
    ("It costs $5.", "$5", 1, {}),
    ("it costs 5\xa2", "$5", 0, {}),
    ("it is $5$", "$5", 1, {}),
    ("so $x=5$", "5 euros", 1, {}),
    ("it is $5$.", "5 euros", 1, {}),
    ("5 hours", "300 minutes", 1, {}),
    ("300 minutes", "5 hours", 1, {}),
    ("5 minutes", "5 hours", 0, {}),
    ("5 km", "5000 m", 1, {}),
    ("5 km", "5 m", 0, {}),
    ("5 kg", "5 m", 0, {}),
    ("5 apples", "5 km", 1, {}),
    ("there are 5 in total", "5 cm", 1, {}),
    ("he runs 5 a day", "5 km", 1, {}),
    ("5 pounds", "\xa35", 1, {}),
    ("USD 5", "$5", 1, {}),
    ("EUR 5", "$5", 0, {}),
    ("5%", "5%", 1, {}),
    ("5 percent", "5%", 1, {}),
    ("5", "5%", 1, {}),
    ("0.05", "5%", 0, {}),
    ("no more than 5", "5", 1, {}),
    ("= 5", "5", 1, {}),
]
DENIED = [
    ("Is it 5 km?", "5 km", 0, {}),
    ("5 km is wrong.", "5 km", 0, {}),
    ("\\boxed{5 km?}", "5 km", 0, {}),
    ("6 km, or maybe 5 km", "5 km", 0, {}),
    ("The answer is not 5.", "5", 0, {}),
    ("The answer is 5? ", "5", 0, {}),
    ("5 is wrong", "5", 0, {}),
    ("The answer is 5. But that is wrong.", "5", 0, {}),
    ("It isn't 5", "5", 0, {}),
    ("not 7, but 5", "5", 1, {}),
    ("5, maybe 6", "6", 0, {}),
    ("6 (or 5)", "5", 0, {}),
    ("6, possibly 5", "5", 0, {}),
    ("between 4 and 5", "5", 0, {}),
    ("4-5", "5", 0, {}),
    ("3 + 5", "5", 0, {}),
    ("3 + 2 = 5", "5", 1, {}),
    ("3 cats and 5 dogs", "5", 1, {}),
    ("Answer: 5 (or 6)", "5", 0, AFTER),
    ("Answer: 5?", "5", 0, AFTER),
    ("Answer: 5\nWait, that is wrong.", "5", 0, AFTER),
    ("Answer: 5 is wrong", "5", 0, AFTER),
    ("Answer: 5\nIt is right to say so.", "5", 1, AFTER),
    ("x \\neq 5", "5", 0, {}),
    ("not only 5", "5", 1, {}),
    ("It is 5, it is not 6 which is wrong.", "5", 0, {}),
    ("The total is $5, since it would be wrong to add 0 twice... so 5", "5", 1, {}),
    ("- 3 apples\n- 5 pears", "5", 1, {}),
    ("10 * 5", "5", 0, {}),
    ("**Answer** 5", "5", 1, {}),
    ("1. 5", "5", 1, {}),
]


@pytest.mark.parametrize(("text", "gold", "score", "settings"), UNITS)
def test_units_and_currencies_are_converted_or_clash_where_both_sides_name_one(text, gold, score, settings):
    assert verdict(text, gold, **settings).score == score


@pytest.mark.parametrize(("text", "gold", "score", "settings"), DENIED)
def test_what_is_denied_doubted_or_left_undone_scores_0(text, gold, score, settings):
    assert verdict(text, gold, **settings).score == score
