import os
import subprocess
import sys
from pathlib import Path

import pytest

import r1lab_data as data
from r1lab_data import Problem
from r1lab_data.loaders import digest, load
from r1lab_data.problem import DataError

SHARED = os.environ.get("R1LAB_SHARED")
real = pytest.mark.skipif(not SHARED, reason="R1LAB_SHARED names no folder with the public datasets")


def shared(path, **named):
    return load(path, source="s", base=Path(SHARED) / "data", **named)


def test_a_file_becomes_problems_and_a_copy_of_it_the_same_ones(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"prompt": "1+1", "answer": 2}\n{"prompt": "2+2", "answer": 4, "x": [1]}\n')
    first, second = (load(name, source="s", base=tmp_path, verifier="v") for name in ("a.jsonl", "b.jsonl"))
    assert first[0] == Problem("s/0", "1+1", "2", "v", None, "s")
    assert digest(first) == digest(second)


@pytest.mark.parametrize(
    "change", [{"answer": "3"}, {"prompt": "x"}, {"solution": "y"}, {"meta": {"k": 1}}, {"verifier": "w"}]
)
def test_the_digest_sees_every_change(change):
    plain = {"id": "s/0", "prompt": "p", "answer": "2"}
    assert digest([Problem(**plain)]) != digest([Problem(**{**plain, **change})])


def test_the_digest_is_the_same_in_every_process():
    made = digest([Problem("s/0", "p", {"b": 1, "a": [float("nan")]}, meta={"z": "\ud800", "d": b"x"})])
    assert made == "d5d29f205596d21b9ef2bbfcd887ac9b"


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_leaves_nothing_is_refused(limit):
    with pytest.raises(DataError, match="leaves no rows"):
        load("a.jsonl", source="s", limit=limit)


def test_the_package_loads_the_standard_library_only():
    heavy = "{'numpy', 'datasets', 'pyarrow'}"
    code = f"import r1lab_data, sys\nprint({heavy} & {{each.partition('.')[0] for each in sys.modules}})"
    root = Path(data.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@real
def test_gsm8k_has_a_final_number_and_a_demonstration_in_every_row():
    train = shared("gsm8k", columns={"prompt": "question"}, answer_format="hash")
    test = shared("gsm8k", split="test", columns={"prompt": "question"}, answer_format="hash")
    assert (len(train), len(test)) == (7473, 1319)
    assert train[0].answer == "72"
    assert all(float(p.answer.replace(",", "")) is not None and p.solution.endswith(p.answer) for p in train + test)
    assert any("," in p.answer for p in train)


@real
@pytest.mark.parametrize(
    ("path", "columns", "answer_format", "num_rows", "first"),
    [
        (
            "math500/test.jsonl",
            {"prompt": "problem", "id": "unique_id"},
            "plain",
            500,
            r"\left( 3, \frac{\pi}{2} \right)",
        ),
        ("minerva_math/test.jsonl", {"prompt": "problem", "answer": "solution"}, "boxed", 272, "1.6"),
        ("olympiadbench/test.jsonl", {"prompt": "question", "answer": "final_answer"}, "plain", 675, "2"),
        ("aime24/test.jsonl", {"prompt": "problem", "id": "id"}, "plain", 30, "204"),
        ("amc23/test.jsonl", {"prompt": "problem"}, "plain", 40, "27"),
        ("svamp/test.jsonl", {"prompt": "{Body}. {Question}", "answer": "Answer", "id": "ID"}, "plain", 1000, "145"),
        ("asdiv/test.jsonl", {"prompt": "{body} {question}"}, "unit", 2215, "9"),
        ("mawps/singleop.jsonl", {"prompt": "input", "answer": "target"}, "plain", 562, "14"),
        ("mawps/multiarith.jsonl", {"prompt": "input", "answer": "target"}, "plain", 600, "39"),
    ],
)
def test_public_sets_load_whole(path, columns, answer_format, num_rows, first):
    made = shared(path, columns=columns, answer_format=answer_format)
    assert len(made) == num_rows
    assert made[0].answer == first
    assert not any(p.answer.endswith(".0") for p in made if path.startswith(("svamp", "amc23", "mawps")))


@real
def test_math500_solutions_box_the_answer_column():
    plain = shared("math500", split="test", columns={"prompt": "problem"})
    boxed = shared("math500", split="test", columns={"prompt": "problem", "answer": "solution"}, answer_format="boxed")
    same = sum(a.answer.replace(" ", "") == b.answer.replace(" ", "") for a, b in zip(plain, boxed, strict=True))
    assert same >= 490


@real
def test_names_and_ratios_of_asdiv_are_no_numbers():
    with pytest.raises(DataError, match=r"line 30: answer_format 'number' finds nothing in 'Mrs. Hilt'"):
        shared("asdiv/test.jsonl", columns={"prompt": "{body} {question}"}, answer_format="number")


@real
def test_mbpp_loses_its_carriage_returns_and_its_tests_stay_lists():
    columns = {"prompt": "text", "answer": {"tests": "test_list", "setup": "test_setup_code"}, "solution": "code"}
    made = shared("mbpp/mbpp.jsonl", columns=columns)
    assert len(made) == 974
    assert not any("\r" in p.solution for p in made)
    assert all(len(p.answer["tests"]) >= 1 for p in made)


@real
def test_humaneval_keeps_prompt_and_body_ready_to_be_joined():
    columns = {
        "answer": {"test": "test", "entry_point": "entry_point"},
        "solution": "canonical_solution",
        "id": "task_id",
    }
    made = shared("humaneval/HumanEval.jsonl", columns=columns)
    assert (len(made), made[0].id) == (164, "s/HumanEval/0")
    for problem in made:
        compile(problem.prompt + problem.solution, problem.id, "exec")
