import pytest

from r1lab_data.problem import DataError, Problem
from r1lab_data.steps import one_for_each_step


def made(solution, prompt="2*3+4", separator="\n"):
    problem = Problem("s/0", prompt, "10", verifier="numeric", solution=solution, source="s")
    return one_for_each_step([problem], separator)


def test_a_prompt_ends_in_the_steps_before_and_the_answer_is_the_next():
    steps = made("2*3=6\n6+4=10\nAnswer: 10")
    assert [each.prompt for each in steps] == ["2*3+4", "2*3+4\n2*3=6", "2*3+4\n2*3=6\n6+4=10"]
    assert [each.answer for each in steps] == [each.solution for each in steps] == ["2*3=6", "6+4=10", "Answer: 10"]
    assert [each.id for each in steps] == ["s/0/step-1", "s/0/step-2", "s/0/step-3"]


def test_steps_are_parted_by_any_text_and_empty_ones_left_out():
    assert [each.answer for each in made("7+5=12, 4+8=13", separator=", ")] == ["7+5=12", "4+8=13"]
    assert [(each.id, each.answer) for each in made("\n\na\n \nb\n")] == [("s/0/step-3", "a"), ("s/0/step-5", "b")]
    assert [each.answer for each in made("one step")] == ["one step"]


def test_of_messages_the_last_one_ends_in_the_steps_before():
    system, user = {"role": "system", "content": "s"}, {"role": "user", "content": "u"}
    first, second = made("a\nb", prompt=(system, user))
    assert first.prompt == (system, user) and second.prompt == (system, {"role": "user", "content": "u\na"})


@pytest.mark.parametrize("solution", [None, "", " \n"])
def test_without_a_solution_there_are_no_steps(solution):
    with pytest.raises(DataError, match=r"^steps_at: problem 's/0' has no solution to take steps of"):
        made(solution)
