import pytest

from r1lab_verifiers import Item, resolve
from r1lab_verifiers.math.verifier import Math

MATH = resolve("math").build()
PLAIN = r"What is $3\cdot 4$? (A) 7 (B) 12 (C) $\frac12$ (D) 34"
TEX = r"Find it. $\textbf{(A)}\ 7\qquad\textbf{(B)}\ 12\qquad\textbf{(C)}\ \frac12$"
COLUMNS = (
    {"options": ["7", "12", "1/2"]},
    {"choices": {"A": "7", "B": "12", "C": "1/2"}},
    {"choices": {"label": ["A", "B", "C"], "text": ["7", "12", "1/2"]}},
)
PLACES = [(PLAIN, {}), (TEX, {}), *(("Which?", meta) for meta in COLUMNS)]
RIGHT = [("B", "12"), ("B", "B"), ("C", "0.5"), ("12", "(B)"), ("B", r"\text{(B) }12"), ("(B)", r"\frac{24}{2}")]
WRONG = [("B", "7"), ("A", "12"), ("12", "(A)"), ("B", r"\text{(B) }7"), ("B", "34"), ("B", r"\text{(A) }12")]


@pytest.mark.parametrize("prompt, meta", PLACES)
def test_a_letter_and_its_option_agree_and_no_other_does(prompt, meta):
    for pairs, score in ((RIGHT, 1), (WRONG, 0)):
        for gold, answer in pairs:
            item = Item(rf"\boxed{{{answer}}}", gold, prompt=prompt, meta=meta)
            assert MATH.verify(item).score == score, (gold, answer)


def test_chat_prompts_are_read_too_and_without_options_a_letter_is_a_letter():
    chat = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": PLAIN})
    assert MATH.verify(Item(r"\boxed{12}", "B", prompt=chat)).score == 1
    assert MATH.verify(Item(r"\boxed{12}", "B", prompt="What is it? (A) only")).score == 0


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


@pytest.mark.parametrize("answer, is_doubtful", [("MR=SRMC", True), ("east", False), ("5", False)])
def test_words_that_hold_mathematics_are_doubted(answer, is_doubtful):
    assert (Math().doubt(answer) is not None) == is_doubtful
