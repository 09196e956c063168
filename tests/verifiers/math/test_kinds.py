import pytest

from r1lab_verifiers.math.verifier import Math

KINDS = {
    "number": ["5", "-0.5", "1,234", "$7$"],
    "fraction": ["1/2", r"-\frac{3}{4}"],
    "expression": ["x^2+1", r"2\sqrt{3}", r"\pi"],
    "tuple": ["(1, 2)", "(1, 2, 3)"],
    "interval": ["[0, 1)", r"(-\infty, 3]"],
    "set": [r"\{1, 2\}", r"(0, 1) \cup (2, 3)"],
    "list": ["1, 2"],
    "equation": ["y = 2x"],
    "inequality": ["x < 3"],
    "matrix": [r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"],
    "percent": [r"10\%"],
    "quantity": ["5 cm"],
    "ratio": ["3:2:1"],
    "text": ["east", "no solution"],
    "unreadable": ["", " "],
}


@pytest.mark.parametrize("kind, answer", [(kind, answer) for kind, answers in KINDS.items() for answer in answers])
def test_a_gold_is_of_this_kind(kind, answer):
    assert Math().describe(answer) == kind


def test_an_answer_that_is_no_text_is_unreadable():
    assert Math().describe({"target": 5}) == "unreadable"
