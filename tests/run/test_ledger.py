from dataclasses import replace

import numpy as np

from r1lab.records import Group, Role, Sample, Scored, Settled
from r1lab.run.ledger import Ledger


def samples_of(group):
    return [Sample(m.rollout, m.rollout.role, np.zeros(0), np.zeros(0)) for m in group.members]


def test_a_steps_tokens_and_flops_by_hand(make_group):
    ledger, group = Ledger(), make_group([1.0, None], lengths=[4, 3])
    dropped = make_group([0.0], draw=1, lengths=[5])
    block = [Settled(group, group, "kept"), Settled(dropped, None, "zero_variance")]
    ledger.rollouts(block, parameters=10)
    ledger.update(samples_of(group), forwarded_tokens=6, parameters=10)
    ledger.scored(6, parameters=10)
    ledger.evaluated(20, 30, parameters=10)
    # sampled 4 + 3 + 5, errors and dropped groups too; a prompt of 2 is prefilled once a group; trained 4 + 3
    ledger.judged(9, 90)
    assert ledger.tokens == {"sampled": 12, "trained": 7, "evaluated": 30, "judged": 9} and ledger.budget == 19
    assert ledger.flops == {"rollout": 2 * 10 * (12 + 4), "score": 120, "update": 360, "evaluation": 1000, "judge": 90}
    assert ledger.training_flops == 320 + 120 + 360 + 90
    assert ledger.row() == {
        "tokens/sampled": 12, "tokens/trained": 7, "tokens/evaluated": 30, "tokens/judged": 9, "tokens/budget": 19,
        "flops/rollout": 320, "flops/score": 120, "flops/update": 360, "flops/evaluation": 1000, "flops/judge": 90,
    }  # fmt: skip


def test_a_demonstration_is_trained_on_but_not_sampled(make_group, make_rollout):
    ledger, group = Ledger(), make_group([1.0], lengths=[4])
    shown = Group(group.draw, (Scored(make_rollout((5,), range(4), role=Role.DEMO), None, 1.0),))
    ledger.rollouts([Settled(shown, shown, "kept")], parameters=10)
    ledger.update(samples_of(shown), forwarded_tokens=6, parameters=10)
    assert ledger.tokens == {"sampled": 0, "trained": 4, "evaluated": 0, "judged": 0} and ledger.flops["rollout"] == 0


def test_ids_that_a_completion_was_forced_to_begin_with_are_not_sampled(make_group):
    ledger, group = Ledger(), make_group([1.0], lengths=[5])
    rollout = group.members[0].rollout
    forced = replace(rollout, request=replace(rollout.request, forced_ids=rollout.completion_ids[:2]))
    group = replace(group, members=(replace(group.members[0], rollout=forced),))
    ledger.rollouts([Settled(group, group, "kept")], parameters=10)
    assert ledger.tokens["sampled"] == 3


def test_each_update_counts_its_batch_again_whether_forwarded_or_not(make_group):
    ledger, group = Ledger(), make_group([1.0, 0.0])
    for _ in range(3):
        ledger.update(samples_of(group), forwarded_tokens=0, parameters=10)
    assert ledger.budget == 18 and ledger.flops["update"] == 0


def test_what_updates_will_cost_is_what_they_cost(make_group):
    ledger, samples = Ledger(), samples_of(make_group([1.0, 0.0], lengths=[4, 3]))
    later = ledger.after_updates(samples, passes=2)
    for _ in range(2):
        ledger.update(samples, forwarded_tokens=0, parameters=10)
    assert later.tokens == ledger.tokens and later.budget == 14


def test_state_comes_back_and_is_a_copy(make_group):
    ledger, other = Ledger(), Ledger()
    ledger.evaluated(1, 2, 3)
    state = ledger.state_dict()
    other.load_state_dict(state)
    other.evaluated(1, 2, 3)
    assert other.tokens["evaluated"] == 4 and ledger.tokens["evaluated"] == state["tokens"]["evaluated"] == 2


def test_a_state_of_before_judges_were_counted_goes_on():
    ledger = Ledger()
    ledger.load_state_dict({"tokens": {"sampled": 3}, "flops": {"rollout": 4}})
    ledger.judged(1, 2)
    assert ledger.row()["tokens/judged"] == 1 and ledger.training_flops == 6 and ledger.budget == 3
