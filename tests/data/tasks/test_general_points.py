"""Hands are solvable, demonstrations prove themselves, the rules part where a face card is, splits share no hand."""

import random
import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lab_data.problem import DataError
from r1lab_data.tasks import generate
from r1lab_data.tasks.general_points import DECK, FACES, general_points, values_of, ways
from r1lab_verifiers import Item, resolve

VALUES = {"ten": dict.fromkeys("JQK", 10), "ranks": {"J": 11, "Q": 12, "K": 13}}
RULE_TEXTS = {"ten": "J Q K = 10 10 10", "ranks": "J Q K = 11 12 13"}
SIZES = [(2, None), (3, 24), (3, None), (4, 24)]


def exact(expression):
    return eval(re.sub(r"(\d+)", r"Fraction(\1)", expression), {"Fraction": Fraction})


def by_hand(prompt):
    """(cards, values, target), read off the text once more."""
    rule, target, cards = re.fullmatch(r"J Q K = (\d\d \d\d \d\d)\. Make (\d+) of all of (.+)\.", prompt).groups()
    faces = dict(zip("JQK", map(int, rule.split())))
    return cards.split(), [faces.get(card) or int(card.replace("A", "1")) for card in cards.split()], int(target)


def hands(size=40, split="train", **given):
    return generate("general_points", size=size, seed=0, split=split, source="s", settings=given)


@settings(max_examples=40)
@given(st.integers(), st.sampled_from(SIZES), st.sampled_from(["ten", "ranks"]), st.sampled_from([None, 0, 1]))
def test_a_hand_says_its_rule_and_its_demonstration_makes_the_target_of_every_card_once(seed, size, rule, face_share):
    cards, target = size
    drawn = general_points(random.Random(seed), cards=cards, target=target, rule=rule, face_share=face_share)
    held, values, asked = by_hand(drawn["prompt"])
    assert RULE_TEXTS[rule] in drawn["prompt"] and values == [
        VALUES[rule].get(c) or int(c.replace("A", "1")) for c in held
    ]
    assert drawn["answer"] == {"numbers": values, "target": asked} and asked == (target or asked) <= 100
    numbers, steps, expression = re.fullmatch(r"([\d ]+)\. (.+)\. Answer: (.+)", drawn["solution"]).groups()
    assert [int(number) for number in numbers.split()] == values
    assert sorted(map(int, re.findall(r"\d+", expression))) == sorted(values) and exact(expression) == asked
    for step in steps.split(", "):
        work, result = step.split("=")
        assert exact(work) == int(result) > 0
    has_face = bool({"J", "Q", "K"} & set(held))
    assert has_face == drawn["meta"]["face"] and face_share in (None, has_face)


@pytest.mark.parametrize("rule", ["ten", "ranks"])
@pytest.mark.parametrize(("cards", "target"), SIZES)
def test_every_demonstration_is_judged_correct_by_the_tasks_verifier(cards, target, rule):
    for problem in hands(cards=cards, target=target, rule=rule):
        verdict = resolve(problem.verifier).build().verify(Item(problem.solution, problem.answer))
        assert verdict.score == 1.0, (problem.prompt, problem.solution, verdict)


def test_the_same_cards_count_otherwise_under_the_other_rule_where_a_face_card_is_held_and_only_there():
    for index in range(200):
        hand = random.Random(index).sample(DECK, 4)
        assert (values_of(hand, "ten") != values_of(hand, "ranks")) == any(card in FACES for card in hand)
    assert values_of(["A", "10", "J", "Q", "K"], "ten") == [1, 10, 10, 10, 10]
    assert values_of(["A", "10", "J", "Q", "K"], "ranks") == [1, 10, 11, 12, 13]


@pytest.mark.parametrize("told", ["ten", "ranks"])
def test_a_solution_by_the_other_rule_is_wrong(told):
    other = {"ten": "ranks", "ranks": "ten"}[told]
    judge = resolve("countdown").build()
    for problem in hands(20, cards=3, target=None, rule=told, face_share=1.0):
        held = by_hand(problem.prompt)[0]
        misread = {"numbers": values_of(held, other), "target": problem.answer["target"]}
        verdict = judge.verify(Item(judge.witness(misread), problem.answer))
        assert verdict.score == 0.0 and "too often" in verdict.reason


def test_hands_of_one_split_are_in_it_under_both_rules_and_in_every_order():
    def keys(split, rule):
        return {
            (tuple(sorted(by_hand(p.prompt)[0])), by_hand(p.prompt)[2]) for p in hands(50, split, cards=3, rule=rule)
        }

    train, held_out = keys("train", "ten") | keys("train", "ranks"), keys("eval", "ten") | keys("eval", "ranks")
    assert train and held_out and not train & held_out


def test_ways_are_all_there_are_over_whole_numbers_above_0():
    assert {expression for expression, _ in ways((3, 8, 1), 24)} == {
        "(8*3)*1", "(8*3)/1", "8*(3*1)", "8*(3/1)", "(8*1)*3", "(8/1)*3",
    }  # fmt: skip
    assert ways((3, 3, 8, 8), 24) == ()  # 8/(3-8/3) alone, which is not whole on the way
    assert ways((1, 1), 24) == ()


def test_the_share_of_face_cards_is_the_one_asked_for():
    for share in (0, 0.25, 1):
        held = [problem.meta["face"] for problem in hands(200, cards=3, target=None, face_share=share)]
        assert sum(held) / 200 == pytest.approx(share, abs=0.1)  # standard error at most 0.031


@pytest.mark.parametrize(("given", "says"), [
    ({"cards": 5}, "cards is 5; give a whole number from 2 to 4"), ({"cards": True}, "cards is True"),
    ({"target": 0}, "target is 0; give a whole number from 1 to 1000"), ({"target": "24"}, "target is '24'"),
    ({"rule": "rank"}, "rule is 'rank'; give one of ten, ranks; did you mean 'ranks'?"),
    ({"rule": ["ten"]}, "rule is ['ten']"), ({"face_share": 2}, "face_share is 2; give a number from 0 to 1"),
    ({"faces": 1.0}, "unknown setting 'faces'; allowed: cards, target, rule, face_share"),
    ({"cards": 2, "target": 1000}, "hardly 2 cards make 1000 so; take another target or more cards"),
])  # fmt: skip
def test_settings_that_make_no_hand_are_refused_in_one_line(given, says):
    with pytest.raises(DataError) as error:
        hands(1, **given)
    assert says in str(error.value) and "\n" not in str(error.value)
