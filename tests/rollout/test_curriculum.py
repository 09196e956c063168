"""What was observed decides what is drawn, and nothing else does."""

import json
import math
import random
from dataclasses import replace

import pytest

from r1lab.errors import RecipeError
from r1lab.records import Draw, Group, Scored, Settled
from r1lab.rollout import curriculum
from r1lab.rollout.sampler import Sampler
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

SIZE, GROUP, PROMPTS = 240, 8, 16
CHANCE = {f"p{i}": (0.0, 1.0, 0.5)[i % 3] for i in range(SIZE)}
BANK = {"bank": [Problem(name, "q", "a", source="bank") for name in CHANCE]}


def settled(draw, scores):
    members = tuple(
        Scored(None, Verdict(float(score), "correct" if score else "wrong"), float(score)) for score in scores
    )
    return Settled(Group(draw, members), None, "any")


def sampler(spec, seed=0):
    return Sampler(BANK, [1], seed, curriculum.build(spec))


def step(made, number):
    """A step of Bernoulli problems, observed; the share of its groups with signal."""
    chance = random.Random(number)
    block = [
        settled(draw, [chance.random() < CHANCE[draw.problem.id] for _ in range(GROUP)])
        for draw in made.draw(0, PROMPTS, GROUP)
    ]
    made.observe(block)
    return sum(0 < sum(m.reward for m in each.drawn.members) < GROUP for each in block) / PROMPTS


def share_with_signal(spec, steps=120):
    made = sampler(spec)
    shares = [step(made, number) for number in range(steps)]
    return sum(shares[steps // 2 :]) / (steps - steps // 2)


def test_on_a_bank_a_third_never_a_third_always_and_a_third_sometimes_solved():
    uniform = share_with_signal("uniform")
    assert uniform == pytest.approx(0.33, abs=0.03)
    assert share_with_signal("no_positive_resampling") == pytest.approx(0.5, abs=0.05), "the never solved ones stay"
    assert share_with_signal("greso") > uniform + 0.25
    assert share_with_signal("pools") > uniform + 0.25 and share_with_signal("mopps") > uniform + 0.4


ARMS = {kind: [p for p in BANK["bank"] if CHANCE[p.id] == chance] for kind, chance in (("0", 0), ("1", 1), ("h", 0.5))}


def arms_sampler(spec, seed=0):
    return Sampler(ARMS, [1, 1, 1], seed, curriculum.build(spec, PROMPTS))


@pytest.mark.parametrize("use", ["sec", "dump"])
def test_kinds_that_teach_are_drawn_more_than_those_that_do_not(use):
    made = arms_sampler({"use": use, "by": "kind"})
    problems = {kind: [replace(p, meta={"kind": kind}) for p in of_kind] for kind, of_kind in ARMS.items()}
    made.sources = list(problems.values())
    shares = [step(made, number) for number in range(60)]
    assert shares[0] < 0.5 and sum(shares[30:]) / 30 > 0.8


def test_sec_moves_a_kinds_value_to_the_mean_of_what_its_group_taught():
    made = arms_sampler({"use": "sec", "rate": 0.25, "temperature": 0.5, "by": "kind"})
    problem = replace(BANK["bank"][0], meta={"kind": "a"})
    draw = Draw(0, problem, 4)
    made.curriculum.observe([settled(draw, [1, 0, 0, 0])])  # |A| = 0.75, 0.25, 0.25, 0.25 over a std of sqrt(3) / 4
    assert made.curriculum.values == {"a": pytest.approx(0.25 * 1.5 / 3**0.5)}
    made.curriculum.observe([settled(draw, [1, 1, 1, 1])])
    assert made.curriculum.values == {"a": pytest.approx(0.75 * 0.25 * 1.5 / 3**0.5)}


def test_dump_adds_a_bonus_to_kinds_that_were_drawn_little():
    dump = curriculum.build({"use": "dump", "window": 4})
    assert dump.value("a") == dump.value("b") == 0
    dump.learn("a", [1.0, 0.0, 0.0, 0.0, 0.0])  # of the last 4 the mean is 0
    assert dump.value("a") == pytest.approx((2 * math.log(6) / 6) ** 0.5)
    assert dump.value("b") == pytest.approx((2 * math.log(6)) ** 0.5)


def test_mopps_forgets_so_that_a_problem_that_is_learned_leaves_the_middle():
    mopps = curriculum.build({"use": "mopps", "keep": 0.5, "pool": 4})
    draw = Draw(0, BANK["bank"][0], 4)
    for scores in ([1, 0, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]):
        mopps.observe([settled(draw, scores)])
    assert mopps.solved == {draw.problem.id: (0.5 * (0.5 * 2 + 4) + 4, 0.5 * 0.5 * 2)}


def test_of_a_pool_those_nearest_a_half_come_first_and_none_twice():
    made = sampler({"use": "mopps", "pool": 30})
    for number in range(60):
        step(made, number)
    drawn = made.draw(0, 30, GROUP)
    assert len({draw.problem.id for draw in drawn}) == 30
    first, last = ([CHANCE[draw.problem.id] == 0.5 for draw in part] for part in (drawn[:8], drawn[-8:]))
    assert sum(first) > 5 > 2 > sum(last)


@pytest.mark.parametrize("spec", [
    "no_positive_resampling", {"use": "greso", "delta": 0.2}, "pools", "mopps", "sec", "dump",
])  # fmt: skip
def test_draws_are_pure_and_resume_where_they_were(spec):
    sampler = arms_sampler if spec in ("sec", "dump") else globals()["sampler"]
    made = sampler(spec)
    for number in range(40):
        step(made, number)
    drawn = made.draw(0, 50, GROUP)
    assert made.draw(0, 50, GROUP) == drawn and made.draw(20, 30, GROUP) == drawn[20:]
    again = sampler(spec)
    again.load_state_dict(json.loads(json.dumps(made.state_dict())))
    assert again.draw(0, 50, GROUP) == drawn and again.state_dict() == made.state_dict()
    assert [draw.problem for draw in sampler(spec, seed=1).draw(0, 50, GROUP)] != [draw.problem for draw in drawn]
    assert len({draw.number for draw in drawn}) == 50


def test_a_solved_problem_is_passed_over_until_nothing_else_is_left():
    made = sampler({"use": "no_positive_resampling", "rate": 0.5})
    first, *rest = made.draw(0, SIZE, 2)
    made.observe([settled(first, [1, 0])])
    assert first.problem not in [draw.problem for draw in made.draw(0, 3 * SIZE, 2)]
    made.observe([settled(draw, [1, 1]) for draw in rest])
    (draw,) = made.draw(0, 1, 2)
    assert draw.number >= 2 * SIZE, "with every problem solved one is drawn all the same"
    made.observe([settled(draw, [0, 0])])
    assert {each.problem.id for each in made.draw(0, 5, 2)} == {draw.problem.id}, "what fails again counts again"


def test_what_could_not_be_judged_says_nothing():
    made = sampler("no_positive_resampling")
    (draw,) = made.draw(0, 1, 2)
    error = Scored(None, Verdict(None, "error", reason="x"), None)
    made.observe([Settled(Group(draw, (error, error)), None, "error")])
    assert made.curriculum.state_dict() == {"solved": []}


def test_greso_moves_its_chances_towards_the_targets_and_keeps_them_chances():
    made = sampler({"use": "greso", "easy": 0.1, "hard": 0.1, "delta": 0.3})
    draws = made.draw(0, 4, 2)
    for _ in range(5):
        made.observe([settled(draw, [1, 1]) for draw in draws])
    assert made.curriculum.explore == {"easy": 0.0, "hard": 1.0}
    assert all(kind == "easy" and length == 5 for kind, length in made.curriculum.streaks.values())
    made.observe([settled(draws[0], [1, 0])])
    assert draws[0].problem.id not in made.curriculum.streaks


@pytest.mark.parametrize("spec, says", [
    ("unifrom", "curriculum: 'unifrom' .*did you mean 'uniform'"), (3, "curriculum: 3 must be a name"),
    ({"use": "greso", "eazy": 0.1}, "curriculum: unknown setting 'eazy'; allowed: easy, hard, delta"),
    ({"use": "no_positive_resampling", "rate": 1.5}, r"curriculum.rate: 1.5 must lie in \(0, 1\]"),
    ({"use": "greso", "delta": 0}, r"curriculum.delta: 0 must lie in \(0, 1\]"),
    ("random:Random", "is no curriculum"),
    ({"use": "pools", "easy": 0.2, "hard": 0.5}, "curriculum: hard 0.5 and easy 0.2 must be 0 <= hard < easy <= 1"),
    ({"use": "pools", "easy_share": 0.0}, r"curriculum.easy_share: 0.0 must lie in"),
    ({"use": "mopps", "pool": 1}, "curriculum.pool: 1 must be at least 2"),
    ({"use": "mopps", "keep": 0.0}, "curriculum.keep"),
    ({"use": "sec", "temperature": 0.0}, "curriculum.temperature: 0.0 must be above 0"),
    ({"use": "dump", "window": 0}, "curriculum.window: 0 must be at least 1"),
    ({"use": "sec", "rate": 2.0}, "curriculum.rate"),
])  # fmt: skip
def test_a_wrong_curriculum_is_one_line(spec, says):
    with pytest.raises(RecipeError, match=says):
        curriculum.build(spec)


def test_kinds_have_to_be_there():
    with pytest.raises(RecipeError, match="curriculum: by 'source' all problems are of one kind, 'bank'; give several"):
        curriculum.build("sec").check(BANK)
    with pytest.raises(RecipeError, match=r"curriculum\.by: problem 'p0' has no column 'level'; its columns: none"):
        curriculum.build({"use": "dump", "by": "level"}).check(BANK)
    assert curriculum.build("mopps").check(BANK) is None is curriculum.build("sec").check({"to come": []})
