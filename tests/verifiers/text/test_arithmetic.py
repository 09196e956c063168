import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1lab_verifiers.text.arithmetic import ArithmeticFault, evaluate, plain_operators

EXPRESSION = st.recursive(
    st.integers(0, 99).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda parts: f"({' '.join(parts)})"),
    max_leaves=12,
)


@given(EXPRESSION)
def test_values_are_those_of_python_on_fractions(text):
    try:
        expected = eval(re.sub(r"[0-9]+", r"Fraction(\g<0>)", text))
    except ZeroDivisionError:
        with pytest.raises(ArithmeticFault, match="zero"):
            evaluate(text)
    else:
        assert evaluate(text) == (expected, [int(number) for number in re.findall(r"[0-9]+", text)])


def test_precedence_signs_and_printed_operators():
    assert evaluate("2 + 3 * 4 - 6 / 4") == (Fraction(25, 2), [2, 3, 4, 6, 4])
    assert evaluate("8 - 3 - 2")[0] == 3 and evaluate("8 / 4 / 2")[0] == 1 and evaluate("-3 + -(2)")[0] == -5
    assert evaluate(plain_operators("2 \u00d7 3 \u00f7 1 \u2212 1 \\times 2 \\cdot 1 \\div 1"))[0] == 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "1 2",
        "1 +",
        "(1",
        "1)",
        "()",
        "2**3",
        "2//3",
        "2^3",
        "1.5",
        "1,000",
        "1e3",
        "x",
        "5!",
        "\u0663",
        "\uff13",
        "1 / 0",
        "__import__('os')",
        "(" * 5000,
        "-" * 5000 + "1",
        "1+" * 5000 + "1",
        "9" * 5000,
    ],
)
def test_what_is_not_arithmetic_is_a_fault(text):
    with pytest.raises(ArithmeticFault):
        evaluate(text)
