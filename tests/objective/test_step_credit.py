"""Credit by steps, held against what the papers write: DeepSeekMath's process supervision (arXiv 2402.03300, 4.1.3),
the least of the steps to come (PURE, arXiv 2504.15275), and plain rewards from here on."""

from dataclasses import replace

import numpy as np
import pytest

from r1lab.errors import RecipeError
from r1lab.objective import build, filled
from r1lab.objective.samples import samples_of_group
from r1lab.recipe import ObjectiveConfig

STEPS = [  # (end, score) of completions of 6, 4, 5 and 3 tokens
    ((2, 1.0), (3, 0.0), (6, 1.0)),
    ((1, 0.25), (4, 0.5)),
    ((5, 1.0),),
    ((1, 1.0), (2, 1.0), (3, 0.0)),
]


def made(**knobs):
    return build(ObjectiveConfig(**{"credit": "steps", **knobs}), max_new_tokens=16, group_size=4)


def group_of(make_group, steps=STEPS, **parts):
    """Rewards are what parts pay beside the score, which the steps pay instead."""
    lengths = [6, 4, 5, 3][: len(steps)]
    group = make_group([0.5] * len(steps), lengths=lengths)
    members = []
    for index, (member, own) in enumerate(zip(group.members, steps, strict=True)):
        paid = {"score": 0.5} | {name: values[index] for name, values in parts.items()}
        members.append(replace(member, steps=own, parts=paid, reward=sum(paid.values())))
    return replace(group, members=tuple(members))


def advantages(objective, group):
    return [sample.advantage.tolist() for sample in samples_of_group(objective, group)]


def by_tokens(of_token, steps=STEPS, lengths=(6, 4, 5, 3)):
    """`of_token(own steps that end behind the token, all steps of the group)` for every token, by brute force."""
    everything = [score for own in steps for _, score in own]
    return [
        [of_token([score for end, score in own if end > t], own, everything) for t in range(length)]
        for own, length in zip(steps, lengths, strict=True)
    ]


def test_return_is_what_is_still_to_come_minus_the_groups_mean_total(make_group):
    mean_total = np.mean([2.0, 0.75, 1.0, 2.0])
    truth = by_tokens(lambda to_come, own, every: sum(to_come) - mean_total)
    assert advantages(made(), group_of(make_group)) == [pytest.approx(each) for each in truth]
    std = np.std([2.0, 0.75, 1.0, 2.0], ddof=1) + 1e-6
    scaled = [pytest.approx(np.array(each) / std, rel=1e-5) for each in truth]
    assert advantages(made(advantage="zscore"), group_of(make_group)) == scaled


def test_sum_normalized_is_the_process_supervision_of_deepseekmath(make_group):
    def normalised_sum(to_come, own, every):
        return sum((score - np.mean(every)) / (np.std(every, ddof=1) + 1e-6) for score in to_come)

    credit = {"use": "steps", "form": "sum_normalized"}
    found = advantages(made(credit=credit, preset="grpo"), group_of(make_group))
    assert found == [pytest.approx(each, rel=1e-5) for each in by_tokens(normalised_sum)]
    centred = by_tokens(lambda to_come, own, every: sum(score - np.mean(every) for score in to_come))
    assert advantages(made(credit=credit), group_of(make_group)) == [pytest.approx(e, abs=1e-6) for e in centred]


def test_min_is_the_least_to_come_minus_the_mean_of_the_least(make_group):
    worst = np.mean([0.0, 0.25, 1.0, 0.0])
    truth = by_tokens(lambda to_come, own, every: min(to_come) - worst)
    found = advantages(made(credit={"use": "steps", "form": "min"}), group_of(make_group))
    assert found == [pytest.approx(each) for each in truth]


@pytest.mark.parametrize("form", ["return", "sum_normalized", "min"])
@pytest.mark.parametrize("advantage", ["mean", "zscore"])
def test_one_step_a_completion_is_credit_by_outcome(make_group, form, advantage):
    scores = [1.0, 0.0, 0.0, 1.0]
    group = group_of(make_group, [((length, score),) for length, score in zip((6, 4, 5, 3), scores)])
    found = advantages(made(credit={"use": "steps", "form": form}, advantage=advantage), group)
    outcome = build(ObjectiveConfig(advantage=advantage), max_new_tokens=16, group_size=4)
    whole = replace(group, members=tuple(replace(m, reward=s) for m, s in zip(group.members, scores)))
    assert found == [pytest.approx(each) for each in advantages(outcome, whole)]


def test_the_rest_of_the_reward_is_compared_as_a_whole(make_group):
    length = [0.0, -0.2, -0.4, 0.0]
    plain, more = (advantages(made(), group_of(make_group, **parts)) for parts in ({}, {"length": length}))
    gaps = [np.array(b) - np.array(a) for a, b in zip(plain, more)]
    assert [gap.tolist() for gap in gaps] == [
        pytest.approx([x + 0.15] * len(g), abs=1e-6) for x, g in zip(length, gaps)
    ]


def test_without_steps_a_completion_is_one_step_that_paid_its_part_and_of_nothing_written_one_of_0(make_group):
    group = group_of(make_group, [((3, 1.0), (6, 1.0)), None, (), ((3, 0.5),)])
    # totals 2, 0.5 (the part paid), 0 and 0.5; what follows the last step belongs to it
    found = advantages(made(), group)
    assert found[0] == pytest.approx([1.25] * 3 + [0.25] * 3)
    assert [each[0] for each in found[1:]] == pytest.approx([-0.25, -0.75, -0.25])
    assert all(len(set(each)) == 1 for each in found[1:])


def test_where_all_is_alike_zscores_are_0_and_nothing_is_not_a_number(make_group):
    group = group_of(make_group, [((1, 1.0), (length, 1.0)) for length in (6, 4, 5, 3)])
    for form in ("return", "sum_normalized", "min"):
        found = advantages(made(credit={"use": "steps", "form": form}, advantage="zscore"), group)
        assert not np.concatenate(found).any()


def test_groups_of_equal_rewards_stay_where_steps_are_credited():
    assert filled(ObjectiveConfig(credit="steps"))["group"] == {"select": "all"}
    assert filled(ObjectiveConfig(credit="outcome"))["group"]["select"] == "drop_zero_variance"
    assert build(ObjectiveConfig(), max_new_tokens=16, group_size=4).step_credit is None


@pytest.mark.parametrize("knobs, says", [
    ({"credit": "step"}, "objective.credit: 'step' is none of outcome, steps .*did you mean 'steps'"),
    ({"credit": {"use": "outcome", "form": "min"}}, "objective.credit: unknown setting 'form'; allowed: none"),
    ({"credit": {"use": "steps", "form": "sum"}}, "objective.credit.form: 'sum' must be one of return, sum_normalized"),
    ({"credit": {"use": "steps", "sauce": "verdict"}}, "objective.credit: unknown setting 'sauce'; allowed: source"),
    ({"credit": "steps", "preset": "rloo"}, "objective.credit: 'steps' with advantage 'rloo', which compares whole"),
    ({"credit": "steps", "preset": "ppo"}, "objective.credit: 'steps' with advantage {.*gae"),
    ({"credit": "steps", "preset": "dpo"}, "objective.credit: 'steps' with advantage 'pair'"),
    ({"credit": "steps", "preset": "lite_ppo"}, "objective.advantage: .*divides by the deviation of whole rewards"),
])  # fmt: skip
def test_what_contradicts_steps_is_one_line(knobs, says):
    with pytest.raises(RecipeError, match=f"^{says}") as error:
        made(**knobs)
    assert "\n" not in str(error.value)
