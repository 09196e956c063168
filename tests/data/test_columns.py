import pytest

from r1lab_data.columns import problems
from r1lab_data.problem import DataError, Problem, RowError
from r1lab_data.rows import Table


def made(rows, columns=(), answer_format="plain"):
    return problems(Table("a.jsonl", rows), dict(columns), source="s", verifier="v", answer_format=answer_format)


def test_a_row_becomes_a_problem_and_the_rest_is_meta():
    row = {"q": "1+1?\r\n", "a": 2.0, "w": "2\r\n", "x": "\r\n", "n": 7}
    columns = {"prompt": "q", "answer": "a", "solution": "w", "id": "n"}
    assert made([row], columns) == [Problem("s/7", "1+1?\n", "2", "v", "2\n", "s", {"x": "\r\n"})]


def test_rows_without_ids_are_counted_from_zero():
    assert [p.id for p in made([{"prompt": "p", "answer": "1"}] * 2)] == ["s/0", "s/1"]


def test_where_chooses_rows_by_value_and_the_others_may_be_unreadable():
    rows = [{"prompt": "p", "answer": "1", "kind": kind} for kind in ("add", "take", "add", None)]
    rows[1]["answer"] = None

    def chosen(where):
        made = problems(Table("a", rows), {}, source="s", verifier="", answer_format="plain", where=where)
        return [problem.id for problem in made]

    assert chosen({"kind": "add"}) == ["s/0", "s/2"] and chosen({"kind": ["add", "None"]}) == ["s/0", "s/2", "s/3"]
    with pytest.raises(DataError, match="no column 'knd' for where; there are: kind, prompt, answer; "):
        chosen({"knd": "add"})
    with pytest.raises(DataError, match=r"none of its 4 rows is as where: \{'kind': 'sub'\} says"):
        chosen({"kind": "sub"})


BAD_ROWS = [
    {"answer": None},
    {"answer": " "},
    {"prompt": ""},
    {"prompt": ["a", "b"]},
    {"answer": "no mark"},
    {"n": None},
]


@pytest.mark.parametrize("bad", BAD_ROWS)
def test_rows_that_make_no_problem_are_told_of_and_left_out_where_that_is_wanted(bad):
    good = {"prompt": "p", "answer": "why #### 1", "n": 5}
    told: list[str] = []
    table = Table("a.jsonl", [{**good, "n": 1}, {**good, **bad}, good], (4, 5, 9))
    settings = {"source": "s", "verifier": "", "answer_format": "hash"}
    columns = {"id": "n"} if "n" in bad else {}
    made = problems(table, columns, **settings, bad_rows=told)
    assert [problem.id for problem in made] == (["s/1", "s/5"] if "n" in bad else ["s/0", "s/2"])
    assert len(told) == 1 and told[0].startswith("a.jsonl, line 5: ")
    with pytest.raises(RowError, match=r"a\.jsonl, line 5: "):
        problems(table, columns, **settings)
    with pytest.raises(DataError, match=r"so it is with all 1 rows, and nothing is left$"):
        problems(Table("a", [{**good, **bad}]), columns, **settings, bad_rows=[])


def test_code_keeps_its_indentation():
    row = {"prompt": "def f():\n", "answer": "x", "code": "    return 1\n"}
    (problem,) = made([row], {"solution": "code"})
    assert (problem.prompt, problem.solution) == ("def f():\n", "    return 1\n")


def test_a_worked_answer_is_the_demonstration_too():
    row = {"prompt": "p", "answer": "1+1=2\r\n#### 2"}
    (problem,) = made([row], answer_format="hash")
    assert (problem.answer, problem.solution, problem.meta) == ("2", "1+1=2\n#### 2", {})


def test_an_answer_may_be_several_columns_or_a_mapping_as_it_stands():
    row = {"prompt": "p", "tests": ["assert f(1)\r\n"], "setup": "", "answer": {"k": 1}, "other": 0}
    (several,) = made([row], {"answer": {"tests": "tests", "before": "setup"}})
    assert several.answer == {"tests": ["assert f(1)\r\n"], "before": ""}
    assert several.meta == {"answer": {"k": 1}, "other": 0}
    assert made([row])[0].answer == {"k": 1}


def test_of_several_solutions_the_first_is_the_demonstration():
    (problem,) = made([{"prompt": "p", "answer": ["2"], "solution": ["first", "second"]}], {"solution": "solution"})
    assert (problem.answer, problem.solution) == ("2", "first")


def test_a_missing_demonstration_is_none():
    rows = [{"prompt": "p", "answer": "2", "solution": value} for value in ("", None, [], "x")]
    assert [p.solution for p in made(rows, {"solution": "solution"})] == [None, None, None, "x"]


def test_chat_messages_are_prompts():
    messages = [{"role": "user", "content": "a\r\nb", "name": "x"}]
    assert made([{"prompt": messages, "answer": 1}])[0].prompt == ({"role": "user", "content": "a\nb"},)


@pytest.mark.parametrize(
    ("rows", "columns", "answer_format", "says"),
    [
        ([{"question": "q", "answer": 1}], {}, "plain", "no column 'prompt' for prompt; there are: question, answer"),
        ([{"question": "q", "answer": 1}], {}, "plain", "did you mean 'question'?"),
        ([{"Question": "q", "answer": 1}], {"prompt": "question"}, "plain", "did you mean 'Question'?"),
        ([{"Body": "q", "answer": 1}], {"prompt": "{body}?"}, "plain", "did you mean 'Body'?"),
        ([{"prompt": "p", "answer": 1}], {"promt": "p"}, "plain", "unknown key 'promt'; did you mean 'prompt'?"),
        ([{"prompt": "p", "answer": 1}], {"prompt": 3}, "plain", "prompt is 3; give a column's name"),
        ([{"prompt": "p", "answer": 1}], {"prompt": {"a": "b"}}, "plain", "prompt is {'a': 'b'}; give a column's name"),
        ([{"prompt": "p", "answer": 1}], {}, "hashes", "unknown answer_format 'hashes'; allowed: plain, hash"),
        ([{"prompt": "p", "answer": "1"}, {"prompt": "p"}], {}, "plain", "row 1: no answer (column 'answer')"),
        ([{"prompt": "p", "answer": float("nan")}], {}, "plain", "row 0: no answer"),
        ([{"prompt": "p", "answer": {}}], {}, "plain", "row 0: column 'answer' holds a dict of 0 items"),
        ([{"prompt": "p", "answer": [1, 2]}], {}, "plain", "row 0: column 'answer' holds a list of 2 items"),
        ([{"prompt": "p", "answer": "7"}], {}, "hash", "row 0: answer_format 'hash' finds nothing in '7'"),
        ([{"prompt": " ", "answer": "7"}], {}, "plain", "row 0: no prompt"),
        ([{"prompt": [{"role": "user"}], "answer": "7"}], {}, "plain", "row 0: message {'role': 'user'} is not"),
        ([{"prompt": "p", "t": [], "answer": ""}], {"answer": {"t": "t"}}, "plain", "row 0: no answer (columns t)"),
        ([{"prompt": "p", "answer": 1, "id": 5}] * 2, {"id": "id"}, "plain", "both have the id 's/5'"),
        ([{"prompt": "p", "answer": 1, "id": None}], {"id": "id"}, "plain", "row 0: no id (column 'id')"),
    ],
)
def test_what_cannot_be_a_problem_is_one_line_with_the_place_and_the_remedy(rows, columns, answer_format, says):
    with pytest.raises(DataError) as error:
        made(rows, columns, answer_format)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("roles", [["user", "assistant"], ["system"], ["user", "assistant", "user", "tool"]])
def test_messages_must_end_in_the_users(roles):
    messages = [{"role": role, "content": "x"} for role in roles]
    with pytest.raises(DataError, match=f"row 1: the last message of 'prompt' is the {roles[-1]}'s"):
        made([{"prompt": "fine", "answer": 1}, {"prompt": messages, "answer": 1}])


def test_each_of_several_answers_may_be_right():
    rows = [{"prompt": "p", "answer": ["70", "71"]}, {"prompt": "q", "answer": 5}]
    table = Table("t", rows)
    found = problems(table, {}, source="s", verifier="math", answer_format="any")
    assert [problem.answer for problem in found] == [{"any": ["70", "71"]}, "5"]
    with pytest.raises(DataError, match="where each of several answers is right, set answer_format: any"):
        problems(table, {}, source="s", verifier="math", answer_format="plain")
    with pytest.raises(DataError, match="no answer"):
        problems(Table("t", [{"prompt": "p", "answer": []}]), {}, source="s", verifier="", answer_format="any")
    with pytest.raises(DataError, match="among its answers"):
        problems(
            Table("t", [{"prompt": "p", "answer": [{"a": 1}, "x"]}]), {}, source="s", verifier="", answer_format="any"
        )
