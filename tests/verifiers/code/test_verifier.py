import os
import signal
import threading
import time

import pytest

from r1lab_sandbox.box import Sandbox
from r1lab_sandbox.forkserver.forkserver import SandboxError
from r1lab_verifiers import Item, resolve
from r1lab_verifiers.code.verifier import Code
from r1lab_verifiers.pool.pool import Pool

pytestmark = pytest.mark.sandbox
ADD = {"fn_name": "add", "inputs": [[3, 4], [10, -2], [0, 0]], "outputs": [7, 8, 0]}
RIGHT = "def add(a, b): return a + b"
STDIN = {"inputs": ["3 4\n", "10 -2\n"], "outputs": ["7", "8"]}
SUM = "print(sum(map(int, input().split())))"


@pytest.fixture(scope="module")
def pool():
    table = {"code": resolve("code"), "all": resolve({"use": "code", "credit": "all"})}
    with Pool(table, workers=2) as pool:
        yield pool


@pytest.fixture
def judge(pool):
    return lambda text, answer, verifier="code", **item: pool.submit(
        Item(text if "```" in text else f"```python\n{text}\n```", answer, **item), verifier
    ).result(100)


@pytest.mark.parametrize(("answer", "text"), [
    (ADD, RIGHT),
    (STDIN, SUM),
    ({"inputs": ["3\n"], "outputs": ["0.3333333"], "float_tol": 1e-6}, "print(1 / int(input()))"),
    ({"entry_point": "add", "test": "def check(candidate):\n    assert candidate(1, 2) == 3"}, RIGHT),
    ({"entry_point": "add", "test": "def check(c):\n    for i in range(3): assert c(i, 1) == i + 1"}, RIGHT),
    ({"test": "from solution import add\ndef test_a():\n    assert add(1, 2) == 3"}, RIGHT),
    ({"test": "import pytest\nfrom solution import f\ndef test_a():\n    with pytest.raises(ValueError):\n        f()"},
     "def f(): raise ValueError('x')"),
    ({"test_list": ["assert add(1, 2) == 3"]}, RIGHT),
    ({"test": "for i in range(3):\n    assert add(i, 1) == i + 1"}, RIGHT),
    ({"fn_name": "add", "inputs": [[1, 2]], "outputs": [3]}, "class Solution:\n    def add(self, a, b): return a + b"),
    ({"fn_name": "f", "inputs": [[2]], "outputs": [[2, 2]], "unordered": True}, "def f(x): return (x, x)"),
    ({"fn_name": "add", "inputs": [[1, 2], [5, 5]], "reference": RIGHT}, "add = lambda a, b: b + a"),
])  # fmt: skip
def test_a_right_program_passes_in_every_form(judge, answer, text):
    verdict = judge(text, answer)
    assert (verdict.score, verdict.status) == (1.0, "correct"), verdict


def test_partial_credit_is_the_share_of_tests_and_all_is_all(judge):
    half = "def add(a, b): return a + b if a else 'x'"
    verdict = judge(half, ADD)
    assert verdict.score == pytest.approx(2 / 3) and verdict.reason.startswith("2 of 3 tests; test 2: ")
    assert judge(half, ADD, "all").score == 0.0 and judge(RIGHT, ADD, "all").score == 1.0


@pytest.mark.parametrize(("text", "answer", "status"), [
    ("def add(a, b): return 0", {**ADD, "outputs": [1, 1, 1]}, "wrong"),
    ("def add(a, b): return a +", ADD, "crash"),
    ("def add(a, b): raise KeyError(a)", ADD, "crash"),
    ("def plus(a, b): return a + b", ADD, "crash"),
    ("import sys; sys.exit(0)", ADD, "crash"),
    ("def add(a, b):\n    while True: pass", {**ADD, "time_limit": 0.3}, "timeout"),
    ("while True: pass", {**STDIN, "time_limit": 0.3}, "timeout"),
    ("x = bytearray(8 << 30)", STDIN, "crash"),
    ("while True: print('x' * 10000)", STDIN, "timeout"),
])  # fmt: skip
def test_what_a_program_does_is_told_apart_and_is_never_our_error(judge, text, answer, status):
    verdict = judge(text, answer)
    assert (verdict.score, verdict.status) == (0.0, status), verdict


@pytest.mark.parametrize(("text", "reason"), [
    ("I do not know.\n", "no code block"),
    ("```java\nclass A {}\n```", "the code block is in java"),
    ("```python\n```", "the code block is empty"),
])  # fmt: skip
def test_no_program_is_no_answer_with_the_reason(pool, text, reason):
    verdict = pool.submit(Item(text, ADD), "code").result(20)
    assert (verdict.score, verdict.status) == (0.0, "no_answer") and reason in verdict.reason


def test_odd_texts_are_judged(judge):
    assert judge(f"```python\nx = 1\n```\n```python\n{RIGHT}\n```", ADD).status == "correct"
    assert judge(RIGHT + "\nx = '\x00'", ADD).status == "crash"
    assert judge(RIGHT + "\n# " + "x" * 5_000_000, ADD).status == "correct"
    assert judge(RIGHT + "\nx = '\ud800'", ADD).status in ("crash", "correct")


@pytest.mark.parametrize(("answer", "reason"), [
    ({"test_list": ["assert f("]}, "a test does not parse"),
    ({"inputs": ["1"], "outputs": []}, "lists of the same length"),
    ({**ADD, "memory_mb": 1 << 40}, "this machine has"),
    ({"fn_name": "f", "inputs": [[1]], "reference": "def f(x): return 1 / 0"}, "the reference fails: ZeroDivision"),
    ({**STDIN, "checker": "raise SystemExit(3)"}, "the checker fails"),
    ({"test_list": ["assert sorted(f(1)) == [1]"], "setup": "import nowhere"}, "setup: ModuleNotFoundError"),
])  # fmt: skip
def test_tests_that_cannot_be_run_are_our_error(judge, answer, reason):
    verdict = judge(SUM if "checker" in answer else "def f(x): return [1]", answer)
    assert (verdict.score, verdict.status) == (None, "error") and reason in verdict.reason, verdict


def test_a_checker_accepts_one_of_several_answers_in_its_own_jail(judge):
    answer = {"inputs": ["5\n"], "outputs": ["2 3"]}
    split = "n = int(input())\nprint(1, n - 1)"
    module = "def check(given, printed, expected):\n    return sum(map(int, printed.split())) == int(given)"
    script = ("import sys\ngiven, right, ours = (open(name).read() for name in sys.argv[1:])\n"
              "print(int(sum(map(int, ours.split())) == int(given)))")  # fmt: skip
    for checker in (module, script):
        assert judge(split, {**answer, "checker": checker}).score == 1.0
        assert judge("print(9, 9)", {**answer, "checker": checker}).score == 0.0
        assert judge("print('x')", {**answer, "checker": checker}).status == "wrong"


@pytest.mark.parametrize("checker", [
    "def check(given, printed, expected):\n    return (False, 'differs')",
    "def check(given, printed, expected):\n    return 'wrong answer'",
    "def check(given, printed, expected):\n    pass",
    "import sys\ng, e, s = (open(name).read().strip() for name in sys.argv[1:])\n"
    "print('OK 1' if s == e else 'WRONG: got ' + s)",
    "import sys\ng, e, s = (open(name).read().strip() for name in sys.argv[1:])\nprint('got:\\n' + s)",
])  # fmt: skip
def test_a_checker_says_yes_or_no_and_nothing_else(judge, checker):
    verdict = judge("print(1)", {"inputs": ["1\n"], "outputs": ["5"], "checker": checker})
    assert verdict.status == "error" and "the checker fails" in verdict.reason, verdict


def test_a_checker_that_fails_on_what_was_printed_alone_is_right_about_it(judge):
    checker = (
        "def check(given, printed, expected):\n    if printed.strip().isdigit(): return int(printed) == int(expected)"
    )
    answer = {"inputs": ["1\n"], "outputs": ["5"], "checker": checker}
    assert judge("print('x')", answer).status == "wrong" and judge("print(5)", answer).status == "correct"


@pytest.mark.parametrize(("text", "answer", "is_right"), [
    ("class Solution:\n    def total(self, nums: List[int]) -> int: return min(accumulate(nums))",
     {"fn_name": "total", "inputs": [[[3, -1]]], "outputs": [2]}, True),
    ("class Solution:\n    def f(self, head: Optional[ListNode]): return int(math.sqrt(9)) + len(deque([1]))",
     {"fn_name": "f", "inputs": [[None]], "outputs": [4]}, True),
    ("pass", {"fn_name": "gcd", "inputs": [[4, 6]], "outputs": [2]}, False),
    ("class Solution:\n    def gcd(self, a, b): return 2",
     {"fn_name": "gcd", "inputs": [[4, 6]], "outputs": [2]}, True),
    ("import operator\nadd = operator.add", ADD, True), ("from math import gcd", {"fn_name": "gcd", "inputs": [[4, 6]],
                                                                                "outputs": [2]}, True),
    ("print(ceil(2.5) + pow(2, 3))", {"input_output": {"inputs": [""], "outputs": ["11"]}}, True),
    ("print(ceil(2.5))", {"inputs": [""], "outputs": ["3"]}, False),
])  # fmt: skip
def test_names_that_a_datasets_grader_defines_may_be_used(judge, text, answer, is_right):
    assert (judge(text, answer).score == 1.0) == is_right, judge(text, answer)


@pytest.mark.parametrize("end", ["sys.stdout.close()", "sys.stdout.flush(); sys.stdout = None", "sys.stderr.close()",
                                 "del sys.stdout", "sys.stdin.close()"])  # fmt: skip
def test_streams_may_be_closed_at_the_end(judge, end):
    assert judge(f"import sys\n{SUM}\n{end}", STDIN).status == "correct"


def test_a_test_that_needs_numpy_has_it_and_says_so_where_it_is_not_there(judge):
    answer = {
        "test": "import numpy\nfrom solution import f\ndef test_a():\n    x = numpy.array(f())\n    assert x.sum() == 3"
    }
    assert judge("def f(): return [1, 2]", answer).status == "correct"
    code = Code(packages=())
    try:
        verdict = code.run_and_compare("def f(): return [1, 2]", Item("", answer))
    finally:
        code.close()
    assert verdict.status != "correct" and "numpy" in verdict.reason


def test_a_body_continues_the_prompt_that_it_was_given(judge):
    prompt = "def add(a, b):\n    '''Sum.'''\n"
    answer = {"entry_point": "add", "test": "def check(candidate):\n    assert candidate(1, 2) == 3"}
    assert judge("    return a + b", answer, prompt=prompt).status == "correct"


def test_equal_programs_of_a_group_run_once(monkeypatch):
    runs, run = [], Sandbox.run
    monkeypatch.setattr(Sandbox, "run", lambda self, *given: (runs.append(1), run(self, *given))[1])
    with Pool({"code": resolve("code")}, workers=2) as pool:
        items = [Item(f"{number}\n```python\n{RIGHT}\n```", ADD, problem_id="p") for number in range(6)]
        verdicts = [pool.submit(item, "code") for item in items]
        assert [verdict.result(30).status for verdict in verdicts] == ["correct"] * 6 and len(runs) == 1


def test_a_template_that_dies_is_replaced_and_its_items_are_judged():
    with Pool({"code": resolve("code")}, workers=2) as pool:
        slow = f"import time\ntime.sleep(0.5)\n{RIGHT}"
        verdicts = [
            pool.submit(Item(f"```python\n{slow}\nx = {n}\n```", ADD, problem_id="p"), "code") for n in range(4)
        ]
        time.sleep(0.3)
        os.kill(pool._isolated._live["code"].target._box._slot_factory._server.pid, signal.SIGKILL)
        assert [verdict.result(60).status for verdict in verdicts] == ["correct"] * 4


def test_a_check_of_an_answer_runs_nothing_and_says_what_is_wrong():
    code = Code()
    assert code.check(ADD) is None and code.check({"test_list": ["assert f(1) == 2"]}) is None
    assert "does not parse" in code.check({"test_list": ["assert f("]})
    assert code.check("") is not None and threading.active_count() < 50


def test_the_witness_can_be_judged(judge):
    verdict = judge(Code().witness(ADD), ADD)
    assert verdict.score is not None


@pytest.mark.parametrize(("settings", "message"), [
    ({"time_limit": 0}, "code: time_limit 0: give a number above 0"),
    ({"time_limit": "4"}, "code: time_limit '4'"),
    ({"memory_mb": 1 << 40}, "this machine has"),
    ({"credit": "some"}, "allowed: tests, all"),
    ({"isolation": "docker"}, "allowed: auto, namespaces, bubblewrap, none"),
    ({"workers": "slurm"}, "allowed: local, ray"),
    ({"slots": -1}, "give 0"),
    ({"packages": "numpy"}, "give a list of names"),
    ({"float_tolerance": 1}, "has no setting 'float_tolerance'"),
])  # fmt: skip
def test_a_setting_that_cannot_be_is_refused_before_anything_runs(settings, message):
    with pytest.raises(ValueError, match=message):
        resolve({"use": "code", **settings})


def test_without_isolation_the_verifier_does_not_start(monkeypatch):
    monkeypatch.setattr("r1lab_sandbox.slots.SandboxSlots.make", _refused)
    with pytest.raises(SandboxError, match="no isolation, so no program is run"):
        Pool({"code": resolve("code")})


def _refused(self, backend):
    raise SandboxError(f"{backend}: Operation not permitted")


def test_each_call_has_its_own_time(judge):
    slow = "import time\ndef f(x):\n    time.sleep(0.35)\n    return x"
    answer = {"fn_name": "f", "inputs": [[i] for i in range(6)], "outputs": list(range(6)), "time_limit": 0.5}
    assert judge(slow, answer).status == "correct"


def test_a_value_may_be_as_long_as_the_expected_one(judge):
    answer = {"fn_name": "f", "inputs": [[6_000_000]], "outputs": ["x" * 6_000_000]}
    assert judge("def f(n): return 'x' * n", answer).status == "correct"


def test_replies_without_end_are_the_programs_fault(judge):
    answer = {"fn_name": "f", "inputs": [[i] for i in range(60)], "outputs": [0] * 60}
    verdict = judge("def f(n): return 'x' * 4_000_000", answer)
    assert verdict.score == 0.0 and verdict.status in ("wrong", "timeout"), verdict


def test_what_a_function_prints_is_no_matter(judge):
    loud = "import sys\ndef add(a, b):\n    for file in (sys.stdout, sys.stderr): print('x' * 700_000, file=file)\n"
    loud += "    return a + b"
    assert judge(loud, ADD).status == "correct"


def test_a_program_uses_what_its_prompt_imports(judge):
    prompt = "from typing import List\ndef g(x):\n    return sum(x)\ndef f(x: List[int]) -> int:\n    '''Sum.'''\n"
    answer = {"entry_point": "f", "test": "def check(candidate):\n    assert candidate([1, 2]) == 3"}
    assert judge("def f(x: List[int]) -> int:\n    return g(x)", answer, prompt=prompt).status == "correct"
