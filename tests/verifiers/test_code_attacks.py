"""Programs that try to pass without being right, or to do harm: classes of attacks, several variants each."""

import re

import pytest

from verifiers import Item, resolve
from verifiers.pool import Pool

pytestmark = pytest.mark.sandbox
STDIN = {"inputs": ["3 4\n", "10 -2\n", "0 0\n"], "outputs": ["7", "8", "0"]}
CALLS = {"fn_name": "add", "inputs": [[3, 4], [10, -2], [0, 0]], "outputs": [7, 8, 0]}
CHECK = {"entry_point": "add", "test": "def check(candidate):\n    assert candidate(3, 4) == 7\n    assert candidate(0, 0) == 0"}
LOOP = {"entry_point": "add", "test": "def check(candidate):\n    for a in range(1, 3):\n        assert candidate(a, a) == 2 * a"}
PYTEST = {"test": "from solution import add\n\ndef test_a():\n    assert add(3, 4) == 7\n\ndef test_b():\n    x = add(1, 1)\n    assert x == 2"}
ASSERTS = {"test_list": ["assert add(3, 4) == 7", "assert set([add(1, 1)]) == {2}"]}



@pytest.fixture(scope="module")
def judge():
    with Pool({"code": resolve({"use": "code", "time_limit": 3.0})}, workers=2) as pool:
        yield lambda text, answer, **item: pool.submit(
            Item(f"```python\n{text}\n```", answer, **item), "code"
        ).result(160)


@pytest.mark.parametrize("name", WRONG)
def test_no_wrong_function_passes_a_test_in_any_form(judge, name):
    for answer in (CALLS, CHECK, LOOP, PYTEST, ASSERTS):
        verdict = judge(WRONG[name], answer)
        assert verdict.score == 0 and verdict.status in ("wrong", "crash", "timeout"), (answer, verdict)


def test_a_right_function_passes_every_form(judge):
    for answer in (CALLS, CHECK, LOOP, PYTEST, ASSERTS):
        assert judge("def add(a, b): return a + b", answer).status == "correct"




@pytest.mark.parametrize("name", STDIN_ATTACKS)
def test_no_wrong_program_passes_a_test(judge, name):
    verdict = judge(STDIN_ATTACKS[name], STDIN)
    assert verdict.score == 0 and verdict.status in ("wrong", "crash", "timeout", "no_answer"), verdict
    assert re.fullmatch(r"[^\x1b\x00]*", verdict.reason), verdict.reason


def test_constant_answers_get_what_they_deserve(judge):
    assert judge("print(7)", STDIN).score == pytest.approx(1 / 3)
    assert judge("def add(a, b): return 7", CALLS).score == pytest.approx(1 / 3)
    assert judge("def add(a, b): return a + b if a else None", CALLS).score == pytest.approx(2 / 3)


def test_a_function_that_changes_its_arguments_does_not_change_what_is_expected(judge):
    answer = {"fn_name": "f", "inputs": [[[3, 1]]], "outputs": [[1, 3]]}
    assert judge("def f(x):\n    x.clear()\n    return x", answer).score == 0
    in_place = {"test_list": ["x = [3, 1]\nf(x)\nassert x == [1, 3]"]}
    assert judge("def f(x): x.sort()", in_place).score == 1
    assert judge("def f(x): x.reverse()\n", in_place).score == 1
    assert judge("def f(x): x.clear()", in_place).score == 0
