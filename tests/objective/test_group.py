import pytest

from r1lab.errors import RecipeError
from r1lab.objective.group import All, Demonstrations, Drop, DropZeroVariance, Keep
from r1lab.objective.rules import build
from r1lab.records import Draw


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
