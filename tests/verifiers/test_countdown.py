import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lab_verifiers import Item, resolve
from r1lab_verifiers.text.arithmetic import evaluate

PUZZLE = {"numbers": [55, 36, 7, 19], "target": 65}  # 55 + 36 - 7 - 19


def verdict(completion, puzzle=PUZZLE, **settings):
    return resolve({"use": "countdown", **settings}).build().verify(Item(completion, puzzle))


@pytest.mark.parametrize(
    "text",
    [
        "<think>1+1</think> <answer>55 + 36 - 7 - 19</answer>",
        "<answer>(36 - 7) + (55 - 19) = 65</answer>",
        "So 55 + 36 - 7 - 19 = 65.",
        r"\boxed{55 + 36 - 7 - 19}",
        r"<answer>$55 + 36 - 7 - 19$</answer>",
        "<answer> \\(55+36\u22127-19\\). </answer>",
        "First 1 + 1 = 2.\nThen 55+36-7-19, with 4 numbers",
    ],
)
def test_any_solution_scores_1(text):
    assert verdict(text).status == "correct"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "65",
        "<answer>65</answer>",
        "<answer>65 = 65</answer>",
        "<answer>55 + 36 = 65</answer>",
        "<answer>55+36-7-19 = 65 = 65</answer>",
        "<answer>55+36-7-19+0</answer>",
        "<answer>55+36-7-19+7-7</answer>",
        "<answer>55+36-7-19 = 66</answer>",
        "<answer>5536-719</answer>",
        "<answer>65 = 55+36-7-19</answer>",
        "<answer>55+36-7-19 or 55</answer>",
        "<answer>55**36*0+65</answer>",
        "<think>55+36-7-19",
        "<answer>55+36-7-19</answer><answer>1</answer>",
        "<answer>55/(36-36)</answer>",
        "<answer>\uff15\uff15+36-7-19</answer>",
        "<answer>55+36-7-19 # comment</answer>",
        "<answer>" + "(" * 9000 + "</answer>",
        "(-" * 200_000,
    ],
)
def test_what_does_not_solve_it_scores_0(text):
    assert verdict(text).score == 0.0


def test_numbers_may_be_left_out_by_setting_but_never_used_twice():
    puzzle = {"numbers": [3, 4, 100], "target": 12}
    assert verdict("<answer>3 * 4</answer>", puzzle).score == 0.0
    assert verdict("<answer>3 * 4</answer>", puzzle, use_all=False).score == 1.0
    assert verdict("<answer>3 + 3 + 3 + 3</answer>", puzzle, use_all=False).score == 0.0
    assert verdict("<answer>7 * 7</answer>", {"numbers": [7, 7], "target": 49}).score == 1.0


def test_behind_a_marker_stands_one_expression():
    assert verdict("Answer: 1\nAnswer: 55+36-7-19\n1+1", after="Answer:").score == 1.0
    assert verdict("55+36-7-19", after="Answer:").status == "no_answer"


@pytest.mark.parametrize(
    "gold", ["65", {"numbers": [1]}, {"numbers": ["x"], "target": 1}, {"numbers": [1], "target": "x"}]
)
def test_a_gold_that_is_no_puzzle_is_our_error(gold):
    assert verdict("1", gold).status == "error"


@settings(max_examples=40)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=4), st.data())
def test_every_solvable_puzzle_proves_itself(numbers, data):
    text = str(numbers[0]) + "".join(data.draw(st.sampled_from("+-*")) + str(number) for number in numbers[1:])
    puzzle = {"numbers": data.draw(st.permutations(numbers)), "target": int(evaluate(text)[0])}
    for spec in ("countdown", {"use": "countdown", "after": "Answer:"}):
        live = resolve(spec).build()
        assert live.verify(Item(live.witness(puzzle), puzzle)).score == 1.0


@pytest.mark.parametrize(("text", "score"), [
    (r"(3+5)*3 = 24, so \boxed{24}", 1), (r"$(3+5)\times 3 = 24$. It is $\boxed{24}$.", 1),
    (r"\boxed{(3+5)*3 = 24}", 1),
    (r"\boxed{24}", 0), (r"(3+5)*3 = 24, so \boxed{25}", 0), (r"5*5-1 = 24 \boxed{24}", 0), ("<answer>24</answer>", 0),
])  # fmt: skip
def test_a_box_of_the_target_alone_leaves_the_expression_before_it(text, score):
    live = resolve("countdown").build()
    assert live.verify(Item(text, {"numbers": [3, 5, 3], "target": 24})).score == score


@pytest.mark.parametrize(
    "text",
    [
        "Answer: 10*2+4",  # a card left out
        "Answer: 10*2+4+10-10",  # a card used twice
        "10 2 10 4. Answer: 10+10+2*(4/2)",
        "Answer: 2*(10+(10-4)/3)",  # a card of another hand
        "Answer: 2*13-(10+4)/7",  # what a king counts under the other rule
        "Answer: 10*2+J-6",  # a card's name
        "Answer: 10*24/10",  # two cards joined
        "Answer: 10**2-10*4-36",
        "Answer: 10//10*24",
        "Answer: 10+10+4" + "*1" * 5000,
        "Answer: 10+" + "-" * 3000 + "10*2-4",
        "Answer: 9**9**9**9**9",
        "Answer: " + "9" * 40 + "*" + "9" * 40,
        "Answer: \u0661\u0660+\u0661\u0660+4",  # Arabic-Indic digits
        "Answer: 1_0+10*2-4",
        "Answer: 1e1+10*2-4",
        "Answer: sum([10,10,2,2])",
    ],
)
def test_what_cheats_with_a_hand_of_cards_scores_0(text):
    assert verdict(text, {"numbers": [2, 4, 10, 10], "target": 24}).score == 0.0


def test_a_hand_of_cards_is_solved_by_its_values_in_any_order_and_over_fractions():
    puzzle = {"numbers": [10, 4, 10, 4], "target": 24}
    assert verdict("10 4 10 4. 10*10=100, 100-4=96. Answer: (10*10-4)/4", puzzle).score == 1.0
    assert verdict("Answer: 8/(3-8/3)", {"numbers": [3, 3, 8, 8], "target": 24}).score == 1.0
