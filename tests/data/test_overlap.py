import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1lab_data import Problem
from r1lab_data.overlap import mask_numbers, normalise, overlap


def problems(*prompts, source="t"):
    return [Problem(f"{source}/{number}", prompt, "1") for number, prompt in enumerate(prompts)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How  many?\n", "how many"),
        ("$1,000", "1000"),
        ("12-5", "12 \u2212 5"),
        ("a well-known fact", "a well known fact"),
        ("It\u2019s 3.", "it's 3"),
    ],
)
def test_layout_case_and_punctuation_do_not_tell_texts_apart(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(("one", "other"), [("12-5", "12+5"), ("2.5", "25"), ("((", "()"), ("?", "!"), ("3 4", "34")])
def test_what_changes_the_problem_tells_texts_apart(one, other):
    assert normalise(one) != normalise(other)


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    once = normalise(text)
    assert normalise(once).split() == normalise(normalise(once)).split()


@pytest.mark.parametrize(
    ("text", "masked"),
    [("1,250.50 of 4 and three", "# of # and three"), ("3.5.", "#."), ("x2+10", "x#+#"), ("-7", "-#")],
)
def test_numbers_in_digits_are_masked(text, masked):
    assert mask_numbers(text) == masked


def test_leaks_are_counted_word_for_word_and_with_other_numbers():
    train = problems("Tom has 3 apples.", "Ann runs.", "5+6")
    evaluation = problems("tom has 4 apples", "ANN RUNS!", "Bob sleeps", "6+5", source="e")
    found = overlap(train, evaluation)
    assert (found.evaluation, found.exact, found.masked) == (4, 1, 3)
    assert found.examples == (("e/1", "t/1"), ("e/0", "t/0"), ("e/3", "t/2"))


def test_chats_are_compared_without_the_system_message():
    chat = ({"role": "system", "content": "be brief"}, {"role": "user", "content": "5+6"})
    assert overlap(problems("5+6"), problems(chat, source="e")).exact == 1


def test_nothing_overlaps_with_nothing():
    assert overlap([], problems("a")).masked == overlap(problems("a"), []).masked == 0
