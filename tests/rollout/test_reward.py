import math

import pytest

from r1lab.errors import RecipeError
from r1lab.rollout.reward import Reward, language, length, repetition, soft_overlong
from r1lab_verifiers.verdict import STATUSES, UNSCORED, Verdict

RIGHT, WRONG = Verdict(1.0, "correct"), Verdict(0.0, "wrong")


@pytest.fixture
def of(make_rollout):
    """A rollout of so many tokens."""
    return lambda size, **fields: make_rollout((3,), tuple(range(5, 5 + size)), **fields)


def reward(truncated="score", **settings):
    return Reward(settings, max_new_tokens=100, truncated=truncated)


def paid(settings, rollout, verdict, verdicts=None, truncated="score"):
    scored = reward(truncated, **settings).scored(rollout, {"score": verdict, **(verdicts or {})})
    return scored.reward, scored.parts


def test_length_is_free_up_to_its_target_then_falls_to_minus_1(of):
    assert [length(of(n), target=20, max_new_tokens=100) for n in (1, 20, 30, 100)] == [0, 0, -0.1, -0.8]
    assert length(of(100), max_new_tokens=100) == -1


def test_soft_overlong_falls_linearly_over_the_buffer(of):
    # DAPO eq. 13 with L_max = 100 and a cache of 40
    values = [soft_overlong(of(n), buffer=40, max_new_tokens=100) for n in (1, 60, 70, 100)]
    assert values == [0, 0, -0.25, -1]


def test_repetition_is_the_share_of_n_grams_seen_before(make_rollout):
    # 1 2 1 2 1: bigrams 12 21 12 21, two of four are repeats
    assert repetition(make_rollout((3,), (1, 2, 1, 2, 1)), n=2) == -0.5
    assert repetition(make_rollout((3,), (1, 2, 3)), n=4) == 0.0
    assert repetition(make_rollout((3,), (1,) * 5), n=1) == -0.8


def test_language_is_the_share_of_letters_in_words_of_its_script(make_rollout):
    said = [make_rollout((3,), (4,), text=text) for text in ("the sum is 5", "4+8=12", "die \u0441\u0443\u043c is", "")]
    # of the third 5 of 8 letters are Latin
    assert [language(each) for each in said] == [1.0, 1.0, 0.625, 1.0]
    assert language(said[2], of="ru") == 0.375
    with pytest.raises(RecipeError, match=r"reward.language.of: 'xx' is not known; use one of en, de"):
        reward(score=1, language={"of": "xx"})
    assert reward(score=1, language=0.5).scored(said[2], {"score": RIGHT}).parts == {"score": 1.0, "language": 0.3125}


def test_the_score_is_weighted(of):
    assert paid({"score": 1.0}, of(3), RIGHT) == (1.0, {"score": 1.0})
    assert paid({"score": 2.5}, of(3), Verdict(0.5, "partial")) == (1.25, {"score": 1.25})
    assert paid({"score": -1}, of(3), WRONG)[0] == 0.0


def test_each_status_may_have_a_price_of_its_own(of):
    prices = {"score": {"weight": 2.0, "wrong": -50, "no_answer": -60}}
    for verdict, price in ((RIGHT, 2), (WRONG, -50), (Verdict(0.0, "no_answer"), -60), (Verdict(0.5, "partial"), 1)):
        assert paid(prices, of(3), verdict)[0] == price
    assert paid({"score": {"correct": 7}}, of(3), RIGHT)[0] == 7


def test_what_is_undecided_may_leave_its_group_and_nothing_else_may(of):
    undecided = Verdict(0.0, "undecided")
    assert paid({"score": {"undecided": "drop"}}, of(3), undecided) == (None, {})
    assert paid({"score": {"undecided": "drop"}}, of(3), RIGHT)[0] == 1.0
    assert paid({"score": 1.0}, of(3), undecided)[0] == 0.0
    for status in ("timeout", "wrong", "correct"):
        with pytest.raises(RecipeError, match="must be a number"):
            reward(score={status: "drop"})


def test_parts_are_recorded_as_paid_and_sum_to_the_reward(of):
    settings = {"score": 1.0, "format": 0.25, "length": 0.5, "soft_overlong": {"buffer": 50, "weight": 2}}
    total, parts = paid(settings, of(75), RIGHT, {"format": RIGHT})
    assert parts == {"score": 1.0, "format": 0.25, "length": 0.5 * -0.75, "soft_overlong": 2 * -0.5}
    assert total == sum(parts.values())


def test_a_part_that_is_an_error_makes_the_reward_none(of):
    error = Verdict(None, "error")
    assert paid({"score": 1.0}, of(3), error) == (None, {})
    assert paid({"score": 1.0, "format": 1.0}, of(3), RIGHT, {"format": error}) == (None, {})


@pytest.mark.parametrize("truncated, price", [("score", 1.0), ("zero", -3.0), ("mask", 1.0)])
def test_a_completion_cut_at_the_limit_is_paid_as_the_recipe_says(of, truncated, price):
    prices = {"score": {"wrong": -3}}
    scored = reward(truncated, **prices).scored(of(3, finish="length"), {"score": RIGHT})
    assert scored.reward == price and scored.verdict is RIGHT
    assert paid(prices, of(3), RIGHT, truncated=truncated)[0] == 1.0


def test_a_demonstration_is_paid_what_score_1_is_paid(of):
    scored = reward(score={"correct": 5}, length=1.0).demonstration(of(3))
    assert (scored.reward, scored.parts, scored.verdict) == (5, {"score": 5}, None)


def test_other_names_are_verifiers_run_in_the_pool_each_with_its_settings(of):
    made = reward(score=1, format=0.5, strict={"use": "regex", "pattern": "x", "weight": 2, "wrong": -1})
    assert list(made.uses) == ["score", "format", "strict"]
    assert [use.key for use in made.uses.values()] == ["", *made.table] and "format" in made.table
    verdicts = {"score": WRONG, "format": RIGHT, "strict": RIGHT}
    assert made.scored(of(3), verdicts).parts == {"score": 0, "format": 0.5, "strict": 2}
    assert made.scored(of(3), {**verdicts, "strict": WRONG}).parts["strict"] == -1


def test_the_second_opinion_is_asked_and_not_paid(of):
    made = Reward({"score": 1.0}, max_new_tokens=9, second={"use": "exact", "share": 1.0})
    scored = made.scored(of(3), {"score": RIGHT, "second_verifier": WRONG})
    assert (scored.reward, scored.parts, scored.second) == (1.0, {"score": 1.0}, WRONG)
    with pytest.raises(RecipeError, match="is the second opinion, which is not paid"):
        reward(score=1, second_verifier=1.0)


@pytest.mark.parametrize("settings, says", [
    ({}, "reward: {} has no part `score`, .*; add score: 1.0"),
    ({"format": 1.0}, "has no part `score`"),
    ({"score": "one"}, "reward.score: 'one' must be a number"),
    ({"score": True}, "reward.score: True must be a number"),
    ({"score": math.nan}, "reward.score: nan must be a number"),
    ({"score": {"wrong": math.inf}}, "reward.score.wrong: inf must be a number"),
    ({"score": {"wrng": 1}}, "reward.score: unknown key 'wrng'; allowed: weight, correct"),
    ({"score": {"error": 1}}, "reward.score: unknown key 'error'"),
    ({"score": 1, "format": {"weight": "x"}}, "reward.format.weight: 'x' must be a number"),
    ({"score": 1, "format": {"error": 0}}, "reward.format: unknown key 'error'"),
    ({"score": 1, "lenght": 1}, "verifier: .*lenght"),
    ({"score": 1, "length": {"targt": 3}}, "reward.length: unknown setting 'targt'; allowed: target"),
    ({"score": 1, "length": {"target": "x"}}, "reward.length.target: 'x' must be a whole number"),
    ({"score": 1, "length": {"target": -1}}, "reward.length.target: -1 must be at least 0"),
    ({"score": 1, "soft_overlong": {"buffer": 0}}, "reward.soft_overlong.buffer: 0 must be at least 1"),
    ({"score": 1, "repetition": {"n": 0}}, "reward.repetition.n: 0 must be at least 1"),
])  # fmt: skip
def test_what_is_wrong_is_one_line_with_the_part(settings, says):
    with pytest.raises(RecipeError, match=says) as error:
        reward(**settings)
    assert "\n" not in str(error.value)


def test_every_status_but_error_can_have_a_price():
    assert reward(score={status: 1.0 for status in STATUSES if status not in UNSCORED})


def test_who_abstains_on_the_score_leaves_the_group_and_as_a_part_pays_nothing(of):
    abstained = Verdict(None, "abstained")
    assert paid({"score": 1.0}, of(3), abstained) == (None, {})
    assert paid({"score": {"correct": 7}}, of(3), abstained) == (None, {})
    parts = {"score": 1.0, "format": 0.5}
    assert paid(parts, of(3), RIGHT, {"format": abstained}) == (1.0, {"score": 1.0, "format": 0.0})
    assert paid(parts | {"format": {"wrong": -1}}, of(3), WRONG, {"format": abstained})[0] == 0.0
    assert paid(parts, of(3), abstained, {"format": RIGHT})[0] is None
    assert paid(parts, of(3), RIGHT, {"format": Verdict(None, "error")})[0] is None
    assert reward(**parts).scored(of(3), {"score": abstained, "format": RIGHT}).failed is None


def test_an_abstention_has_no_price():
    with pytest.raises(RecipeError, match=r"reward.score: unknown key 'abstained'"):
        reward(score={"abstained": 0})
