import json

import pytest

from r1lab_verifiers.code.plan import BadTests, read_tests, telling_order

ADD = {"fn_name": "add", "inputs": [[3, 4], [1, 1]], "outputs": [7, 2]}


def test_standard_input_is_texts_and_calls_are_calls():
    made = read_tests({"inputs": ["3 4\n", ["1", "2"]], "outputs": ["7", 3], "float_tol": 1e-6})
    assert made.texts == (("3 4\n", "7"), ("1\n2", "3")) and made.rule.float_tol == 1e-6 and made.num_tests == 2
    made = read_tests(ADD)
    assert [(call.name, call.args, call.expected) for call in made.calls] == [("add", [3, 4], 7), ("add", [1, 1], 2)]
    assert made.entry == "add" and made.rule.is_json


def test_what_can_be_lifted_is_calls_and_the_rest_is_tests():
    assert len(read_tests({"test_list": ["assert f(1) == 2", "assert f(2) == 3"]}).calls) == 2
    made = read_tests({"test_list": ["assert set(f(1)) == {2}"], "setup": "import math"})
    assert (made.calls, made.source, made.extra["style"]) == ((), "import math", "statements")
    assert read_tests({"entry_point": "f", "test": "def check(c):\n    assert c(1) == 2\n"}).calls[0].name == "f"
    loop = read_tests({"entry_point": "f", "test": "def check(c):\n    for i in (1,): assert c(i)\n"})
    assert (loop.extra["style"], loop.num_tests) == ("check", 1)
    made = read_tests(
        {"test": "from solution import f\ndef test_a():\n    x = f(1)\n    assert x\ndef test_b():\n    assert f(2)"}
    )
    assert (made.extra["style"], made.num_tests) == ("pytest", 2)
    made = read_tests({"test": "for i in range(3):\n    assert f(i) == i"})
    assert (made.extra["style"], made.num_tests) == ("statements", 1)


def test_an_answer_may_be_a_row_a_list_or_text():
    tests = ["assert f(1) == 2"]
    for answer in ({"test_list": tests}, tests, json.dumps(tests), tests[0], {"tests": tests, "test_setup_code": ""}):
        assert [call.expected for call in read_tests(answer).calls] == [2]
    row = {"input_output": json.dumps(ADD), "question": "Add."}
    assert [call.args for call in read_tests(row).calls] == [[3, 4], [1, 1]]


def test_a_problem_states_its_own_limits():
    made = read_tests({**ADD, "time_limit": 2.5, "memory_mb": 300})
    assert (made.time_limit, made.memory_mb) == (2.5, 300)


@pytest.mark.parametrize(("answer", "reason"), [
    ({"inputs": ["1"], "outputs": []}, "lists of the same length, not 1 and 0"),
    ({"inputs": [], "outputs": []}, "no tests"),
    ({"inputs": "1", "outputs": ["1"]}, "lists of the same length, not str and 1"),
    ({"inputs": ["1"]}, "lists of the same length, not 1 and NoneType"),
    ({"inputs": [{}], "outputs": ["1"]}, "no text for standard input"),
    ({**ADD, "inputs": [3, 4]}, r"inputs\[0\] is '3': give the list of arguments"),
    ({**ADD, "fn_name": "a b"}, "no name of a function"),
    ({**ADD, "checker": "def ("}, "a test does not parse"),
    ({**ADD, "float_tol": -1}, "float_tol -1: give a number above 0"),
    ({**ADD, "time_limit": 0}, "time_limit 0: give a number above 0"),
    ({"test_list": ["assert f(1) =="]}, r"a test does not parse: invalid syntax \(line 1\)"),
    ({"test_list": []}, "no tests"),
    ({"test_list": [3]}, "a list of texts"),
    ({"test": ""}, "must be a text of Python"),
    ({"test": "x = 1"}, "asserts nothing"),
    ({"fn_name": "f", "inputs": [[1]], "reference": "def ("}, "does not parse"),
    ({}, "it has nothing"),
    ({"answer": 3}, "it has answer"),
    ("{", "cannot be read"),
    (3, "the answer is int"),
    ({"input_output": "{}"}, "not of its schema: KeyError"),
    ({"test": "(" * 9000}, "."),
])  # fmt: skip
def test_tests_that_cannot_be_run_are_named_with_why(answer, reason):
    with pytest.raises(BadTests, match=reason) as caught:
        read_tests(answer)
    assert "\n" not in str(caught.value) and "BadTests" not in str(caught.value)


def test_the_most_telling_test_comes_first():
    made = read_tests({"inputs": ["a", "b", "c", "d"], "outputs": ["0", "0", "long answer", "1"]})
    assert telling_order(made) == [2, 3, 0, 1]
