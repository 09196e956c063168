"""What a run's rows warn of: rows made by hand that do, each beside one that must not."""

import pytest

from r1lab.health.monitor import HealthMonitor, diagnose
from r1lab.health.rules import RULES

DEAD = {"stage": "rl", "reward/mean": 0.0, "reward/std": 0.0, "pass/share": 0.0, "update/grad_norm": 0.0,
        "group/zero_variance": 1.0}  # fmt: skip
ALIVE = {**DEAD, "reward/mean": 0.25, "reward/std": 0.4, "pass/share": 0.25, "update/grad_norm": 0.1}


def warnings(rows):
    return [alarm.line() for stage in diagnose(rows) for alarm in stage.alarms]


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
    "cut off by turns": (
        {"completion/truncated": 0.9, "episode/turns": 2.0},
        "90% of the completions were cut off: raise environment.max_turns or max_new_tokens",
    ),
    "not readable": ({"verdict/no_answer": 0.3, "verdict/unparsable": 0.4}, "in 70% of the completions no answer"),
    "hung": ({"verdict/timeout": 0.8, "verdict/crash": 0.1}, "90% of the checks hung, crashed or failed"),
    "nothing kept": ({"reward/std": None, "group/kept": 0}, "every reward was 0"),
}


@pytest.mark.parametrize("name", REMEDIES)
def test_a_stage_without_signal_is_named_with_the_likeliest_remedy(name):
    changes, said = REMEDIES[name]
    *others, last = warnings(rows(DEAD, DEAD, DEAD, **changes))
    assert last.startswith("stage rl, step 3: no_signal: learned nothing: in all 3 steps ") and said in last, last
    assert all("timeouts" in other or "cut off" in other for other in others)


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
    assert one.startswith("stage rl, step 1: no_signal: learned nothing: in its only step ")
    assert two.startswith("stage second, step 1: errors: 84% of the verdicts are timeouts")


def many(count, **more):
    return [{**ALIVE, "step": step, **more} for step in range(1, count + 1)]


def grown(key, *values, **more):
    return [{**ALIVE, "step": step, **more, key: value} for step, value in enumerate(values, 1)]


def evaluated(*each, paid=(0.2, 0.9)):
    """Evaluations at step 0, 5, 10 ...; the reward goes from the first to the second value."""
    made = [{"stage": "rl", "step": 0, **each[0]}]
    steps = 5 * (len(each) - 1)
    for step in range(1, steps + 1):
        reward = paid[0] + (paid[1] - paid[0]) * step / steps
        made.append({**ALIVE, "step": step, "reward/mean": reward, **(each[step // 5] if step % 5 == 0 else {})})
    return made


def score(avg, half=0.05, name="test"):
    return {f"eval/{name}/avg": avg, f"eval/{name}/low": avg - half, f"eval/{name}/high": avg + half}


FIRES = {
    "ten silent steps after a good start": ("no_signal", many(10) + [{**DEAD, "step": step} for step in range(11, 21)]),
    "a reward that is one and the same though a gradient remains": (
        "no_signal", many(10, **{"reward/std": 0.0, "group/zero_variance": 1.0})
    ),
    "half of the completions cut": ("truncation", many(5, **{"completion/truncated": 0.5})),
    "a wide gap at once": ("engine_gap", many(5, **{"mismatch/mean": 0.3})),
    "a gap that grows": ("engine_gap", grown("mismatch/mean", *[1e-7] * 5, *[0.03] * 5)),
    "the verifier's own failures": ("errors", many(5, **{"verdict/error": 0.03})),
    "timeouts of another part": ("errors", many(5, **{"verdict/format/timeout": 0.2})),
    "abstentions": ("errors", many(5, **{"verdict/abstained": 0.2})),
    "a lenient verifier": ("second_verifier", many(3, **{"second/judged": 20, "second/lenient": 0.2})),
    "held out falls": ("held_out", evaluated(score(0.5), score(0.6), score(0.2))),
    "one of two sets falls": (
        "held_out", evaluated(*({**score(a), **score(0.5, name="other")} for a in (0.5, 0.6, 0.2)))
    ),
    "entropy gone": (
        "entropy", grown("policy/entropy", 1.0, *[0.01] * 5, **{"group/zero_variance": 0.95})
    ),
    "length doubled": ("length", grown("completion/mean", *[100] * 5, *[210] * 5)),
}  # fmt: skip


@pytest.mark.parametrize("name", FIRES)
def test_each_rule_fires_alone(name):
    rule, made = FIRES[name]
    assert [alarm.rule for stage in diagnose(made) for alarm in stage.alarms] == [rule]


QUIET = {
    "nine silent steps between two that learn": many(3) + [{**DEAD, "step": step} for step in range(4, 13)] + many(1),
    "demonstrations in every group": many(12, **{"reward/std": 0.0, "reward/mean": 0.0, "group/zero_variance": 0.0}),
    "a reward that differs from step to step, one completion a step": grown(
        "reward/mean", *[0.0, 1.0] * 8, **{"reward/std": 0.0, "group/zero_variance": 1.0}
    ),
    "almost half cut": many(8, **{"completion/truncated": 0.49}),
    "cut in the first steps alone": grown("completion/truncated", 0.9, 0.8, 0.4, 0.1, 0.0, 0.0),
    "rounding in bfloat16": many(20, **{"mismatch/mean": 0.055}),
    "rounding that grows": grown("mismatch/mean", *[1e-7] * 5, *[1e-4] * 5),
    "an abstention here and there": many(8, **{"verdict/abstained": 0.05}),
    "a stricter second verifier": many(9, **{"second/judged": 20, "second/lenient": 0.0, "second/strict": 0.5}),
    "too few judged twice": many(9, **{"second/judged": 2, "second/lenient": 1.0}),
    "held out falls within its intervals": evaluated(score(0.5), score(0.6), score(0.55)),
    "held out falls with the reward": evaluated(score(0.5), score(0.6), score(0.2), paid=(0.9, 0.2)),
    "held out recovers": evaluated(score(0.6), score(0.58), score(0.65)),
    "one evaluation": evaluated(score(0.6)) + many(3),
    "entropy gone with the problems solved": grown(
        "policy/entropy", 1.0, *[0.01] * 12, **{"group/zero_variance": 1.0, "pass/share": 0.95}
    ),
    "entropy gone while groups still differ": grown(
        "policy/entropy", 1.0, *[0.01] * 12, **{"group/zero_variance": 0.5}
    ),
    "longer and more often right": [
        {**row, "pass/share": step / 20} for step, row in enumerate(grown("completion/mean", *range(100, 400, 20)))
    ],
    "metrics of another version": [{"stage": "rl", "step": step, "reward/mean": 0.5} for step in range(12)],
}


@pytest.mark.parametrize("name", QUIET)
def test_what_is_no_fault_fires_no_rule(name):
    assert warnings(QUIET[name]) == []


def test_a_rules_metric_is_null_until_it_can_be_judged_and_one_while_it_holds():
    monitor, seen = HealthMonitor(), []
    for row in grown("completion/truncated", *[0.9] * 5, *[0.0] * 5):
        seen.append(monitor.observe(row))
    assert [found["health/truncation"] for found, _ in seen] == [None] * 4 + [1, 1, 1, 0, 0, 0]
    assert [[alarm.rule for alarm in new] for _, new in seen] == [[]] * 4 + [["truncation"]] + [[]] * 5
    assert all(set(found) == {f"health/{name}" for name in RULES} for found, _ in seen)
    (stage,) = diagnose(grown("completion/truncated", *[0.9] * 5, *[0.0] * 5))
    assert (stage.alarms[0].step, stage.alarms[0].last_step, stage.lasting()) == (5, 7, [])


def test_rows_that_sample_nothing_have_no_health():
    monitor = HealthMonitor()
    assert monitor.observe({"stage": "sft", "step": 1, "loss/value": 1.0, "reward/mean": None}) == ({}, [])
    assert monitor.observe({"stage": "rl", "step": 0, **score(0.5)}) == ({}, [])


def test_a_silenced_rule_is_named_and_not_told():
    (stage,) = diagnose(many(5, **{"completion/truncated": 0.9}), {"rl": ["truncation"]})
    assert (stage.alarms, stage.silenced) == ((), ("truncation",)) and "silenced: truncation" in stage.told()
