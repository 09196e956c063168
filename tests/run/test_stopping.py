import pytest

from r1lab.errors import RecipeError
from r1lab.run.ledger import Ledger
from r1lab.run.stopping import Stopping


@pytest.fixture
def stopping(make_stage):
    """Stopping of a stage of 10 problems a step, each of which costs at most 20 tokens."""

    def make(steps=None, longest=20.0, **settings):
        return Stopping(make_stage(prompts_per_step=10, steps=steps, **settings), steps, longest)

    return make


def spent(tokens=0, flops=0):
    ledger = Ledger()
    ledger.tokens["sampled"], ledger.flops["update"] = tokens, flops
    return ledger


def test_steps_end_a_stage(stopping):
    assert [stopping(3).num_prompts(step, spent()) for step in (1, 3, 4)] == [10, 10, 0]
    assert stopping(None).num_prompts(10**6, spent()) == 10


def test_the_first_step_is_planned_at_the_longest_cost(stopping):
    assert stopping(stop={"max_tokens": 200}).num_prompts(1, spent()) == 10
    assert stopping(stop={"max_tokens": 199}).num_prompts(1, spent()) == 9  # 199 / 20
    assert stopping(stop={"max_tokens": 19}).num_prompts(1, spent()) == 0


def test_what_the_budget_does_not_pay_for_in_full_is_one_last_smaller_step(stopping):
    stage = stopping(stop={"max_tokens": 200})
    stage.spent(10, tokens=120, flops=0)  # 12 a problem; 80 left pay for 6
    assert stage.num_prompts(2, spent(120)) == 6 and not stage.ended
    stage.spent(6, tokens=72, flops=0)
    assert stage.ended == "budget" and stage.num_prompts(3, spent(192)) == 0


def test_the_budget_of_other_stages_counts_too(stopping):
    assert stopping(stop={"max_tokens": 200}).num_prompts(1, spent(150)) == 2
    assert stopping(stop={"max_tokens": 200}).num_prompts(1, spent(300)) == 0


@pytest.mark.parametrize("cost", [1, 7, 13, 20])
@pytest.mark.parametrize("budget", [20, 137, 400, 1001])
def test_at_a_steady_cost_the_budget_is_never_exceeded_nor_left_where_a_problem_fits(stopping, cost, budget):
    stage, ledger, step = stopping(stop={"max_tokens": budget}), Ledger(), 0
    while prompts := stage.num_prompts(step := step + 1, ledger):
        ledger.tokens["sampled"] += prompts * cost
        stage.spent(prompts, prompts * cost, 0)
    assert ledger.budget <= budget and stage.ended == "budget"
    assert budget - ledger.budget < cost or step == 2  # a first step planned at the longest cost may be the last


def test_flops_are_a_budget_from_the_second_step_on(stopping):
    stage = stopping(stop={"max_flops": 100.0})
    assert stage.num_prompts(1, spent()) == 10
    stage.spent(10, tokens=10, flops=60)  # 6 a problem; 40 left pay for 6
    assert stage.num_prompts(2, spent(10, 60)) == 6 and stage.num_prompts(2, spent(10, 100)) == 0


def test_a_step_that_cost_nothing_divides_by_nothing(stopping):
    stage = stopping(stop={"max_tokens": 100, "max_flops": 5.0})
    stage.spent(10, tokens=0, flops=0)
    assert stage.num_prompts(2, spent()) == 10


def test_hours_end_a_stage_over_all_its_resumes(stopping):
    stage = stopping(stop={"max_hours": 1.0})
    assert stage.num_prompts(1, spent()) == 10
    again = stopping(stop={"max_hours": 1.0})
    again.load_state_dict({**stage.state_dict(), "seconds": 3601.0})
    assert again.num_prompts(1, spent()) == 0 and again.ended == "max_hours" and again.state_dict()["seconds"] >= 3601


WATCH = {"stop": {"patience": 2, "metric": "eval/t/avg"}, "eval": {"keep_best": "eval/t/low"}}


def test_patience_counts_evaluations_without_a_better_value(stopping):
    stage = stopping(**WATCH)
    for step, value in enumerate([0.5, 0.4, 0.6, 0.6]):  # equal is not better
        stage.evaluated(step, {"eval/t/avg": value, "eval/t/low": 0.0})
        assert stage.num_prompts(step + 1, spent()) == 10
    stage.evaluated(4, {"eval/t/avg": 0.1, "eval/t/low": 0.0})
    assert stage.ended == "patience" and stage.num_prompts(5, spent()) == 0


def test_the_best_step_is_the_first_of_its_value_and_a_missing_one_is_none(stopping):
    stage = stopping(**WATCH)
    values = [None, 0.2, 0.1, 0.5, 0.5]
    assert [stage.evaluated(step, {"eval/t/avg": value, "eval/t/low": value}) for step, value in enumerate(values)] == [
        False, True, False, True, False,
    ]  # fmt: skip
    assert (stage.best, stage.best_step) == (0.5, 3)
    assert stopping().evaluated(1, {"eval/t/avg": 1.0}) is False


def test_a_metric_that_is_not_evaluated_is_refused_with_those_that_are(stopping):
    with pytest.raises(RecipeError, match=r"'eval/t/avg' is not evaluated; use one of eval/test/avg$"):
        stopping(**WATCH).evaluated(1, {"eval/test/avg": 1.0, "reward/mean": 0})


def test_a_resumed_stage_knows_what_it_knew(stopping):
    stage, again = stopping(steps=9, **WATCH), stopping(steps=9, **WATCH)
    stage.spent(10, 70, 30)
    stage.evaluated(1, {"eval/t/avg": 0.5, "eval/t/low": 0.3})
    stage.evaluated(2, {"eval/t/avg": 0.5, "eval/t/low": 0.2})
    again.load_state_dict(stage.state_dict())
    left, right = stage.state_dict(), again.state_dict()
    assert {**left, "seconds": 0} == {**right, "seconds": 0} and (again.cost, again.waited) == (7.0, 1)


@pytest.mark.parametrize("change", [{"steps": 9}, {"stop": {"max_tokens": 10_000}}])
def test_another_goal_clears_what_had_ended_and_the_same_goal_does_not(stopping, change):
    goal = {"steps": 4, "stop": {"max_tokens": 100}}
    stage, same, other = stopping(**goal), stopping(**goal), stopping(**{**goal, **change})
    stage.spent(5, 100, 0)
    for each in (same, other):
        each.load_state_dict(stage.state_dict())
    assert same.ended == "budget" and same.num_prompts(2, spent()) == 0
    assert other.ended == "" and other.num_prompts(2, spent()) > 0
    later = stopping(**{**goal, **change})
    later.load_state_dict(other.state_dict())
    assert later.ended == ""


SILENT = {"update/grad_norm": 0.0, "reward/mean": 0.0, "reward/std": 0.0, "group/zero_variance": 1.0}
HEARD = {**SILENT, "update/grad_norm": 0.1, "reward/mean": 0.2, "reward/std": 0.4, "group/zero_variance": 0.5}


def test_steps_in_a_row_without_signal_end_a_stage(stopping):
    stage = stopping(stop={"no_signal": 3})
    for row in (SILENT, SILENT, HEARD, SILENT, SILENT):
        stage.learned(row)
        assert stage.num_prompts(1, spent()) == 10
    again = stopping(stop={"no_signal": 3})
    again.load_state_dict(stage.state_dict())
    for each in (stage, again):
        each.learned(SILENT)
        assert each.ended == "no_signal" and each.num_prompts(2, spent()) == 0


def test_without_the_knob_and_of_steps_that_sample_nothing_no_signal_ends_nothing(stopping):
    for knobs, row in (({}, SILENT), ({"stop": {"no_signal": 2}}, {"loss/value": 1.0, "reward/mean": None})):
        stage = stopping(**knobs)
        for _ in range(9):
            stage.learned(row)
        assert stage.ended == ""


def test_a_goal_without_the_knob_is_that_of_runs_that_did_not_know_it(stopping):
    assert "no_signal" not in stopping(steps=3).goal and stopping(stop={"no_signal": 2}).goal["no_signal"] == 2
