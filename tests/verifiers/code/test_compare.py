import math
import time

import pytest

from r1lab_sandbox.inside import values
from r1lab_verifiers.code import compare
from r1lab_verifiers.code.compare import Rule
from r1lab_verifiers.code.lift import Close

STRICT, JSON, CLOSE, LOOSE = Rule(), Rule(is_json=True), Rule(float_tol=1e-6), Rule(unordered=True)


def same(value, want, rule=STRICT):
    return compare.assertion_holds(values.tree(values.dumps(value)), compare.EQUAL, want, rule)


@pytest.mark.parametrize("value", [0, 1.5, "a", None, True, [1, [2]], (1, 2), {1, 2}, {"a": [1]}, b"x", 1 << 100, 2j])
def test_a_value_is_the_same_as_itself(value):
    assert same(value, value) and compare.assertion_holds(values.tree(values.dumps(value)), compare.EQUAL, value, JSON)


@pytest.mark.parametrize(("value", "want"), [
    (1, 2), ("1", 1), ([1], (1,)), ((1,), [1]), ([1, 2], [2, 1]), ({1}, [1]), ({"a": 1}, {"a": 2}),
    ({"a": 1}, {"b": 1}),
    (None, False), (b"7", "7"), ([], None), ([[]], []), (float("nan"), float("nan")), ({1: 2, 3: 4}, {1: 2}), ("", []),
])  # fmt: skip
def test_another_value_is_not(value, want):
    assert not same(value, want)


def test_numbers_are_equal_across_types_as_in_python():
    assert same(1, 1.0) and same(True, 1) and same(2, 2 + 0j) and not same(0.1 + 0.2, 0.3)


def test_a_tolerance_holds_for_floats_only_and_at_every_depth():
    assert same([{"x": 0.1 + 0.2}], [{"x": 0.3}], CLOSE) and same(1_000_000.4, 1_000_000.0, CLOSE)
    assert not same(0.301, 0.3, CLOSE) and not same(1_000_001, 1_000_000, CLOSE) and not same("0.3", 0.3, CLOSE)


def test_a_whole_number_is_met_by_no_other_one_whatever_the_tolerance():
    near = Rule(float_tol=1e-6, is_json=True)
    assert not same(1000000500.0, 1000000000, near) and not same(1000000000.5, 1000000000, near)
    assert (
        not same(float("inf"), 10**332, near) and not same(float("inf"), 1e300, near) and not same(10**400, 1.0, near)
    )
    assert same(2.0000000001, 2, near) and same(2, 2.0, near) and same(2.0000001, 2.0, near)


def test_an_array_passes_for_a_list_where_the_expected_value_came_out_of_json_alone():
    node = {"ndarray": [1, [2]]}
    assert compare.assertion_holds(node, compare.EQUAL, [1, [2]], JSON)
    for how, want in ((compare.EQUAL, [1, [2]]), (compare.DIFFERENT, [3]), (compare.TRUE, None), (compare.FALSE, None)):
        assert not compare.assertion_holds(node, how, want, STRICT)


def test_what_came_out_of_json_lacks_tuples_and_keys_that_are_numbers():
    assert same((1, (2,)), [1, [2]], JSON) and same({1: 2}, {"1": 2}, JSON)
    assert not same({1: 2, "1": 2}, {"1": 2}, JSON)


def test_an_unordered_list_is_a_multiset():
    assert same([3, 1, 1], [1, 3, 1], LOOSE) and not same([3, 3, 1], [1, 3, 1], LOOSE)
    assert not same([[1, 2]], [[2, 1]], LOOSE)


def test_truth_and_identity_are_those_of_the_value():
    def holds(value, how, want=None):
        return compare.assertion_holds(values.tree(values.dumps(value)), how, want, STRICT)

    assert (
        holds([0], compare.TRUE) and holds("", compare.FALSE) and holds({}, compare.FALSE) and holds((), compare.FALSE)
    )
    assert holds(None, compare.IS, None) and not holds(1, compare.IS, True) and holds(0, compare.IS_NOT, None)
    assert holds(2, compare.DIFFERENT, 3) and not holds(2, compare.DIFFERENT, 2)
    assert holds(1.0005, compare.CLOSE, Close(1.0, absolute=0.001)) and not holds("1", compare.CLOSE, Close(1.0, 1.0))


@pytest.mark.parametrize(
    "node", [{"set": [[1]]}, {"zz": 1}, {"int": 3}, {"dict": [[1]]}, {"a": 1, "b": 2}, {"float": "x"}]
)
def test_a_malformed_value_is_nothing(node):
    for how, want in ((compare.EQUAL, 1), (compare.EQUAL, {1}), (compare.EQUAL, {1: 1}), (compare.CLOSE, Close(1.0))):
        assert not compare.assertion_holds(node, how, want, STRICT)


def test_a_set_of_another_size_is_never_hashed():
    huge = {"set": [{"tuple": list(range(3000))}] * 5}
    assert not compare.assertion_holds(huge, compare.EQUAL, {1}, STRICT)
    assert not compare.assertion_holds({"set": [{"tuple": list(range(3000))}]}, compare.EQUAL, {1}, STRICT)


@pytest.mark.parametrize(("printed", "expected", "rule", "is_same"), [
    (b"7\n", "7", STRICT, True), (b"1  2 \r\n\n", "1 2\n", STRICT, True), (b"1 2", "1\n2", STRICT, False),
    (b"7\n8", "7", STRICT, False), (b"", "", STRICT, True), (b"1.0", "1", STRICT, False),
    (b"1.0", "1", Rule(is_decimal=True), True), (b"0.3000000001", "0.3", CLOSE, True), (b"0.31", "0.3", CLOSE, False),
    (b"2\n1", "1\n2", LOOSE, True), (b"\xff", "7", STRICT, False), (b"1_0", "10", CLOSE, False),
    (b"nan", "nan", CLOSE, True), (b"Yes", "yes", STRICT, False), (b"1000001", "1000000", CLOSE, False),
    (b"100000000000000001", "100000000000000000", Rule(is_decimal=True), False), (b"1e0", "1", CLOSE, True),
    (b"1000000500.0", "1000000000", CLOSE, False), (b"1.0000005e9", "1000000000", CLOSE, False),
    (b"1000000000.5", "1000000000", CLOSE, False), (b"100000.05", "100000", CLOSE, False), (b"3", "2", CLOSE, False),
    (b"2.0000000001", "2", CLOSE, True), (b"1.9999999999998", "2", CLOSE, True), (b"2.0", "2", CLOSE, True),
    (b"123456789012.0001", "123456789012", CLOSE, True), (b"inf", "1e400", CLOSE, False),
    (b"inf", "9" * 332, CLOSE, False),
    (b"9e999", "1e400", CLOSE, False), (b"1.0000000001e400", "1e400", CLOSE, True), (b"-inf", "-1e309", CLOSE, False),
    ("\u0667".encode(), "7", CLOSE, False), ("\uff17".encode(), "7", Rule(is_decimal=True), False),
    (b"sNaN", "1", Rule(is_decimal=True), False), (b"1e999999", "1", CLOSE, False), (b"007", "7", CLOSE, True),
])  # fmt: skip
def test_printed_text_is_compared_by_lines_and_tokens(printed, expected, rule, is_same):
    assert compare.same_text(printed, expected, rule) == is_same


def test_a_large_multiset_is_compared_in_time():
    numbers, pairs = list(range(20_000)), [[number, str(number)] for number in range(20_000)]
    start = time.process_time()
    for items in (numbers, pairs):
        assert same(items[::-1], items, LOOSE) and not same([*items[:0:-1], "x"], items, LOOSE)
    assert time.process_time() - start < 5.0
    near = Rule(unordered=True, float_tol=1e-6, is_json=True)
    floats = [math.sin(number) * 1000 for number in range(1500)]
    pairs = [[number % 20 + math.sin(number) * 1e-9, number / 7] for number in range(1500)]
    for items in (floats, pairs):
        assert same(
            items[::-1], [[a + 1e-9, b] for a, b in items] if items is pairs else [a + 1e-9 for a in items], near
        )
        assert not same([*items[:0:-1], items[1]], items, near)
    assert time.process_time() - start < 10.0
    assert same([{"a": 1}, [2], 0.1 + 0.2], [0.3, [2], {"a": 1}], Rule(unordered=True, float_tol=1e-9))
