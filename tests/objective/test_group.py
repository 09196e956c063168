from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from r1lab.errors import RecipeError
from r1lab.objective.group import (
    All,
    CorrectOnly,
    Demonstrations,
    Drop,
    DropZeroVariance,
    Gfpo,
    Keep,
    Pairs,
    Pods,
    WithDemonstration,
)
from r1lab.objective.rules import GROUPS, build
from r1lab.records import Draw, Group, Request
from r1lab_data import Problem

PROBLEM = Problem("p", "1+1", "2", source="s")


class Make:
    """Says what it was asked for."""

    def request(self, draw, index, forced_ids=(), forced_role=()):
        return ("request", draw.number, index)

    def demonstration(self, draw, index):
        return ("demonstration", draw.number, index)


DRAW = Draw(4, None, 3)


def test_all_samples_a_group_and_keeps_it(make_group):
    group = make_group([1.0, 1.0])
    assert All().plan(DRAW, Make()) == [("request", 4, 0), ("request", 4, 1), ("request", 4, 2)]
    assert All().settle(group) == Keep(group)


def test_drop_zero_variance_drops_equal_rewards_alone(make_group):
    rule = DropZeroVariance()
    assert rule.settle(make_group([0.1, 0.1, 0.1])) == Drop("zero_variance")
    assert rule.settle(make_group([1.0])) == Drop("zero_variance")
    group = make_group([0.0, 1.0])
    assert rule.settle(group) == Keep(group)


def test_equal_scores_are_dropped_where_the_source_filters_by_accuracy(make_group):
    rule, _ = build({"select": "drop_zero_variance", "by": "score"})
    assert rule.settle(make_group([1.0, 0.7, 0.9], scores=[1.0] * 3)) == Drop("zero_variance")
    assert rule.settle(make_group([0.0, 0.1, 0.0], scores=[0.0] * 3)) == Drop("zero_variance")
    group = make_group([0.5, 0.5], scores=[1.0, 0.0])
    assert rule.settle(group) == Keep(group) and DropZeroVariance().settle(group) == Drop("zero_variance")


def test_speed_screens_a_problem_with_the_first_completions_of_its_group(make, answer):
    rule, _ = build({"select": "speed", "screen": 2}, 5)
    draw = Draw(3, PROBLEM, 5)
    plan = rule.plan(draw, make)
    assert [request.id.index for request in plan] == [0, 1]

    def screened(*rewards):
        return rule.settle(Group(draw, tuple(answer(item, reward) for item, reward in zip(plan, rewards))))

    assert screened(0.0, 0.0) == screened(1.0, 1.0) == screened(1.0) == Drop("zero_variance")
    further = screened(1.0, 0.0).requests
    assert [request.id.index for request in further] == [2, 3, 4]
    assert len({request.seed for request in [*plan, *further]}) == 5 and further[0].prompt_ids == plan[0].prompt_ids
    group = Group(draw, tuple(answer(item, 1.0) for item in further))  # the screen was lost to errors meanwhile
    assert rule.settle(group) == Keep(group)
    for screen in (1, 5, 2.0):
        with pytest.raises(RecipeError, match=r"^objective\.group\.screen: "):
            build({"select": "speed", "screen": screen}, 5)


def test_demonstrations_sample_nothing():
    assert not Demonstrations.samples and All.samples and DropZeroVariance.samples
    assert Demonstrations().plan(DRAW, Make()) == [("demonstration", 4, 0)]


def test_refill_says_how_often_a_steps_problems_may_be_drawn():
    assert build({}) == (All(), 1)
    assert build({"select": "drop_zero_variance", "refill": {"max_draws": 5}}) == (DropZeroVariance(), 5)
    assert build({"select": "all", "refill": {}})[1] == build({"refill": None})[1] == 1


@pytest.mark.parametrize("refill", [{"max_draws": 0}, {"max_draws": 1.5}, {"max_draws": True}, {"draws": 2}, [2], 3])
def test_a_refill_that_is_none_is_refused(refill):
    with pytest.raises(RecipeError, match=r"^objective\.group\.refill: .*whole number >= 1"):
        build({"refill": refill})


@pytest.mark.parametrize("select", [5, [1], {"a": 1}, None])
def test_a_rule_that_is_no_name_is_refused(select):
    with pytest.raises(RecipeError, match=r"^objective\.group\.select: "):
        build({"select": select})


def test_unknown_rules_and_settings_are_refused_with_the_nearest_name():
    with pytest.raises(RecipeError, match="did you mean 'drop_zero_variance'"):
        build({"select": "drop_zero_varience"})
    with pytest.raises(RecipeError, match=r"^objective\.group: .*unexpected keyword argument 'keep'"):
        build({"keep": 2})


def test_a_rule_of_ones_own_comes_by_dotted_path_with_its_settings(tmp_path, monkeypatch):
    (tmp_path / "own_rules.py").write_text(
        "from dataclasses import dataclass\nfrom r1lab.objective.group import All\n"
        "@dataclass(frozen=True)\nclass Best(All):\n    m: int = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    rule, _ = build({"select": "own_rules:Best", "m": 3})
    assert isinstance(rule, All) and rule.m == 3


def kept(rule, group):
    decision = rule.settle(group)
    return [member.rollout.request.id.index for member in decision.group.members]


def test_correct_only_keeps_what_is_right(make_group):
    assert kept(CorrectOnly(), make_group([0.7, 0.1, 1.1], scores=[1.0, 0.0, 1.0])) == [0, 2]
    assert CorrectOnly().settle(make_group([0.0, 1.0], scores=[0.0, 0.9])) == Drop("none_right")


@pytest.mark.parametrize("rewards, keep, chosen", [
    ([0.0, 1.0, 0.0, 1.0, 0.0], 2, [1, 4]),  # the first of the best, the last of the worst
    ([1.0, 0.0, 0.0, 0.0, 0.0], 4, [0, 1, 3, 4]),
    ([5.0, 1.0, 2.0, 3.0, -5.0, 0.0], 2, [0, 4]),
    ([0.3, 0.2], 4, [0, 1]),
])  # fmt: skip
def test_pods_keeps_the_subset_of_largest_variance(make_group, rewards, keep, chosen):
    assert kept(Pods(keep), make_group(rewards)) == chosen
    every = [np.var([rewards[i] for i in each]) for each in combinations(range(len(rewards)), min(keep, len(rewards)))]
    assert np.var([rewards[i] for i in chosen]) == pytest.approx(max(every))


def test_gfpo_keeps_the_shortest_or_the_most_paid_a_token(make_group):
    group = make_group([1.0, 0.0, 1.0, 1.0], lengths=[9, 2, 4, 6])
    assert kept(Gfpo(2), group) == [1, 2] and kept(Gfpo(2, "reward_per_token"), group) == [2, 3]


def test_pairs_are_the_best_and_the_worst(make_group):
    assert kept(Pairs(), make_group([0.5, 0.0, 1.0, 1.0])) == [1, 2]
    assert Pairs().settle(make_group([1.0, 1.0])) == Drop("zero_variance")


def test_greedy_draws_one_more_at_temperature_0_and_does_without_only_as_an_error(made, make, draw_group):
    objective = made(preset="remax")
    plan = objective.rule.plan(Draw(4, PROBLEM, 3), make)
    assert [request.sampling.temperature for request in plan] == [1.0, 1.0, 1.0, 0.0]
    group = draw_group(objective, [1.0, 0.0, 0.25])
    assert objective.rule.settle(group) == Keep(group)
    assert objective.rule.settle(replace(group, members=group.members[:3])) == Drop("error")
    assert objective.rule.settle(replace(group, members=group.members[3:])) == Drop("error")


def test_a_demonstration_stands_beside_the_samples_or_in_the_place_of_one(make):
    roles = [[item.id.index if isinstance(item, Request) else "demo" for item in rule.plan(Draw(4, PROBLEM, 3), make)]
             for rule in (WithDemonstration(), WithDemonstration(instead=True))]  # fmt: skip
    assert roles == [[0, 1, 2, "demo"], [0, 1, "demo"]]


@pytest.mark.parametrize("gate, rewards, chosen", [
    (0, [0.0, 0.0], [2]), (0, [1.0, 0.0], [0, 1]), (1, [1.0, 0.0], [2]), (-1, [0.0, 0.0], [0, 1]),
])  # fmt: skip
def test_the_gate_gives_the_demonstration_to_what_is_not_solved(draw_group, made, gate, rewards, chosen):
    objective = made(preset="hpt", group={"select": "gate", "gate": gate}, group_size=2)
    assert kept(objective.rule, draw_group(objective, rewards)) == chosen


@pytest.mark.parametrize("settings, says", [
    ({"select": "pods", "keep": 9}, r"^objective\.group\.keep: 9 must be a whole number from 2 to group_size 8"),
    ({"select": "gfpo", "keep": 1}, r"^objective\.group\.keep: 1 must be"),
    ({"select": "gfpo", "metric": "size"}, r"^objective\.group\.metric: 'size' must be length or reward_per_token"),
    ({"select": "drop_zero_variance", "by": "accuracy"}, r"^objective\.group\.by: 'accuracy' must be reward or score"),
    ({"select": "gate", "gate": 0.5}, r"^objective\.group\.gate: 0\.5 must be int"),
    ({"select": "hint", "draws": 0}, r"^objective\.group\.draws: 0 must be a whole number of at least 1"),
    ({"select": "one_prefix", "end": 0.99}, r"^objective\.group: start 0\.95 and end 0\.99 must be"),
    ({"select": "bisect", "tries": True}, r"^objective\.group\.tries: True must be int"),
])  # fmt: skip
def test_settings_that_a_rule_cannot_do_with_are_refused(settings, says):
    with pytest.raises(RecipeError, match=says):
        build(settings, group_size=8)


def test_every_built_in_rule_is_in_the_table_and_keeps_to_the_protocol():
    for rule in (each() for each in GROUPS.values()):
        assert isinstance(rule, All) and isinstance(rule.samples, bool) and rule.attempts >= 1
