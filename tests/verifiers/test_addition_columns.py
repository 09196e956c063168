import pytest

from r1lab_verifiers import Item, resolve

RIGHT = "7+5=12, 4+8+1=13, 3+2+1=6. Answer: 632"


def verdict(completion, prompt="347+285", answer="632", **settings):
    return resolve({"use": "addition_columns", **settings}).build().verify(Item(completion, answer, prompt))


def test_each_column_and_the_answer_are_steps():
    found = verdict(RIGHT)
    assert found.score == 1 and found.steps == ((6, 1.0), (16, 1.0), (25, 1.0), (38, 1.0))
    assert [RIGHT[:end][-3:] for end, _ in found.steps] == ["=12", "=13", "1=6", "632"]


@pytest.mark.parametrize("text, scores, score", [
    ("7+5=12, 4+8=12, 3+2+1=6. Answer: 632", [1, 0, 1, 1], 1),  # the carry is forgotten, the answer right all the same
    ("3+2=5, 4+8=12, 7+5=12. Answer: 522", [0, 0, 0, 0], 0),  # from the left
    ("632", [1], 1), ("about 650", [0], 0), ("I do not know.", [0], 0), ("", [], 0), ("   ", [], 0),
    ("7+5=12, 4+8+1=13", [1, 1], 0),  # cut behind a column: no answer was written
    ("7+5=12, 4+8+1=13, 3+2+1=6, 7+5=12, 7+5=12. Answer: 632", [1, 1, 1, 1], 1),  # more columns are no more steps
    ("17+5=22, 7+5=120, 7+5=12. Answer: 1", [1, 0], 0),  # parts of longer numbers are no columns
])  # fmt: skip
def test_steps_are_what_is_written(text, scores, score):
    found = verdict(text)
    assert [each for _, each in found.steps] == scores and found.score == score
    ends = [end for end, _ in found.steps]
    assert ends == sorted(set(ends)) and all(0 < end <= len(text) for end in ends)


def test_a_flood_of_columns_is_no_flood_of_steps():
    assert len(verdict("7+5=12, " * 100_000).steps) == 4


def test_without_steps_it_judges_the_answer_alone():
    assert verdict(RIGHT, steps=False).steps is None and verdict(RIGHT, steps=False).score == 1


@pytest.mark.parametrize("prompt", ["347+85", "347+285+1", "1.347+285", ({"role": "user", "content": "1+1"},), ""])
def test_of_another_problem_the_answer_alone_is_a_step(prompt):
    assert verdict(RIGHT, prompt=prompt).steps == ((38, 1.0),)


def test_the_sum_may_stand_in_a_sentence():
    assert verdict(RIGHT, prompt="What is 347+285? Add the columns.").steps == verdict(RIGHT).steps


def test_every_gold_proves_itself():
    built = resolve("addition_columns").build()
    assert verdict(built.witness("632")).score == 1 and built.check("632") is None and "number" in built.check("x")
