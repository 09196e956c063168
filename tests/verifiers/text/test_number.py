from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1lab_verifiers.text.number import last_numbers, read_only, simplify

SAME = {
    "1234.5": [
        "1,234.5",
        "$1,234.50",
        r"\$1{,}234.5",
        r"1\,234.5",
        "1.2345e3",
        "2469/2",
        "**1234.5**",
        "x = 1234.5",
        "$1234.5$.",
    ],
    "-5": ["-5.0", "\u22125", "-$5", "$-5", "-10/2", r"\(-5\)", r"\boxed{-5}", "-5 apples", "-5%"],
    "3/2": ["1.5", "1 1/2", r"1\frac{1}{2}", r"\frac{3}{2}", r"\dfrac32", r"1.5\text{ cm}^2", "1.5 m/s^2", "+1.5"],
}


@pytest.mark.parametrize(("value", "text"), [(value, text) for value, texts in SAME.items() for text in texts])
def test_forms_of_one_number_read_alike(value, text):
    assert read_only(text).value == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "five",
        "5 or 6",
        "5, 6",
        "5 6",
        "5 = 5",
        "3=4=5",
        "2^5",
        "2**5",
        "5x",
        r"5\pi",
        "5\u03c0",
        r"\sqrt{5}",
        "5\u00b2",
        "\uff15",
        "\u0665",
        "5\u0665",
        "1,23",
        "1.2.3",
        "5 million",
        "5 + 0",
        "5!",
        "inf",
        "nan",
        "(5",
        "5 and a half",
        "0x5",
    ],
)
def test_what_is_not_one_number_is_none(text):
    assert read_only(text) is None


@pytest.mark.parametrize("text", ["1e999999999", "1e-401", "9" * 401, "1/0", "1e" + "9" * 4000])
def test_monsters_are_refused_at_once(text):
    assert read_only(text).value is None


@given(st.fractions())
def test_every_fraction_reads_as_itself(value):
    assert read_only(str(value)).value == value


@given(st.integers(), st.integers(0, 6))
def test_thousands_separators_and_zeros_change_nothing(value, zeros):
    assert read_only(f"{value:,}" + ("." + "0" * zeros if zeros else "")).value == value


@given(st.text(alphabet="0123456789.,/-+eE$% ^\\{}()frac=or", max_size=60))
def test_any_text_is_read_without_raising(text):
    for reading in last_numbers(simplify(text), 10**6):
        assert reading.value is None or isinstance(reading.value, Fraction)
    read_only(text)


@pytest.mark.parametrize("unit", ["9", "1,", "1 ", "-", "1/", "e1", r"\frac{1", "{", ".", r"\text{", "$", "1e"])
def test_reading_is_linear(unit):
    text = unit * (100_000 // len(unit))
    last_numbers(simplify(text), 10**6)
    read_only(text)
