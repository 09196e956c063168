import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1lab_data.answers import FORMATS, accepted, text_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (145.0, "145"),
        (-3.0, "-3"),
        (0.1, "0.1"),
        (1e22, "1e+22"),
        (7, "7"),
        ("1,234", "1,234"),
        ("a\r\nb\r ", "a\nb\n "),
        (["2"], "2"),
        (True, "True"),
    ],
)
def test_a_cell_becomes_text_without_loss(value, text):
    assert text_of(value) == text


@pytest.mark.parametrize("value", [None, "", " \r\n", float("nan"), float("inf"), [], [None]])
def test_nothing_is_none(value):
    assert text_of(value) is None


@pytest.mark.parametrize("value", [["a", "b"], {"a": 1}, {}])
def test_a_list_of_several_and_a_mapping_are_no_text(value):
    with pytest.raises(TypeError):
        text_of(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_comes_back_from_its_text(value):
    assert float(text_of(value)) == value


@pytest.mark.parametrize(
    ("name", "text", "answer"),
    [
        ("hash", "48/2 = 24\n#### 1,072 ", "1,072"),
        ("hash", "#### 1\n#### 2", "2"),
        ("hash", "no mark", None),
        ("hash", "empty ####  ", None),
        ("boxed", r"so $\boxed{1} or \boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
        ("boxed", r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        ("boxed", r"\fbox{x} and \boxed{open", "x"),
        ("boxed", r"\boxed 5", None),
        ("number", "about -1,234.5 (m)", "-1,234.5"),
        ("number", "3/4 of it, then 5", "3/4"),
        ("number", "3, 4", "3"),
        ("number", "5:6", None),
        ("number", "none", None),
        ("unit", "9 (apples)", "9"),
        ("unit", "5:6", "5:6"),
        ("unit", "Mrs. Hilt", "Mrs. Hilt"),
        ("unit", "(apples)", None),
    ],
)
def test_each_format_finds_its_answer_or_nothing(name, text, answer):
    assert FORMATS[name](text) == answer


@given(st.text())
def test_no_format_fails_on_any_text(text):
    for read in FORMATS.values():
        assert read(text) is None or isinstance(read(text), str)


@pytest.mark.parametrize(("cell", "answer"), [
    (["70", "71"], {"any": ["70", "71"]}), ((70, 71.0), {"any": ["70", "71"]}), (["70", 70], "70"),
    (["70", None], "70"),
    ('["70", "71"]', {"any": ["70", "71"]}), ("['a', 'b']", {"any": ["a", "b"]}), ("[0, 1)", "[0, 1)"), ("70", "70"),
    ("[1, [2]]", "[1, [2]]"), ("[x, y]", "[x, y]"), ([], None), ([None, " "], None), (None, None), ("", None),
])  # fmt: skip
def test_several_accepted_answers_are_read_from_lists_and_lists_written_out(cell, answer):
    assert accepted(cell) == answer
