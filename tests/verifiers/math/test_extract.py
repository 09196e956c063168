import pytest

from r1lab_verifiers import Item, resolve
from r1lab_verifiers.math import extract


def score(text, gold="5", **settings):
    return resolve({"use": "math", **settings}).build().verify(Item(text, gold)).score


@pytest.mark.parametrize(
    "text",
    [
        r"so \boxed{4}.\n\nNo: \boxed{5}",
        r"\boxed{4}</think> it is \boxed{5}",
        "work\n#### 5",
        "The answer is 5.",
        "<answer>5</answer>",
        r"<think>9</think><answer>$x=5$</answer>",
        r"\boxed{5} that is \boxed{\frac{10}{2}}",
        r"Therefore $x = 5$ is the solution.",
        "It is **5**",
    ],
)
def test_the_final_answer_is_found(text):
    assert score(text.replace("\\n", "\n")) == 1


@pytest.mark.parametrize(
    "text",
    [r"\boxed{5} or \boxed{6}", r"\boxed{6} or \boxed{5}", r"<think>\boxed{5}", "", "not 5", "4 or 5", r"\boxed{}"],
)
def test_a_hedge_or_nothing_is_not(text):
    assert score(text) == 0


def test_several_boxes_may_be_the_members_of_the_gold():
    assert score(r"\boxed{1} and \boxed{2}", "1, 2") == 1
    assert score(r"\boxed{1} and \boxed{3}", "1, 2") == 0


def test_settings_change_what_is_looked_at():
    assert score(r"\boxed{4} then \boxed{5}", boxes="last") == 1
    assert score("6\nA: 5", after="A:") == 1
    assert score(r"\boxed{5}", after="A:") == 0
    assert score("5", extract="boxed") == 0
    assert score("10%", "10", percent="share") == 0
    assert score("2, 1", "1, 2", lists="ordered") == 0
    assert score("3+2") == 0
    assert score("3+2", unevaluated=True) == 1
    assert score("5.01", tolerance=0.01) == 1
    assert score("120 minutes", "2 hours") == 1
    assert score("120 minutes", "2 hours", convert_units=False) == 0
    assert score("-2<x<7", "(-2,7)", inequality_for_interval=True) == 1


@pytest.mark.parametrize(
    "settings", [{"extract": "x"}, {"tolerance": 2}, {"after": ""}, {"percent": 1}, {"boxes": "all"}]
)
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match="math: "):
        resolve({"use": "math", **settings})


@pytest.mark.parametrize(
    "text",
    [
        "first 3.\nThen 4. So 5",
        "It is $3 and\n$4. So 5",
        "$$x\n= 4. So$$ 5",
        "\\(x\nis 4. So\\) 5",
        "He has 5.\nWell done.",
        "a $<<5=$5>>$ b\n. So 5",
        "It is 5.\n<<1= >>",
        "One\n\nA. B is 5",
        "",
    ],
)
def test_the_last_lines_sentences_are_the_last_of_all(text):
    last, whole = extract._last_sentences(text), extract._split(extract.without_annotations(text))
    assert last == whole[len(whole) - len(last) :] and tuple(extract._backwards(text)) == whole[::-1]
    assert bool(last) == bool(whole)
