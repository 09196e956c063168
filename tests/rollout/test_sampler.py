from r1lab.records import Group, Settled
from r1lab.rollout.sampler import Sampler
from r1lab_data import Problem

SOURCES = {name: [Problem(f"{name}{i}", "q", "a", source=name) for i in range(size)] for name, size in
           (("a", 3), ("b", 5))}  # fmt: skip


def ids(draws):
    return [draw.problem.id for draw in draws]


def settled(draws):
    return [Settled(Group(draw, ()), None, "any") for draw in draws]


def test_drawing_changes_nothing_and_observing_moves_on():
    sampler = Sampler(SOURCES, [1, 1], 7)
    first = sampler.draw(0, 4, 8)
    assert ids(sampler.draw(0, 4, 8)) == ids(first) and [draw.number for draw in first] == [0, 1, 2, 3]
    assert {draw.group_size for draw in first} == {8}
    sampler.observe(settled(first))
    assert [draw.number for draw in sampler.draw(0, 2, 8)] == [4, 5]
    sampler.observe([])
    assert sampler.next == 4


def test_a_refill_draws_beyond_what_this_step_drew_already():
    sampler = Sampler(SOURCES, [1, 1], 7)
    assert ids(sampler.draw(0, 6, 1)) == ids(sampler.draw(0, 4, 1)) + ids(sampler.draw(4, 2, 1))


def test_every_problem_of_a_source_comes_once_an_epoch_in_another_order():
    drawn = ids(Sampler({"b": SOURCES["b"]}, [1], 0).draw(0, 40, 1))
    epochs = [tuple(drawn[start : start + 5]) for start in range(0, 40, 5)]
    assert all(sorted(epoch) == ["b0", "b1", "b2", "b3", "b4"] for epoch in epochs) and len(set(epochs)) > 4


def test_sources_come_by_their_weights():
    drawn = ids(Sampler(SOURCES, [3, 1], 0).draw(0, 80, 1))
    assert sum(each.startswith("a") for each in drawn) == 60


def test_draws_are_a_function_of_seed_and_number_alone():
    one, other = (ids(Sampler(SOURCES, [1, 2], seed).draw(0, 30, 1)) for seed in (1, 2))
    assert ids(Sampler(SOURCES, [1, 2], 1).draw(17, 13, 1)) == one[17:] and one != other


def test_a_resumed_sampler_goes_on_where_it_stood():
    sampler = Sampler(SOURCES, [1, 2], 3)
    sampler.observe(settled(sampler.draw(0, 5, 1)))
    again = Sampler(SOURCES, [1, 2], 3)
    again.load_state_dict(sampler.state_dict())
    assert again.draw(0, 6, 1) == sampler.draw(0, 6, 1)
