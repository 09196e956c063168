from hypothesis import given
from hypothesis import strategies as st

from r1lab_verifiers.text.region import MAX_TAIL_CHARACTERS, after_marker, boxes, final_region, has_answer_tag, tail


def test_the_final_region_is_after_the_thinking_and_inside_the_last_answer():
    assert final_region("a") == "a"
    assert final_region("<think>a</think>b</think>c") == "c"
    assert final_region("<think>a</think><answer>b</answer>c") == "b"
    assert final_region("<answer>a</answer> <answer>b") == "b"
    assert final_region("<answer>a</answer><think>b") == "a"
    assert final_region("<think><answer>a</answer>") == ""
    assert final_region("<think><answer>a</answer></think> b") == " b"
    assert has_answer_tag("<answer>a") and not has_answer_tag("<answer>a</think>b")


def test_after_the_last_marker_in_any_case():
    assert after_marker("Answer: 1 ANSWER: 2", "answer:") == " 2"
    assert after_marker("none", "answer:") is None


def test_boxes_are_balanced_closed_and_outermost():
    assert boxes(r"\boxed{a{b}c} \fbox {d} \boxed{\boxed{e}}") == ["a{b}c", "d", r"\boxed{e}"]
    assert boxes(r"\boxed{a \boxed{b}") == ["b"]
    assert boxes(r"\boxed{\}} \boxed{" + "x" * 5000 + "}") == [r"\}"]


@given(st.text(alphabet="<>/thinkanswer{}\\boxed ", max_size=80))
def test_any_text_has_a_region_and_boxes(text):
    assert final_region(text) in text
    assert all(box in text for box in boxes(text))


def test_the_tail_begins_with_a_white_space():
    assert tail("a b") == "a b"
    assert tail("1234 " * MAX_TAIL_CHARACTERS).startswith(" 1234 ")
    assert len(tail("x" * 10 * MAX_TAIL_CHARACTERS)) == MAX_TAIL_CHARACTERS
