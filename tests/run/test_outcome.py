"""What a run's rows warn of: rows that do, each beside one that must not."""

import pytest

from r1lab.run.outcome import warnings

DEAD = {"stage": "rl", "reward/mean": 0.0, "reward/std": 0.0, "pass/share": 0.0, "update/grad_norm": 0.0,
        "group/zero_variance": 1.0}  # fmt: skip
ALIVE = {**DEAD, "reward/mean": 0.25, "reward/std": 0.4, "pass/share": 0.25, "update/grad_norm": 0.1}


def rows(*each, **more):
    return [{**row, **more, "step": step} for step, row in enumerate(each, 1)]


REMEDIES = {
    "nothing solved": ({}, "every reward was 0, and equal rewards teach nothing; no completion was right: take easier"),
    "all solved": ({"reward/mean": 1.0, "pass/share": 1.0}, "every completion was right: take harder problems"),
    "a penalty alone": ({"reward/mean": -1.0}, "every reward was -1"),
    "rounding noise": ({"update/grad_norm": 1e-13}, "no completion was right"),
    "a gradient of KL alone": ({"update/grad_norm": 0.3}, "every reward was 0"),
    "no gradient, rewards by problem": (
        {"reward/std": 0.5, "pass/share": 0.5},
        "rewards never differed within a group",
    ),
    "cut off": ({"completion/truncated": 0.9}, "90% of the completions were cut off: raise max_new_tokens"),
    "not readable": ({"verdict/no_answer": 0.3, "verdict/unparsable": 0.4}, "in 70% of the completions no answer"),
    "hung": ({"verdict/timeout": 0.8, "verdict/crash": 0.1}, "90% of the checks hung, crashed or failed"),
    "nothing kept": ({"reward/std": None, "group/kept": 0}, "every reward was 0"),
}


@pytest.mark.parametrize("name", REMEDIES)
def test_a_stage_without_signal_is_named_with_the_likeliest_remedy(name):
    changes, said = REMEDIES[name]
    first, *others = warnings(rows(DEAD, DEAD, DEAD, **changes))
    assert first.startswith("stage rl learned nothing: in all 3 steps ") and said in first, first
    assert all("timeouts" in other for other in others)


LIVE = {
    "one step with a gradient": rows(DEAD, ALIVE, DEAD),
    "rewards that differ": rows(ALIVE),
    "a reward that rises though all are equal in a step": rows(
        DEAD, {**DEAD, "reward/mean": 1.0, "update/grad_norm": 1.0}
    ),
    "one completion a problem": rows({**ALIVE, "group/zero_variance": 1.0}),
    "demonstrations": rows({"stage": "sft", "reward/mean": None, "update/grad_norm": 0.0, "loss/value": 0.0}),
    "sampling alone": rows({key: value for key, value in DEAD.items() if key != "update/grad_norm"}),
    "an evaluation": rows({"stage": "eval", "eval/held_out/avg": 0.0}),
    "nothing": [],
    "a few timeouts": rows(ALIVE, **{"verdict/timeout": 0.05}),
    "programs that crash": rows(ALIVE, **{"verdict/crash": 0.9}),
}


@pytest.mark.parametrize("name", LIVE)
def test_what_learns_or_cannot_is_not_warned_of(name):
    assert warnings(LIVE[name]) == []


def test_stages_are_told_apart_and_timeouts_are_told_where_it_learned():
    later = rows(ALIVE, stage="second", **{"verdict/timeout": 0.84})
    one, two = warnings(rows(DEAD) + later)
    assert one.startswith("stage rl learned nothing: in its only step ")
    assert two.startswith("84% of the verdicts of stage second are timeouts")
