"""Pairs, labelled completions and labelled steps are read as TRL writes them; every row that says nothing is refused in
one line."""

import math

import pytest

from r1lab_data import labelled
from r1lab_data.loaders import load
from r1lab_data.problem import DataError

PAIR = {"prompt": "1+1", "chosen": "2", "rejected": "3"}
COMPLETION = {"prompt": "1+1", "completion": "2", "label": True}
STEPS = {"prompt": "1+1", "completions": ["one", "two"], "labels": [True, False]}


def said(role, text):
    return {"role": role, "content": text}


def read(rows, *lines, **knobs):
    problems = load(rows(*lines), source="s", is_labelled=True, **knobs)
    return [(problem.prompt, labelled.of(problem)) for problem in problems]


def refused(rows, line, **knobs):
    with pytest.raises(DataError) as error:
        read(rows, line, **knobs)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("row", "prompt", "expected"),
    [
        (PAIR, "1+1", labelled.Labelled("pairs", (("2",), ("3",)), ((1,), (0,)))),
        (PAIR | {"margin": 0.5}, "1+1", labelled.Labelled("pairs", (("2",), ("3",)), ((1,), (0,)), 0.5)),
        (PAIR | {"margin": None}, "1+1", labelled.Labelled("pairs", (("2",), ("3",)), ((1,), (0,)))),
        (COMPLETION, "1+1", labelled.Labelled("completions", (("2",),), ((1,),))),
        (COMPLETION | {"label": 0}, "1+1", labelled.Labelled("completions", (("2",),), ((0,),))),
        (COMPLETION | {"label": "0"}, "1+1", labelled.Labelled("completions", (("2",),), ((0,),))),
        (STEPS, "1+1", labelled.Labelled("steps", (("one\n", "two"),), ((1, 0),))),
        (STEPS | {"completions": ["one ", "two"]}, "1+1", labelled.Labelled("steps", (("one ", "two"),), ((1, 0),))),
        (STEPS | {"completion": "onetwo"}, "1+1", labelled.Labelled("steps", (("one", "two"),), ((1, 0),))),
        (STEPS | {"completion": "one\ntwo"}, "1+1", labelled.Labelled("steps", (("one\n", "two"),), ((1, 0),))),
        ({"prompt": "p", "completion": "one. two", "steps": [4, 8], "labels": [1, 0]}, "p",
         labelled.Labelled("steps", (("one.", " two"),), ((1, 0),))),
    ],
)  # fmt: skip
def test_trls_columns_are_read_as_they_are(rows, row, prompt, expected):
    assert read(rows, row) == [(prompt, expected)]


def test_messages_are_read_with_the_prompt_beside_them_or_in_both(rows):
    asked = [said("system", "be brief"), said("user", "1+1")]
    sides = {name: [said("assistant", text)] for name, text in (("chosen", "2"), ("rejected", "3"))}
    whole = {name: asked + side for name, side in sides.items()}
    explicit, implicit, doubled = read(rows, {"prompt": asked} | sides, whole, {"prompt": "1+1"} | whole)
    assert explicit == implicit == doubled
    assert explicit == (tuple(asked), labelled.Labelled("pairs", (("2",), ("3",)), ((1,), (0,))))


def test_texts_that_begin_alike_have_their_prompt_in_common(rows):
    row = {"chosen": "Human: hi\n\nAssistant: yes", "rejected": "Human: hi\n\nAssistant: no"}
    assert read(rows, row)[0] == (
        "Human: hi\n\nAssistant:", labelled.Labelled("pairs", ((" yes",), (" no",)), ((1,), (0,)))
    )  # fmt: skip


def test_columns_name_others_and_paths(rows):
    row = {"q": "1+1", "a": {"good": "2", "bad": "3"}, "prompt": "not this", "key": 7}
    columns = {"prompt": "q", "chosen": "a.good", "rejected": "a.bad", "id": "key"}
    problems = load(rows(row), source="s", is_labelled=True, columns=columns)
    assert (problems[0].id, problems[0].prompt, problems[0].meta) == (
        "s/7",
        "1+1",
        {"a": row["a"], "prompt": "not this"},
    )
    assert labelled.of(problems[0]).completions == (("2",), ("3",))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (PAIR | {"rejected": "2"}, "chosen and rejected are the same text"),
        (PAIR | {"rejected": " 2\n"}, "chosen and rejected are the same text but for the spaces around it"),
        (PAIR | {"prompt": ""}, "no prompt"),
        (PAIR | {"prompt": None}, "no prompt"),
        ({"chosen": "2", "rejected": "3"}, "no prompt"),
        (PAIR | {"chosen": " "}, "no chosen"),
        (PAIR | {"rejected": None}, "no rejected"),
        (PAIR | {"chosen": ["2"]}, "a text is needed"),
        (PAIR | {"chosen": 2.5, "rejected": {"a": 1}}, "rejected"),
        (PAIR | {"margin": math.nan}, "margin is NaN; a finite number is needed"),
        (PAIR | {"margin": math.inf}, "margin is inf"),
        (PAIR | {"margin": "much"}, "margin is 'much'"),
        (PAIR | {"margin": True}, "margin is True"),
        (PAIR | {"chosen": [said("assistant", "a"), said("user", "b")], "rejected": [said("assistant", "c")]}, "share"),
        ({"chosen": [said("user", "a"), said("user", "b")], "rejected": [said("user", "a"), said("user", "c")]},
         "messages of user"),
        (COMPLETION | {"label": 2}, "label 2 is neither 0 nor 1"),
        (COMPLETION | {"label": 0.5}, "label 0.5 is neither 0 nor 1"),
        (COMPLETION | {"label": -1}, "label -1 is neither 0 nor 1"),
        (COMPLETION | {"label": None}, "label None is neither 0 nor 1"),
        (COMPLETION | {"label": math.nan}, "label NaN is neither 0 nor 1"),
        (COMPLETION | {"label": "good"}, "label 'good' is neither 0 nor 1"),
        (COMPLETION | {"completion": ""}, "no completion"),
        (STEPS | {"labels": [True]}, "there are 2 steps"),
        (STEPS | {"labels": [True, 3]}, "step 2: label 3 is neither 0 nor 1"),
        (STEPS | {"completions": []}, "a list of texts is needed"),
        (STEPS | {"completions": ["one", ""]}, "no text of step 2"),
        (STEPS | {"completion": "one\ntwo\nthree"}, "the steps do not cover the completion"),
        ({"prompt": "p", "completion": "one two", "steps": [4], "labels": [1]}, "do not cover the completion"),
        ({"prompt": "p", "completion": "one", "steps": [3, 3], "labels": [1, 1]}, "must rise"),
        ({"prompt": "p", "steps": [3], "labels": [1]}, "no completion that they cut"),
        ({"prompt": "p", "answer": "2"}, "neither pairs (chosen, rejected)"),
    ],
)  # fmt: skip
def test_a_row_that_says_nothing_is_refused_in_one_line(rows, row, told):
    assert told in refused(rows, row)


def test_such_rows_are_dropped_where_the_source_says_so(rows):
    bad: list[str] = []
    assert len(read(rows, PAIR, PAIR | {"rejected": "2"}, PAIR, bad_rows=bad)) == 2
    assert len(bad) == 1 and "line 2" in bad[0]


def test_an_unknown_role_is_refused_with_the_one_that_was_meant(rows):
    assert "did you mean 'chosen'" in refused(rows, PAIR, columns={"choosen": "chosen"})


def test_a_problem_with_an_answer_has_no_labels(rows):
    problem = load(rows({"prompt": "1+1", "answer": "2"}), source="s")[0]
    assert not labelled.is_labelled(problem)
    with pytest.raises(DataError, match="no labelled completions"):
        labelled.of(problem)
