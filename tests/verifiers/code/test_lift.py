import pytest

from r1lab_verifiers.code import compare, lift
from r1lab_verifiers.code.lift import Close, LiftedCall, NotLifted


def one(text: str) -> LiftedCall:
    (call,) = lift.lift_statements([text]).calls
    return call


@pytest.mark.parametrize(("text", "expected"), [
    ("assert f(1, [2]) == {'a': (1,)}", LiftedCall(0, "f", [1, [2]], {}, compare.EQUAL, {"a": (1,)})),
    ("assert 3 == f(-1)", LiftedCall(0, "f", [-1], {}, compare.EQUAL, 3)),
    ("assert f(k=2) != 3, 'why'", LiftedCall(0, "f", [], {"k": 2}, compare.DIFFERENT, 3)),
    ("assert f()", LiftedCall(0, "f", [], {}, compare.TRUE)),
    ("assert not f()", LiftedCall(0, "f", [], {}, compare.FALSE)),
    ("assert f() is None", LiftedCall(0, "f", [], {}, compare.IS, None)),
    ("assert abs(f(1) - 0.5) < 1e-3", LiftedCall(0, "f", [1], {}, compare.CLOSE, Close(0.5, 1e-3, is_strict=True))),
    ("assert math.isclose(f(1), 2, rel_tol=0.1)", LiftedCall(0, "f", [1], {}, compare.CLOSE, Close(2, 0.0, 0.1))),
    ("assert Solution().run(3) == 4", LiftedCall(0, "run", [3], {}, compare.EQUAL, 4)),
    ("assert f(float('inf')) == float('-inf')", LiftedCall(0, "f", [float("inf")], {}, compare.EQUAL, float("-inf"))),
    ("assert f({1, 2}) == {1}", LiftedCall(0, "f", [{1, 2}], {}, compare.EQUAL, {1})),
])  # fmt: skip
def test_an_assertion_about_one_call_becomes_that_call(text, expected):
    assert one(text) == expected


@pytest.mark.parametrize("text", [
    "x = 1", "assert f(x) == 1", "assert f(g(1)) == 1", "assert set(f(1)) == {1}", "assert f(1) == f(2)",
    "assert f(1) < 3", "assert f(*[1]) == 1", "assert f(**{}) == 1", "assert f(1)[0] == 2", "assert f(1) == [x]",
    "assert 1 < f(1) < 3", "assert f(1) in (1, 2)", "assert f(1) and f(2)", "assert sorted(f(1)) == [1]", "",
    "with raises(ValueError): f(1)", "assert f(1) is 7", "assert lambda: 1",
])  # fmt: skip
def test_anything_else_is_left_to_the_jail_of_tests(text):
    with pytest.raises(NotLifted):
        lift.lift_statements(["assert f(1) == 1", text])


def test_a_built_ins_name_is_the_programs_own_where_all_tests_call_it():
    assert [call.name for call in lift.lift_statements(["assert sum(1, 2) == 3", "assert sum(2, 2) == 4"]).calls] == [
        "sum"
    ] * 2
    with pytest.raises(NotLifted):
        lift.lift_statements(["assert sum([f(1)]) == 3", "assert f(2) == 4"])


def test_a_check_function_calls_the_entry_under_its_parameters_name():
    tests = ("assert True, 'x'", "assert candidate(1) == 2", "assert f(2) == 3")
    source = "METADATA = {}\ndef check(candidate):\n    " + "\n    ".join(tests) + "\n"
    lifted = lift.lift_check_function(source, "f")
    assert [(call.name, call.test) for call in lifted.calls] == [("f", 0), ("f", 1)] and lifted.num_tests == 2
    for other in ("def check(candidate):\n    for x in (1,):\n        assert candidate(x)\n", "x = 1\n" + source,
                  "def check(candidate):\n    pass\n"):  # fmt: skip
        with pytest.raises(NotLifted):
            lift.lift_check_function(other, "f")


def test_functions_of_pytest_are_tests_of_several_calls():
    source = """from solution import f as g
def test_a():
    assert g(1) == 1
    assert g(2) == 2
def test_b():
    assert not g(0)
"""
    lifted = lift.lift_test_functions(source)
    assert [(call.name, call.test) for call in lifted.calls] == [("f", 0), ("f", 0), ("f", 1)] and lifted.num_tests == 2
    assert lift.collected_names("class TestA:\n    def test_b(self): pass\ndef test_c(): pass\n") == [
        "TestA.test_b",
        "test_c",
    ]
