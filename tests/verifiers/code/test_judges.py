import ast

import pytest

from r1lab_verifiers.code import judges
from r1lab_verifiers.code.plan import BadTests, read_tests

DECIDED = [
    "assert close(area(2),12)", "assert not far(area(2),12)", "assert close(area(2),12)==1",
    "assert close(area(2),12) is True", "assert all(close(area(i),12) for i in [1,2])",
    "assert close(area(2),12) and True", "ok = check(area(2), 12)\nassert ok", "assert_equal(area(2), 12)",
    "r=[]\nfor i in (1,2):\n    r.append(close(area(i),12))\nassert all(r)", "x=area(2)\nassert close(x,12)",
    "x=area(2)\ny=x\nok=close(y,12)\nassert ok is not False", "if not close(area(2),12):\n    raise AssertionError",
    "assert (lambda v: close(v,12))(area(2))", "assert all(map(lambda i: close(area(i), 12), [1,2]))",
    "assert all(map(close, map(area,[1,2]),[12,12]))",
    "with raises(ValueError):\n    area(-1)\nassert True is not False",
    "def same(i): return close(area(i),12)\nassert same(2)", "assert close(area(2),12) != False",
    "assert [i for i in (1,2) if not close(area(i),12)] == []", "assert close(a=area(2), b=12)",
    "assert bool(close(area(2),12))", "assert {True: 1}[close(area(2),12)]", "assert Checker().close(area(2),12)",
    "c=Checker()\nassert c.close(area(2),12)", "assert (ok := close(area(2), 12))", "assert 1 == close(area(2),12)",
    "assert close(area(2),12) in (True,)", "assert len([1 for i in (1,2) if close(area(i),12)]) == 2",
]  # fmt: skip
"""Tests that `close`, `check` and the like decide, which the program would define."""
COMPARED = [
    "assert decode(encode('abc')) == 'abc'", "x=encode('a')\nassert decode(x)=='a'",
    "assert math.isclose(area(2)[0],12.5)", "assert np.allclose(f(2),[1,2])", "assert sorted(f(g(2))) == [1,2]",
    "assert is_prime(7)", "t=build([1,2])\ninsert(t,3)\nassert inorder(t)==[1,2,3]",
    "s=Stack()\ns.push(f(1))\nassert s.pop()==2", "assert f(2) and g(3)", "assert f(2)", "assert set(f(1))=={2}",
    "assert len(f(g(1)))==3", "assert sum(f(i) for i in (1,2))==7",
    "y=decode(encode('q'))\nassert y\nassert y == 'q'", "assert f(f(2))", "assert isinstance(f(g(2)), int)",
    "a=Vec(1,2)\nb=Vec(3,4)\nassert a.dot(b)==11", "assert gcd(lcm(2,3),4)==2", "d=parse('x')\nassert d['k']==3",
    "assert abs(f(g(2)) - 3) < 1e-6", "assert f(g(2)) < 5", "assert 'a' in f(g(1))", "h=build([1,2])\nassert h.v==1",
    "try:\n    f(-1)\nexcept ValueError:\n    pass\nelse:\n    assert False",
    "q=Queue()\nq.put(1)\nassert q.get()==1", "assert datetime.date(2020,1,2) == when()",
]  # fmt: skip
"""Tests that compare, or leave a method of a class to the program."""


@pytest.mark.parametrize("test", DECIDED)
def test_a_test_that_the_program_decides_is_refused(test):
    with pytest.raises(BadTests, match=r"decided by|asserts nothing"):
        read_tests({"test_list": [test]})


@pytest.mark.parametrize("test", COMPARED)
def test_what_the_tests_compare_themselves_is_theirs(test):
    assert read_tests({"test_list": [test]}).num_tests == 1


@pytest.mark.parametrize("test", [
    "from solution import area, close\ndef test_a():\n    assert close(area(2),12)",
    "import solution\ndef test_a():\n    assert solution.close(solution.area(2),12)",
    "import solution as s\ndef test_a():\n    x=s.area(2)\n    assert s.close(x,12)",
    "from solution import area, assert_equal\ndef test_a():\n    assert_equal(area(2),12)",
    "import unittest\nfrom solution import area, close\n"
     "class T(unittest.TestCase):\n    def test_a(self):\n        self.assertTrue(close(area(2),12))",
    "import unittest\nfrom solution import area, close\n"
     "class T(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(close(area(2),12), True)",
    "from solution import *\ndef test_a():\n    assert close(area(2),12)",
    "from main import area, close\ndef test_a():\n    assert close(area(2),12)",
    "from solution import area as a, close as c\ndef test_a():\n    assert c(a(2),12)",
])  # fmt: skip
def test_in_the_style_of_pytest_it_is_refused_as_well(test):
    with pytest.raises(BadTests, match="decided by"):
        read_tests({"test": test})


def test_other_tests_of_a_module_stay():
    head = "from solution import area, close\n"
    tests = "def test_a():\n    assert close(area(2), 12)\ndef test_b():\n    x = area(3)\n    assert x == 28\n"
    made = read_tests({"test": head + tests})
    assert (made.num_tests, made.extra["tests"]) == (1, ["test_b"])


def test_a_function_that_the_tests_bring_along_is_no_judge_of_the_programs():
    text = "def close(a, b): return abs(a - b) < 1\nassert close(area(2), 12)"
    assert (
        judges.judge(ast.parse(text), {"area"}) is None and judges.judge(ast.parse(text), {"area", "close"}) == "close"
    )
    assert read_tests({"test_list": ["assert close(area(2), 12)"], "setup": text.splitlines()[0]}).num_tests == 1
    made = read_tests({"test_list": ["assert all(math.isclose(area(i), 12) for i in (1, 2))"]})
    assert made.extra["modules_read"] == {"math": "math"}
