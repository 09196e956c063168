"""Each rule by examples: what it makes of an answer, and what it leaves alone."""

import pytest

from r1lab.audit.metamorphic import DOLLARS, OTHER, SAME, variants

MADE = [
    ("spaces", "x=5", " x = 5 "),
    ("spaces", "1e+5", " 1e+5 "),
    ("spaces", "not=a formula", " not=a formula "),
    ("LaTeX fraction", "-3/4", r"-\frac{3}{4}"),
    ("plain fraction", r"-\dfrac{3}{4}", "-3/4"),
    ("dfrac and frac", r"\frac12+\frac{1}{x}", r"\dfrac12+\dfrac{1}{x}"),
    ("dfrac and frac", r"\tfrac{1}{x}", r"\frac{1}{x}"),
    ("separators added", "-1234567.5", "-1,234,567.5"),
    ("separators removed", "1,234,567", "1234567"),
    ("set reordered", r"\{1, (2,3), x\}", r"\{x, (2,3), 1\}"),
    ("set reordered", r"\left\{1,2\right\}", r"\left\{2, 1\right\}"),
    ("left and right", "[0, 1)", r"\left[0, 1\right)"),
    ("left and right", r"\left( \frac{1}{2}, 3 \right)", r"( \frac{1}{2}, 3 )"),
    ("first integer + 1", "12,345", "13,345"),
    ("first integer + 3", r"x_1 = \sqrt{7}", r"x_1 = \sqrt{10}"),
    ("first integer + 1", r"\log_{2} 8", r"\log_{2} 9"),
    ("other sign", "-5", "5"),
    ("other sign", r"\frac{3}{4}", r"-\frac{3}{4}"),
    ("another letter", "(C)", "(B)"),
    ("another letter", "A", "B"),
]


@pytest.mark.parametrize("rule, answer, made", MADE)
def test_a_rule_makes_this_of_that_answer(rule, answer, made):
    assert {**SAME, **OTHER}[rule](answer) == made


LEFT_ALONE = [
    ("LaTeX fraction", "1/2 cup"),
    ("LaTeX fraction", "1/2/3"),
    ("plain fraction", r"\frac{x}{2}"),
    ("separators added", "123"),
    ("separators added", "0123"),
    ("separators removed", "1,23"),
    ("separators removed", "1, 234"),
    ("set reordered", r"\{x \mid x > 1, x < 3\}"),
    ("set reordered", r"\{1, 2, \ldots\}"),
    ("set reordered", r"\{1,000, 2\}"),
    ("set reordered", r"\{5\}"),
    ("left and right", "(x+1)(x-1)"),
    ("left and right", "(B)"),
    ("left and right", r"\left. x \right|_0"),
    ("first integer + 1", "x_2"),
    ("first integer + 1", "east"),
    ("other sign", "0.00"),
    ("other sign", "x-5"),
    ("other sign", "0/7"),
    ("another letter", "x"),
    ("another letter", "AB"),
]


@pytest.mark.parametrize("rule, answer", LEFT_ALONE)
def test_a_rule_leaves_an_answer_alone_that_it_does_not_fit(rule, answer):
    made = {**SAME, **OTHER}[rule](answer)
    assert made is None or made == answer


def test_variants_are_those_that_differ_and_say_whether_they_are_the_answer():
    found = {(variant.rule, variant.text): variant.is_same for variant in variants("1/2")}
    assert found == {
        ("dollar signs", "$1/2$"): True,
        ("spaces", " 1/2 "): True,
        ("LaTeX fraction", r"\frac{1}{2}"): True,
        ("first integer + 1", "2/2"): False,
        ("first integer + 3", "4/2"): False,
        ("other sign", "-1/2"): False,
    }


def test_dollar_signs_go_around_mathematics_and_away_again():
    answers = [r"\frac{1}{2}", r"3 \text{ cm}", "$5$", "$x$ or $y$", "east", "10%", r"\boxed{5}"]
    made = {answer: [each.text for each in variants(answer) if each.rule == DOLLARS] for answer in answers}
    assert made == {
        r"\frac{1}{2}": [r"$\frac{1}{2}$"],
        r"3 \text{ cm}": [r"$3 \text{ cm}$"],
        "$5$": ["5"],
        "$x$ or $y$": [],
        "east": [],
        "10%": [],
        r"\boxed{5}": [],
    }


def test_rules_work_inside_dollar_signs():
    found = {variant.rule: variant.text for variant in variants("$1/2$")}
    assert found["LaTeX fraction"] == r"$\frac{1}{2}$" and found["other sign"] == "$-1/2$"


@pytest.mark.parametrize(
    "answer", ["", "(", "\\{", "\ud800", "9" * 5000, "=", "{" * 5000, "\\frac" * 1000, "a,b" * 2000]
)
def test_no_answer_breaks_a_rule(answer):
    list(variants(answer))
