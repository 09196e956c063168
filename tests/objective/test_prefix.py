import pytest

from r1lab.objective.group import Again, Drop, Keep
from r1lab.objective.prefix import Hint, OnePrefix, beginning
from r1lab.records import Draw, Group, Role
from r1lab_data import Problem

PROBLEM = Problem("p", "1+1", "2", source="s")
SOLUTION = tuple(range(30, 40))  # what the demonstrations of these tests say


def forced(rule, make, number, size=4):
    return [request.forced_ids for request in rule.plan(Draw(number, PROBLEM, size), make)]


def test_a_beginning_leaves_something_to_write(make):
    demonstration = make.demonstration(Draw(0, PROBLEM, 1), 0)
    found = [beginning(demonstration, share) for share in (0.0, 0.25, 0.5, 1.0)]
    assert [len(each) for each in found] == [0, 2, 5, 9] and all(SOLUTION[: len(each)] == each for each in found)


def test_a_beginning_leaves_room_below_the_longest_completion(make):
    demonstration = type(make)(max_new_tokens=4).demonstration(Draw(0, PROBLEM, 1), 0)
    assert len(beginning(demonstration, 1.0)) == 3


def test_hints_are_whole_chunks_the_same_for_a_draws_samples_and_vanish(make):
    rule = Hint(chunks=5, draws=1000)
    lengths = []
    for number in range(400):
        (hint,) = set(forced(rule, make, number))
        assert len(hint) in (0, 2, 4, 6, 8, 9) and hint == SOLUTION[: len(hint)]
        lengths.append(len(hint))
    assert sum(lengths[:100]) > sum(lengths[300:]) > 0
    assert {ids for number in (1000, 5000) for ids in forced(rule, make, number)} == {()}
    assert forced(rule, make, 7) == forced(rule, make, 7)


def test_a_hints_tokens_are_prefix_and_no_policy(make):
    for request in Hint().plan(Draw(0, PROBLEM, 2), make):
        assert request.forced_role == (Role.PREFIX,) * len(request.forced_ids)


def test_one_of_the_samples_continues_a_share_between_a_falling_bound_and_the_start(make):
    rule = OnePrefix(start=0.9, end=0.1, draws=100)
    lengths = {number: [len(ids) for ids in forced(rule, make, number)] for number in (0, 50, *range(100, 400))}
    assert lengths[0] == [0, 0, 0, 9] and lengths[50][:3] == [0, 0, 0] and 5 <= lengths[50][3] <= 9
    late = [lengths[number][3] for number in range(100, 400)]
    assert min(late) == 1 and max(late) == 9 and sum(late) / len(late) == pytest.approx(5, abs=0.5)
    assert forced(rule, make, 123) == forced(rule, make, 123)


@pytest.fixture
def search(made, draw_group, answer):
    """What a bisection tries: how much of the solution each branch had, and how it ended."""

    def search(solves, tries=3):
        objective = made(preset="bread", group={"select": "bisect", "tries": tries}, group_size=4)
        group = draw_group(objective, solves(0))
        lengths = []
        while isinstance(decision := objective.rule.settle(group), Again):
            taken = {len(request.forced_ids) for request in decision.requests}
            (length,) = taken
            lengths.append(length)
            known = {member.rollout.request.id for member in group.members}
            assert not known & {request.id for request in decision.requests} and len(decision.requests) == 4
            assert {request.forced_ids for request in decision.requests} == {SOLUTION[:length]}
            assert {request.forced_role for request in decision.requests} == {(Role.CONTEXT,) * length}
            group = Group(group.draw, (*group.members, *map(answer, decision.requests, solves(length))))
        return lengths, decision

    return search


def mixed_from(first, all_from):
    """Half of a branch is right from `first` tokens of the solution on, all of it from `all_from` on."""
    return lambda length: [1.0] * 4 if length >= all_from else [1.0, 0.0, 0.0, 1.0] if length >= first else [0.0] * 4


def test_a_group_with_a_right_answer_needs_no_branch(search):
    lengths, decision = search(mixed_from(0, 99))
    assert lengths == [] and isinstance(decision, Keep) and len(decision.group.members) == 4
    assert isinstance(search(mixed_from(0, 0))[1], Keep)  # all right: kept, without an advantage


def test_the_branch_is_found_by_bisection_and_its_members_alone_are_kept(search):
    lengths, decision = search(mixed_from(7, 8))
    assert lengths == [5, 8, 7] or lengths[0] == 5
    assert isinstance(decision, Keep)
    assert {len(member.rollout.request.forced_ids) for member in decision.group.members} == {lengths[-1]}


def test_a_search_without_a_mixed_branch_ends(search):
    lengths, decision = search(mixed_from(99, 99))
    assert decision == Drop("no_branch") and len(lengths) <= 3 and lengths == sorted(set(lengths))


def test_every_member_of_a_branch_has_a_seed_of_its_own(made, draw_group):
    objective = made(preset="bread", group_size=4)
    decision = objective.rule.settle(draw_group(objective, [0.0] * 4))
    assert len({request.seed for request in decision.requests}) == 4 and objective.rule.attempts == 4
