import base64
import json
import os
import pickle
import zlib
from pathlib import Path

import pytest

from r1lab_data import DataError
from r1lab_data.code_rows import ROW_FORMATS
from r1lab_data.columns import problems
from r1lab_data.loaders import load
from r1lab_data.rows import Table


def read(row, name, columns=()):
    (problem,) = problems(Table("a.jsonl", [row]), dict(columns), source="s", verifier="code", answer_format=name)
    return problem


def shared(*names: str) -> str:
    place = os.environ.get("R1LAB_SHARED")
    if not place:
        pytest.skip("R1LAB_SHARED is not set: the datasets are not here")
    return str(Path(place, "data", *names))


MBPP = {"task_id": 7, "text": "Add.", "code": "def add(a, b):\r\n  return a + b", "test_setup_code": "",
        "test_list": ["assert add(1, 2) == 3"], "challenge_test_list": ["assert add(0, 0) == 0"]}  # fmt: skip
HUMANEVAL = {"task_id": "HumanEval/0", "prompt": "def f(x):\n", "canonical_solution": "    return x\n",
             "entry_point": "f", "test": "def check(candidate):\n    assert candidate(1) == 1\n"}  # fmt: skip
STDIN = {"inputs": ["1 2\n"], "outputs": ["3\n"]}
APPS = {"problem_id": 4, "question": "Add.", "solutions": '["print(3)", "x"]', "input_output": json.dumps(STDIN),
        "difficulty": "interview", "starter_code": ""}  # fmt: skip
CODEFORCES = {"id": "1/A", "description": "Add.", "input_format": "a and b", "output_format": "the sum", "note": None,
              "examples": [{"input": "1 2\n", "output": "3\n"}], "time_limit": 1.0, "memory_limit": 64.0,
              "official_tests": [{"input": "1 2\n", "output": "3\n"}], "input_mode": "stdio",
              "generated_checker": "print(1)"}  # fmt: skip
GROUP = {"input": ["1 2\n"], "output": ["3\n"]}
CODECONTESTS = {"name": "sum", "description": "Add.", "public_tests": GROUP, "private_tests": GROUP,
                "generated_tests": {"input": [], "output": []}, "memory_limit_bytes": 512 << 20,
                "time_limit": {"seconds": 2, "nanos": 500_000_000},
                "solutions": {"language": [2, 3], "solution": ["int main", "print(3)"]}}  # fmt: skip
KODCODE = {"question_id": "k1", "question": "Add.", "solution": "def add(a, b): return a + b",
           "test": "from solution import add\ndef test_a():\n    assert add(1, 2) == 3\n",
           "style": "instruct"}  # fmt: skip


def test_mbpp_shows_its_tests_in_the_prompt_and_counts_the_challenge_tests():
    problem = read(MBPP, "mbpp")
    assert problem.prompt == "Add.\nYour code should pass these tests:\nassert add(1, 2) == 3"
    assert problem.answer["test_list"] == ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]
    assert problem.solution == "```python\ndef add(a, b):\n  return a + b\n```"
    assert (problem.id, problem.meta) == ("s/7", {})


def test_humaneval_shows_the_head_of_the_function_and_its_demonstration_is_the_whole_of_it():
    problem = read(HUMANEVAL, "humaneval")
    assert problem.prompt == "def f(x):\n"
    assert problem.answer == {name: HUMANEVAL[name] for name in ("test", "entry_point", "prompt")}
    assert problem.solution == "```python\ndef f(x):\n    return x\n```"


def test_evalplus_rows_hold_inputs_and_a_reference_in_place_of_outputs():
    row = {**HUMANEVAL, "base_input": [[1]], "plus_input": [[2]], "atol": 0, "contract": ""}
    answer = read(row, "humaneval").answer
    assert (answer["inputs"], answer["fn_name"], answer["float_tol"]) == ([[1], [2]], "f", 1e-6)
    assert answer["reference"] == "def f(x):\n    return x\n" and "outputs" not in answer


def test_mbpp_plus_from_the_hub_is_a_module_of_tests():
    row = {"task_id": 2, "prompt": "Add.", "code": "def add(a, b): return a + b", "test_list": ["x"],
           "test": "for a in range(3):\n    assert add(a, 1) == a + 1\n"}  # fmt: skip
    assert read(row, "mbpp").answer == {"test": row["test"]}


def test_apps_and_taco_are_standard_input_or_calls():
    problem = read(APPS, "apps")
    assert (problem.id, problem.prompt, problem.answer) == ("s/4", "Add.", {**STDIN, "has_header": True})
    assert problem.solution == "```python\nprint(3)\n```" and problem.meta == {"difficulty": "interview"}
    tests = {"fn_name": "add", "inputs": [[1, 2], "3\n4"], "outputs": [3, 7]}
    called = {**APPS, "input_output": json.dumps(tests), "starter_code": "def add(a, b):\n"}
    problem = read(called, "taco")
    assert problem.answer["inputs"] == [[1, 2], [3, 4]] and problem.answer["fn_name"] == "add"
    assert problem.prompt == "Add.\n\nStart from:\n```python\ndef add(a, b):\n```"


def packed(value) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def livecodebench(kind, private, **metadata):
    public = [{"input": "1\n2", "output": "3", "testtype": kind}]
    return {"question_id": "q", "question_content": "Add.", "starter_code": "", "metadata": json.dumps(metadata),
            "public_test_cases": json.dumps(public), "private_test_cases": private}  # fmt: skip


def test_livecodebench_unpacks_its_private_tests():
    test = {"input": "3\n4", "output": "7", "testtype": "stdin"}
    answer = read(livecodebench("stdin", packed(json.dumps([test]))), "livecodebench").answer
    assert answer == {"inputs": ["1\n2", "3\n4"], "outputs": ["3", "7"], "decimal": True, "has_header": True}
    row = livecodebench("functional", json.dumps([{**test, "testtype": "functional"}]), func_name="Solution.add")
    answer = read(row, "livecodebench").answer
    assert answer == {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, 7]}


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize("bad", [packed(Evil()), packed("[]")[:-4], "!!", packed(["x"]), packed({"a": 1})])
def test_a_pickle_that_is_more_than_text_is_refused_with_its_row(bad):
    with pytest.raises(DataError, match=r"a\.jsonl, row 0: "):
        read(livecodebench("stdin", bad), "livecodebench")


def test_a_pickle_never_calls_anything():
    with pytest.raises(DataError, match=r"calls posix\.system; only plain text"):
        read(livecodebench("stdin", packed(Evil())), "livecodebench")


def test_packed_tests_do_not_unfold_without_bound(monkeypatch):
    monkeypatch.setattr("r1lab_data.programs.MAX_UNPACKED", 1000)
    with pytest.raises(DataError, match="unfold to more than 1000 bytes"):
        read(livecodebench("stdin", packed("x" * 5000)), "livecodebench")


def test_codeforces_has_examples_in_the_prompt_and_a_checker_and_limits_with_the_tests():
    problem = read(CODEFORCES, "codeforces")
    assert problem.prompt.split("\n\n")[1:3] == ["Input\na and b", "Output\nthe sum"]
    assert problem.prompt.endswith("Example input\n1 2\nExample output\n3")
    expected = {"inputs": ["1 2\n"], "outputs": ["3\n"], "checker": "print(1)", "time_limit": 1.0, "memory_mb": 256}
    assert problem.answer == expected
    with pytest.raises(DataError, match="input_mode 'file': only stdio"):
        read({**CODEFORCES, "input_mode": "file"}, "codeforces")


def test_codecontests_joins_its_groups_and_takes_a_python_solution():
    problem = read(CODECONTESTS, "codecontests")
    assert problem.answer == {"inputs": ["1 2\n"] * 2, "outputs": ["3\n"] * 2, "time_limit": 2.5, "memory_mb": 512}
    assert (problem.id, problem.solution) == ("s/sum", "```python\nprint(3)\n```")


def test_kodcode_is_a_module_of_pytest():
    problem = read(KODCODE, "kodcode")
    assert (problem.id, problem.answer, problem.meta) == ("s/k1", {"test": KODCODE["test"]}, {"style": "instruct"})


@pytest.mark.parametrize("name", ROW_FORMATS)
def test_a_row_of_another_schema_is_named_with_what_it_lacks(name):
    for row in ({"a": 1}, {"question": "Add.", "solution": 3}):
        with pytest.raises(DataError, match=r"^a\.jsonl, row 0: "):
            read(row, name)


@pytest.mark.parametrize(
    "row", [{**APPS, "input_output": '{"inputs": [], "outputs": []}'}, {**APPS, "input_output": "["}]
)
def test_a_row_without_tests_is_refused(row):
    with pytest.raises(DataError, match=r"a\.jsonl, row 0: "):
        read(row, "apps")


def test_columns_may_name_another_prompt_but_no_answer():
    assert read({**MBPP, "q": "Sum."}, "mbpp", {"prompt": "q"}).prompt == "Sum."
    with pytest.raises(DataError, match="answer_format mbpp reads the answer from the whole row"):
        read(MBPP, "mbpp", {"answer": "test_list"})


def test_the_real_mbpp_and_humaneval_are_read():
    found = load(shared("mbpp", "mbpp.jsonl"), source="mbpp", answer_format="mbpp")
    assert len(found) == 974 and all(problem.solution and problem.answer["test_list"] for problem in found)
    found = load(shared("humaneval", "HumanEval.jsonl"), source="he", answer_format="humaneval")
    assert len(found) == 164 and found[0].id == "he/HumanEval/0"
