"""Sampling ahead is refused where nothing could sample meanwhile, or where it would be learned wrongly."""

import pytest

from r1lab.errors import RecipeError
from r1lab.recipe import load
from r1lab.stages.check import check_knobs

SERVED = {"kind": "server", "urls": ["http://127.0.0.1:1"]}


def stage(**knobs):
    raw = {"data": {"task": "addition"}, "steps": 1, "max_staleness": 1, "engine": SERVED, **knobs}
    return load.resolve(raw).stages[0]


@pytest.mark.parametrize(("knobs", "says"), [
    ({"engine": "local"}, "engine.kind: local in this process does not; use engine: {kind: server"),
    ({"engine": "auto"}, "engine.kind: auto in this process does not"),
    ({"engine": {"kind": "vllm"}}, "engine.kind: vllm in this process does not"),
    ({"max_staleness": 2}, "max_staleness: 2 is a fixed lag of several steps"),
    ({"objective": {"correction": "none"}}, "correction: none and old_logprobs: recompute would learn from older"),
    ({"stop": {"max_flops": 1e12}}, "stop.max_flops would be passed; use stop.max_tokens or steps"),
])  # fmt: skip
def test_what_would_be_wrong_is_one_line(knobs, says):
    with pytest.raises(RecipeError) as caught:
        check_knobs(stage(**knobs))
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("knobs", [
    {},
    {"old_logprobs": "engine", "objective": {"correction": "none"}},
    {"objective": {"correction": ["none", {"use": "icepop"}]}},
    {"max_staleness": 0, "engine": "local", "objective": {"correction": "none"}, "stop": {"max_flops": 1e12}},
    {"stop": {"max_tokens": 1000, "max_hours": 1.0}},
    {"updates_per_step": 2, "reuse": 2, "objective": {"preset": "dapo"}},
])  # fmt: skip
def test_what_is_right_is_taken(knobs):
    check_knobs(stage(**knobs))


def test_other_kinds_of_stage_have_no_such_key_and_at_the_top_it_is_of_those_that_have():
    stages = [{"kind": "sft", "steps": 1}, {"kind": "rl", "steps": 1}]
    plan = load.resolve({"data": {"task": "addition"}, "max_staleness": 1, "engine": SERVED, "stages": stages})
    assert [stage.max_staleness for stage in plan.stages] == [0, 1]
