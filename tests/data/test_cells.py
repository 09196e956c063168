import pytest

from r1lab_data.cells import Unusable, fields, reader, text
from r1lab_data.problem import DataError

ROW = {
    "Body": "Tom has 3.",
    "Q.A": "How many?",
    "{odd}": 1,
    "reward": {"truth": "4"},
    "none": None,
    "n": 2.0,
    "tests": ["a", "b"],
}


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ("Body", "Tom has 3."),
        ("Q.A", "How many?"),
        ("{odd}", 1),
        ("reward.truth", "4"),
        ("reward.other.deep", None),
        ("none", None),
        ("{Body} {Q.A}", "Tom has 3. How many?"),
        ("{Body}{none} {{n}}={n}", "Tom has 3. {n}=2"),
        ("{none}", None),
        ("{reward.truth}!", "4!"),
        ("tests.1", "b"),
        ("tests.2", None),
        ("tests.first", None),
        ("{Body} {tests.0}", "Tom has 3. a"),
    ],
)
def test_a_spec_reads_a_column_a_path_or_a_template(spec, value):
    assert reader(spec, ROW)(ROW) == value


def test_a_template_names_its_columns():
    assert fields("{Body} {{x}} {Q.A}", ROW) == ["Body", "Q.A"]


def test_a_broken_template_is_refused():
    with pytest.raises(DataError, match="a brace itself is written twice"):
        fields("{Body", ROW)


def test_a_text_that_no_tokenizer_could_encode_is_refused():
    with pytest.raises(Unusable, match="half a surrogate pair at character 1"):
        text("a\ud800", "a")
