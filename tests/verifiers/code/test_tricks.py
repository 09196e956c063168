"""Tests that a wrong program could pass, or escape as an error of ours, by what the tests leave open."""

import pytest

from r1lab_verifiers import Item, resolve
from r1lab_verifiers.pool.pool import Pool

pytestmark = pytest.mark.sandbox
WRONG = "def add(a, b): return -99"
RIGHT = "def add(a, b): return a + b"
HEAD = "from solution import add\n"
POLY = "def poly(xs, x): return sum(c * x ** i for i, c in enumerate(xs))\n"
ZERO = "def find_zero(xs):\n    '''A root.'''\n"
ROOTS = "def check(candidate):\n    for xs in ([1, 2], [-6, 3]):\n        assert abs(poly(xs, candidate(xs))) < 1e-4\n"


@pytest.fixture(scope="module")
def judge():
    with Pool({"code": resolve("code")}, workers=2) as pool:
        yield lambda text, answer, **item: pool.submit(Item(f"```python\n{text}\n```", answer, **item), "code").result(
            60
        )


@pytest.mark.parametrize("answer", [
    {"entry_point": "add", "test": "def check(c):\n    def good(a, b, want):\n        assert c(a, b) == want\n"
                                   "    assert c(0, -99) == -99\n    good(3, 4, 7)\n"},
    {"entry_point": "add", "test": "def same(a, b):\n    assert a == b\ndef check(c):\n    assert c(0, -99) == -99\n"
                                   "    for a in range(3):\n        same(c(a, 1), a + 1)\n"},
    {"test": f"import unittest\n{HEAD}class AddTest(unittest.TestCase):\n    def setUp(self):\n        self.x = 3\n"
             "    def test_a(self):\n        self.assertEqual(add(self.x, 4), 7)\n"
             "if __name__ == '__main__':\n    unittest.main()\n"},
    {"test": f"{HEAD}async def test_a():\n    assert add(3, 4) == 7\n"},
    {"test": f"import pytest\n{HEAD}@pytest.fixture\ndef three():\n    yield 3\ndef test_a(three):\n"
             "    x = add(three, 4)\n    assert x == 7\n"},
])  # fmt: skip
def test_what_is_asserted_inside_something_is_asserted(judge, answer):
    assert judge(WRONG, answer).status == "wrong", judge(WRONG, answer)
    assert judge(RIGHT, answer).status == "correct", judge(RIGHT, answer)


@pytest.mark.parametrize(("answer", "reason"), [
    ({"test": f"'''Tests.'''\n{HEAD}def check_add():\n    assert add(3, 4) == 7\n"}, "asserts nothing"),
    ({"test": f"{HEAD}def run():\n    assert add(3, 4) == 7\nif __name__ == '__main__':\n    run()\n"},
     "asserts nothing"),
    ({"test_list": ["add(1, 2)"]}, "test 0 asserts nothing"),
    ({"entry_point": "add", "test": "def check(c):\n    c(1, 2)\n"}, "asserts nothing"),
    ({"test": f"{HEAD}def test_a():\n    for a in (1, 2):\n        assert add(a, 1) == a + 1\n        yield a\n"},
     "yields"),
    ({"test": f"{HEAD}def test_a(tmp_path):\n    x = add(1, 2)\n    assert x == tmp_path\n"}, "no folder in common"),
    ({"test": "from calculator import add\ndef test_a():\n    x = add(3, 4)\n    assert x == 7\n"}, "calculator"),
    ({"test_list": ["for x in (1, 2): assert close(add(x, 1), x + 1)"]}, "decided by 'close'"),
    ({"test_list": ["y = add(1, 2)\nassert not far(y, 3)"]}, "decided by 'far'"),
    ({"test": f"{HEAD}def test_a():\n    x = add(3, 4)\n    assert close(x, 7)\n"}, "uses 'close'"),
    ({"entry_point": "find_zero", "test": ROOTS}, "uses 'poly', which neither it nor the prompt defines"),
    ({"fn_name": "add", "inputs": [[1, 2]], "outputs": [3], "checker": "print(1)"}, "give one of the two"),
])  # fmt: skip
def test_tests_that_say_nothing_of_a_program_are_our_error(judge, answer, reason):
    verdict = judge(WRONG, answer)
    assert (verdict.score, verdict.status) == (None, "error") and reason in verdict.reason, verdict


@pytest.mark.parametrize("prompt", [
    POLY + ZERO, f"Complete this.\n```python\n{POLY}{ZERO}```", ({"role": "user", "content": POLY + ZERO},),
])  # fmt: skip
def test_what_the_prompt_defines_is_not_taken_from_the_program(judge, prompt):
    answer = {"entry_point": "find_zero", "test": ROOTS}
    own = "def poly(xs, x): return 0.0\ndef find_zero(xs): return 99.0"
    assert judge(own, answer, prompt=prompt).status == "wrong"
    assert judge("def find_zero(xs): return -xs[0] / xs[1]", answer, prompt=prompt).status == "correct"


@pytest.mark.parametrize("program", [
    "def primes(n): return range(-10**9, 10**9)",
    "def primes(n): return [range(-10**9, 10**9)] * 4",
    "class primes:\n    def __init__(s, n): pass\n    def __contains__(s, x): return True\n"
    "    def __len__(s): return 4",
    "import sys, json\nclass T:\n    def __contains__(s, x): return True\ndef answer(self, message):\n"
    "    self.objects.append(T())\n"
    "    return json.dumps({'nonce': message['nonce'], 'value': {'object': [0, ['primes'], [], None]}}).encode()\n"
    "sys.modules['r1lab_sandbox.inside.calls'].Calls.answer = answer\ndef primes(n): pass",
])  # fmt: skip
def test_what_holds_everything_passes_no_test_of_membership(judge, program):
    each = "from solution import primes\ndef test_a():\n    got = primes(10)\n    for p in (2, 3, 5, 7):\n"
    for test in (each + "        assert p in got\n", each + "        assert p in got[0]\n"):
        assert judge(program, {"test": test}).score == 0.0, judge(program, {"test": test})


def test_a_range_that_is_expected_is_compared_and_passed_on(judge):
    test = ("from solution import f\ndef test_a():\n    x = f(range(3))\n"
            "    assert x == range(3) and list(f(x)) == [0, 1, 2]\n")  # fmt: skip
    assert judge("def f(x): return x", {"test": test}).status == "correct"
    assert judge("def f(x): return x[1:]", {"test": test}).status == "wrong"


@pytest.mark.parametrize("test", [
    "def test_a():\n    assert all(map(lambda c: add(*c[:2]) == c[2], [(3, 4, 7), (0, 1, 1)]))\n",
    "def test_a():\n    for x, y in zip(map(lambda x: add(x, 1), [1, 2]), [2, 3]):\n        assert x == y\n",
])  # fmt: skip
def test_an_exception_of_the_program_ends_no_loop_of_the_tests(judge, test):
    for kind in ("StopIteration", "StopAsyncIteration", "GeneratorExit"):
        assert judge(f"def add(a, b): raise {kind}", {"test": HEAD + test}).status == "crash"


def test_arguments_change_only_where_nothing_is_returned(judge):
    program = ("import sys, json\nreal = json.dumps\nclass J:\n    loads = staticmethod(json.loads)\n"
               "    dumps = staticmethod(lambda d: real({**d, 'value': [], 'changed': [[]]} if 'nonce' in d else d))\n"
               "sys.modules['r1lab_sandbox.inside.calls'].json = J\ndef srt(x): return []")  # fmt: skip
    test = ("from solution import srt\ndef test_a():\n    data = [3, 1]\n    out = srt(data)\n"
            "    assert out == sorted(data)\n")  # fmt: skip
    assert judge(program, {"test": test}).score == 0.0


@pytest.mark.parametrize("program", [
    "def add(a, b): raise ValueError('x')", "def add(a, b): return None", "add = 3", "import math as add",
    "def plus(a, b): return 0",
])  # fmt: skip
def test_no_program_makes_its_tests_an_error_of_ours(judge, program):
    setup = {"test_list": ["x = add(1, 2)\nassert x == 3"], "setup": "from solution import add\nbase = add(0, 0) + 1"}
    star = {"test": "from solution import *\ndef test_a():\n    x = add(1, 2)\n    assert x == 3\n"}
    bare = {"test": "def test_a():\n    x = add(1, 2)\n    assert x == 3\n"}
    for answer in (setup, star, bare):
        assert judge(program, answer).score == 0.0, judge(program, answer)


def test_a_reason_can_be_shown_on_a_terminal(judge):
    verdict = judge("def f(x): raise ValueError('\\x1b[2J\\x00 ok')", {"fn_name": "f", "inputs": [[1]], "outputs": [1]})
    assert verdict.status == "crash" and "\x1b" not in verdict.reason and "\x00" not in verdict.reason


@pytest.mark.parametrize(("program", "body"), [
    ("def f(n):\n    for i in range(n): yield i", "list(f(3)) == [0, 1, 2]"),
    ("def f(n): return map(int, range(n))", "set(f(3)) == {0, 1, 2}"),
    ("def f(n):\n    while True: yield n", "next(f(3)) == 3"),
    ("K = {'a': (1, 2)}\nf = abs", "K == {'a': (1, 2)} and f(-1) == 1"),
])  # fmt: skip
def test_iterators_and_constants_reach_the_tests(judge, program, body):
    names = "f, K" if "K" in body else "f"
    answer = {"test": f"from solution import {names}\ndef test_a():\n    x = 0\n    assert {body}\n"}
    assert judge(program, answer).status == "correct", judge(program, answer)
    assert judge("def f(n): return iter([7])\nK = 1", answer).score == 0.0


BANK = ("class Empty(Exception): pass\nclass Bank:\n    rate = 0.5\n    @staticmethod\n    def twice(x): return 2 * x\n"
        "    def take(self, n):\n        raise Empty(f'no {n}')\n")  # fmt: skip


@pytest.mark.parametrize("body", [
    "with pytest.raises(Empty, match='no 3'): Bank().take(3)", "x = 4\n    assert Bank.twice(x) == 8",
    "x = 0.5\n    assert Bank.rate == x",
])  # fmt: skip
def test_classes_and_exceptions_of_the_program_reach_its_tests(judge, body):
    answer = {"test": f"import pytest\nfrom solution import Bank, Empty\ndef test_a():\n    {body}\n"}
    assert judge(BANK, answer).status == "correct", judge(BANK, answer)
    broken = BANK.replace("raise Empty", "raise KeyError").replace("2 * x", "3 * x").replace("= 0.5", "= 0.25")
    assert judge(broken, answer).score == 0.0


def test_an_iterator_is_not_the_list_of_what_it_gives(judge):
    answer = {"test": "from solution import f\ndef test_a():\n    x = f(2)\n    assert x == [0, 1]\n"}
    assert judge("def f(n): return list(range(n))", answer).status == "correct"
    assert judge("def f(n): return iter(list(range(n)))", answer).status == "wrong"


def test_threads_of_the_tests_ask_one_after_the_other(judge):
    test = ("import threading\nfrom solution import add\ndef test_a():\n    out = {}\n"
            "    def work(i): out[i] = add(i, i)\n"
            "    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]\n"
            "    for each in threads: each.start()\n    for each in threads: each.join()\n"
            "    assert out == {i: 2 * i for i in range(8)}\n")  # fmt: skip
    assert judge(RIGHT, {"test": test}).status == "correct" and judge(WRONG, {"test": test}).status == "wrong"


def test_parameters_of_a_class_reach_its_tests(judge):
    test = ("import pytest\nfrom solution import add\n@pytest.mark.parametrize('a, b', [(1, 2), pytest.param(3, 4)])\n"
            "class TestAdd:\n    def test_a(self, a, b):\n        assert add(a, 1) == b\n")  # fmt: skip
    assert judge(RIGHT, {"test": test}).status == "correct" and judge(WRONG, {"test": test}).status == "wrong"
