"""An answer that puts the problem's own formula once more is none, unless the gold is written in the same way."""

import pytest

from r1lab_verifiers import Item, resolve

MATH = resolve("math").build()
LENIENT = resolve({"use": "math", "unevaluated": True}).build()


@pytest.mark.parametrize(("prompt", "gold", "echo"), [
    ("Factor $x^2-4$.", "(x-2)(x+2)", "x^2-4"), ("Factor $x^2-4$.", "(x-2)(x+2)", "$x^2 - 4$."),
    ("Expand \\[(x+1)^2.\\]", "x^2+2x+1", "(x+1)^2"), ("Simplify $\\sqrt{242}$.", "11\\sqrt2", "\\sqrt{242}"),
    ("Evaluate $(1+2i)6-3i$.", "6+9i", "(1+2i)6-3i"),
    ("Write $\\frac{3}{20}$ as a decimal.", "0.15", "\\frac{3}{20}"),
    ("Express $0.\\overline{6}$ as a common fraction.", "\\frac23", "0.\\overline{6}"),
    ("Simplify $\\frac{12}{16}$.", "\\frac34", "\\frac{12}{16}"),
    ("Compute $\\binom{31}{28}$.", "4495", "\\binom{31}{28}"),
    ("Find $y$ where $3x+4y=12$.", "y=3-\\frac34x", "3x+4y=12"),
    ("What is $x$ if $x = 2^3\\cdot 5$?", "40", "2^3\\cdot5"),
])  # fmt: skip
def test_the_problems_own_formula_is_no_answer(prompt, gold, echo):
    assert MATH.verify(Item(rf"\boxed{{{echo}}}", gold, prompt)).score == 0
    messages = ({"role": "user", "content": prompt},)
    assert MATH.verify(Item(f"The answer is ${echo.strip('$.')}$.", gold, messages)).score == 0
    assert MATH.verify(Item(rf"\boxed{{{gold}}}", gold, prompt)).score == 1
    assert LENIENT.verify(Item(rf"\boxed{{{echo}}}", gold, prompt)).score == 1


@pytest.mark.parametrize(("prompt", "gold", "answer"), [
    ("Which is a factor: $x-1$ or $x+2$?", "x+2", "x+2"), ("Which is it: $x-1$ or $x+2$?", "$x+2$", "x + 2"),
    ("Simplify $\\sqrt{58}$.", "\\sqrt{58}", "\\sqrt{58}"), ("With $n = 5$, how many?", "5.0", "n = 5"),
    ("A side is $5$ cm. Find the other.", "5\\text{ cm}", "5"), ("He eats $\\frac18$. How much?", "0.125", "\\frac18"),
    ("The area is $12\\sqrt3$.", "12\\sqrt3\\text{ cm}^2", "12\\sqrt3"),
    ("Let $f(x)=x^2$. Find $f$.", "f(x)=x^2", "x^2"),
    ("Simplify $2x+3x$.", "5x", "5x"), ("Factor $x^2-4$.", "(x-2)(x+2)", "(x+2)(x-2)"), ("", "(x-2)(x+2)", "x^2-4"),
    ("Find $x$ in $2x=10$.", "x=5", "5"), ("Is $x > 2$ right?", "x > 2", "x>2"),
])  # fmt: skip
def test_what_the_gold_is_too_is_an_answer(prompt, gold, answer):
    assert MATH.verify(Item(rf"\boxed{{{answer}}}", gold, prompt)).score == 1


def test_a_long_problem_is_looked_at_for_its_last_formulas():
    prompt = "$a+b$ " * 5000 + "Factor $x^2-4$."
    assert MATH.verify(Item(r"\boxed{x^2-4}", "(x-2)(x+2)", prompt)).score == 0
