"""Datasets laid out for TRL and verl are read as they are, and what was read before is read as before."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r1lab_data import DataError
from r1lab_data.loaders import load

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "3+4?"}]
SAID = [{"role": "assistant", "content": "It is 7."}]
VERL = {
    "data_source": "openai/gsm8k",
    "prompt": ASKED[1:],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "7"},
    "extra_info": {"split": "train", "index": 3, "answer": "adding #### 7"},
}


def one(tmp_path, row, **knobs):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    return load(str(file), source="data", **knobs)[0]


def test_verls_parquet_is_read_whole(tmp_path):
    pq.write_table(pa.Table.from_pylist([VERL]), tmp_path / "train.parquet")
    problem = load(str(tmp_path / "train.parquet"), source="gsm8k")[0]
    assert (problem.prompt, problem.answer, problem.solution) == (tuple(VERL["prompt"]), "7", None)
    assert problem.meta == {key: VERL[key] for key in ("data_source", "ability", "reward_model", "extra_info")}


@pytest.mark.parametrize("truth, answer", [(7, "7"), (7.5, "7.5"), (["7"], "7"), ({"target": 7}, {"target": 7})])
def test_a_ground_truth_of_another_kind_is_read_as_any_answer(tmp_path, truth, answer):
    assert one(tmp_path, {**VERL, "reward_model": {"ground_truth": truth}}).answer == answer


def test_several_ground_truths_are_asked_for_by_their_format(tmp_path):
    row = {**VERL, "reward_model": {"ground_truth": ["7", "7.0"]}}
    with pytest.raises(DataError, match="set answer_format: any"):
        one(tmp_path, row)
    assert one(tmp_path, row, answer_format="any").answer == {"any": ["7", "7.0"]}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "3+4?", "completion": "It is 7."},
        {"prompt": ASKED, "completion": SAID},
        {"prompt": ASKED, "completion": "It is 7."},
        {"messages": ASKED + SAID},
    ],
)
def test_trls_completions_are_demonstrations(tmp_path, row):
    problem = one(tmp_path, row, demonstrates=True)
    assert problem.prompt == ("3+4?" if row.get("prompt") == "3+4?" else tuple(ASKED))
    assert (problem.solution, problem.answer) == ("It is 7.", "It is 7.")


def test_messages_are_parted_also_beside_an_answer(tmp_path):
    problem = one(tmp_path, {"messages": ASKED + SAID, "answer": 7, "level": 2})
    assert (problem.prompt, problem.solution, problem.answer) == (tuple(ASKED), "It is 7.", "7")
    assert problem.meta == {"level": 2}
    asked = one(tmp_path, {"messages": ASKED, "answer": 7})
    assert (asked.prompt, asked.solution) == (tuple(ASKED), None)


def test_for_reinforcement_a_completion_is_no_answer_and_no_solution(tmp_path):
    with pytest.raises(DataError, match="no column 'answer'"):
        one(tmp_path, {"prompt": "3+4?", "completion": "It is 7."})
    problem = one(tmp_path, {"prompt": "3+4?", "completion": "It is 8.", "answer": "7"})
    assert problem.solution is None and problem.meta == {"completion": "It is 8."}


@pytest.mark.parametrize(
    "row, told",
    [
        ({"prompt": "a", "completion": [*SAID, ASKED[1]]}, "messages of assistant, user; one of the assistant's"),
        ({"prompt": "a", "completion": [ASKED[1]]}, "messages of user"),
        ({"messages": []}, r"messages is \[\]"),
        ({"messages": "3+4?"}, "messages is '3\\+4\\?'"),
        ({"messages": [{"role": "user"}]}, "a list of messages"),
        ({"messages": SAID}, "no prompt"),
        ({"messages": [*SAID, *SAID]}, "the last message of 'prompt' is the assistant's"),
    ],
)
def test_what_cannot_be_parted_is_refused_in_one_line(tmp_path, row, told):
    with pytest.raises(DataError, match=told) as caught:
        one(tmp_path, row, demonstrates=True)
    assert "\n" not in str(caught.value) and "rows.jsonl, line 1" in str(caught.value)


def test_rows_of_another_layout_may_be_left_out(tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = [{"messages": ASKED + SAID}, {"messages": "3+4?"}, {"messages": ASKED + SAID + SAID}, {"messages": ASKED}]
    file.write_text("".join(json.dumps(row | {"answer": 7}) + "\n" for row in rows))
    dropped = []
    problems = load(str(file), source="data", bad_rows=dropped)
    assert [problem.id for problem in problems] == ["data/0", "data/3"]
    assert "rows.jsonl, line 2: messages is '3+4?'" in dropped[0]
    assert "line 3: the last message" in dropped[1] and len(dropped) == 2


def test_what_columns_say_wins_over_what_is_recognised(tmp_path):
    assert one(tmp_path, VERL, columns={"answer": "extra_info.answer"}, answer_format="hash").answer == "7"
    row = {"prompt": "a", "completion": "b", "worked": "c", "answer": "d"}
    problem = one(tmp_path, row, columns={"solution": "worked"}, demonstrates=True)
    assert (problem.solution, problem.answer) == ("c", "c")
    assert one(tmp_path, {**VERL, "answer": "8"}).answer == "8", "a column of the role's own name comes first"
    asked = one(tmp_path, {"question": "3+4?", "messages": ASKED, "answer": "7"}, columns={"prompt": "question"})
    assert asked.prompt == "3+4?" and asked.meta == {"messages": ASKED}


@pytest.mark.parametrize("model", [None, "rule", {"style": "model"}, []])
def test_a_column_reward_model_of_another_form_is_none_of_verls(tmp_path, model):
    with pytest.raises(DataError, match="no column 'answer'"):
        one(tmp_path, {"prompt": "a", "reward_model": model})


def test_read_whole_a_row_keeps_all_columns_and_needs_no_answer(tmp_path):
    row = {"prompt": "3+4?", "solution": "7", "level": 2}
    problem = one(tmp_path, row, is_whole=True)
    assert problem.meta == row and problem.answer == {"solution": "7", "level": 2}
    assert one(tmp_path, {"prompt": "3+4?"}, is_whole=True).answer == {"prompt": "3+4?"}
    asked = one(tmp_path, {"question": "3+4?", "gold": "7"}, is_whole=True, columns={"prompt": "question"})
    assert asked.answer == {"gold": "7"} and asked.meta["question"] == "3+4?"
    assert one(tmp_path, {**row, "answer": 7}, is_whole=True).answer == "7"
    assert one(tmp_path, VERL, is_whole=True).answer == "7"
