"""Ranks take the same servers for alive before each wave, by the word of rank 0, which asks where they differ."""

import pytest

from r1lab.distributed import ranks


@pytest.fixture
def views(monkeypatch):
    """views(other, said=None): another rank misses servers so; `said` is the word of rank 0 where that is the other."""

    def of_two(other, said=None):
        monkeypatch.setattr(ranks, "size", lambda: 2)
        monkeypatch.setattr(ranks, "gather", lambda make: [make(), other])
        monkeypatch.setattr(ranks, "first", lambda act, *given: act(*given) if said is None else said)

    return of_two


def test_rank_0_asks_who_another_rank_misses_and_gives_up_who_has_not_the_weights(serve, connect, views):
    one, two = serve(), serve()
    engine, lines = connect(one, two)
    fleet = engine.fleet
    views(other=[False, True])
    engine.agree()
    assert fleet.alive == fleet.servers and not lines  # it is back with them, and the other had not looked yet
    two.received = "none"
    views(other=[False, False])
    engine.agree()
    assert fleet.alive == fleet.servers and not lines  # nobody differs: nobody is asked
    views(other=[False, True])
    engine.agree()
    assert fleet.alive == fleet.servers[:1] and "was started anew" in lines[0] and two.url in lines[0]


def test_the_other_ranks_take_rank_0s_word_without_a_wait(serve, connect, views, monkeypatch):
    one, two = serve(), serve()
    with monkeypatch.context() as other:
        other.setattr(ranks, "is_first", lambda: False)
        engine, lines = connect(one, two, sync=False)
    fleet, (_, server) = engine.fleet, engine.fleet.servers
    for why in ("no token of 3 requests for 120 s (engine.deadline)", ""):
        fleet.asked[server] = None
        views(other=[True, True], said={one.url: "", two.url: why})
        engine.agree()
        assert server.why == why and fleet.alive == fleet.servers[: 1 if why else 2]
        assert not (lines or fleet.asked)


def test_a_run_of_one_process_and_what_rank_0_does_alone_meet_nobody(serve, connect, monkeypatch):
    engine, _ = connect(serve())
    monkeypatch.setattr(ranks, "gather", None)
    engine.agree()
    monkeypatch.setattr(ranks, "size", lambda: 2)
    monkeypatch.setattr(ranks, "is_alone", lambda: True)
    engine.agree()
