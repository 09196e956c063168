"""Hard problems get more samples at the same total, by the shares solved so far."""

import json
import math

import pytest

from r1lab.errors import RecipeError
from r1lab.objective import build
from r1lab.objective.budget import Gvm
from r1lab.recipe import ObjectiveConfig
from r1lab.records import Draw, Group, Settled
from r1lab_data import Problem


def rule(**knobs) -> Gvm:
    return build(ObjectiveConfig(group={"select": "gvm", **knobs}), max_new_tokens=16, group_size=8).rule


def seen(made, make, answer, rewards):
    """The rule after groups of these rewards, a problem each."""
    for number, of_problem in enumerate(rewards):
        draw = Draw(number, Problem(f"p{number}", "1+1", "2", source="s"), len(of_problem))
        members = tuple(answer(make.request(draw, index), reward) for index, reward in enumerate(of_problem))
        made.observe([Settled(Group(draw, members), None, "kept")])
    return made


def test_samples_are_in_the_closed_forms_proportion_and_their_mean_is_the_group_size(make, answer):
    made = seen(rule(), make, answer, [[1.0] + [0.0] * 9, [1.0] * 2 + [0.0] * 8, [1.0] * 5 + [0.0] * 5, [1.0] * 10])
    weights = [1 / math.sqrt(p + 1e-3 / p) for p in (0.1, 0.2, 0.5, 1.0)]
    expected = [round(100 * weight / (sum(weights) / 4)) for weight in weights]
    assert [made.samples_of(f"p{number}", 100) for number in range(4)] == expected
    assert sum(expected) == pytest.approx(400, abs=2)


def test_a_new_problem_has_the_mean_an_unsolved_one_a_single_try_and_none_more_than_twice_the_mean(make, answer):
    made = seen(rule(), make, answer, [[0.0] * 8, [1.0] * 8, [1.0] * 8, [1.0] * 8, [1.0] + [0.0] * 15])
    assert made.samples_of("unseen", 8) == 8 and made.samples_of("p0", 8) == 1 and made.samples_of("p4", 8) == 16
    draw = Draw(9, Problem("p4", "1+1", "2", source="s"), 8)
    requests = made.plan(draw, make)
    assert len({request.id for request in requests}) == 16


def test_what_it_remembers_is_plain_and_comes_back(make, answer):
    made = seen(rule(), make, answer, [[1.0, 0.0], [0.0, 0.0]])
    made = seen(made, make, answer, [[1.0, 1.0]])
    other = rule()
    other.load_state_dict(json.loads(json.dumps(made.state_dict())))
    assert other.state_dict() == made.state_dict() == {"seen": {"p0": [3, 4], "p1": [0, 2]}}
    assert rule().state_dict() == {"seen": {}}, "what one rule remembers no other does"


@pytest.mark.parametrize("knobs", [{"alpha": 0.0}, {"alpha": -1.0}, {"beta": 0.5}])
def test_its_settings_have_bounds(knobs):
    with pytest.raises(RecipeError, match=r"^objective\.group: alpha .* must be above 0 and beta .* at least 1"):
        rule(**knobs)
