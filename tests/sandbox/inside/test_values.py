import json
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from pathlib import PurePosixPath
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lab_sandbox.inside import values as plain

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
keys = st.integers() | st.text() | st.tuples(st.integers(), st.text())
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(keys, inner) | st.sets(keys),
    max_leaves=20,
)


def across(value):
    return plain.decode(plain.tree(plain.dumps(value)))


@settings(max_examples=100)
@given(values)
def test_a_plain_value_comes_out_as_it_went_in(value):
    found = across(value)
    assert found == value and type(found) is type(value)


RARE = (1 << 100, -(1 << 64), float("inf"), -0.0, 1 + 2j, Decimal("1.50"), Fraction(1, 3), range(3, 9, 2),
        frozenset({1}), deque([1]), bytearray(b"x"), {(1, 2): {"a"}})  # fmt: skip


@pytest.mark.parametrize("value", RARE, ids=repr)
def test_what_json_lacks_crosses_too(value):
    assert across(value) == value and type(across(value)) is type(value)


def test_numbers_and_arrays_of_numpy_are_those_of_python():
    assert across(np.float64(0.5)) == 0.5 and across(np.arange(3)) == [0, 1, 2] and across(np.bool_(True)) is True


def test_relatives_of_dict_are_dicts():
    for value in (Counter("aab"), OrderedDict(a=1), defaultdict(int, b=2)):
        assert across(value) == dict(value) and type(across(value)) is dict


class Equal(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


class Record(namedtuple("Record", "x y")):
    def __iter__(self):
        return iter((7, 7))


class Colour(StrEnum):
    RED = "r"


@pytest.mark.parametrize(("value", "data"), [
    (Equal(1), 1), ([Equal(1)], [1]), (Record(1, 2), (1, 2)), (Colour.RED, "r"),
    (type("D", (dict,), {})(a=1), {"a": 1}),
])  # fmt: skip
def test_an_object_of_a_subclass_of_a_builtin_is_its_data(value, data):
    assert across(value) == data and type(across(value)) is type(data)


@pytest.mark.parametrize("value", [
    date(2020, 1, 2), datetime(2020, 1, 2, 3, tzinfo=UTC), time(3, 4), timedelta(1, 2, 3), PurePosixPath("/a"),
    UUID(int=5),
], ids=repr)  # fmt: skip
def test_values_of_the_standard_library_cross(value):
    assert across(value) == value and type(across(value)) is type(value)


@pytest.mark.parametrize("value", [object(), len, int, lambda: 1, iter([]), {"a": {1: object()}}])
def test_what_has_code_of_its_own_does_not_cross(value):
    with pytest.raises(plain.NotPlain):
        plain.dumps(value)


def test_depth_and_size_are_bounded(monkeypatch):
    deep = wide = []
    for _ in range(200):
        deep = [deep]
    for _ in range(60):
        wide = [wide, wide]
    monkeypatch.setattr(plain, "MAX_NODES", 10_000)
    for value in (deep, wide, list(range(10_001))):
        with pytest.raises(plain.NotPlain, match="too large or nested too deep"):
            plain.dumps(value)


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"int": 5}', '{"int": "zz"}', '{"set": [[1]]}', '{"dict": [1]}',
                                  '{"unknown": 1}', '{"a": 1, "b": 2}', '{"decimal": "x"}', '{"fraction": ["1", "0"]}',
                                  '{"bytes": "zz"}', '{"range": ["1", "2", "0"]}', "[" * 5000])  # fmt: skip
def test_hostile_text_is_refused_and_nothing_else_is_raised(text):
    with pytest.raises(plain.NotPlain):
        plain.decode(plain.tree(text))


def test_decoding_is_bounded_in_depth():
    node: object = 1
    for _ in range(plain.MAX_DEPTH + 2):
        node = [node]
    with pytest.raises(plain.NotPlain, match="nested too deep"):
        plain.decode(plain.tree(json.dumps(node)))


def test_text_is_bounded_in_depth_and_fractions_in_digits():
    with pytest.raises(plain.NotPlain, match="nested too deep"):
        plain.tree("[" * 900 + "]" * 900)
    with pytest.raises(plain.NotPlain, match="no fraction"):
        plain.decode({"fraction": ["0x" + "7" * 5000, "0x" + "9" * 5001]})
    nested: object = 1
    for _ in range(plain.MAX_DEPTH):
        nested = {0: nested}
    assert across(nested) == nested
