"""The engine against servers that speak vLLM's routes: same rollouts as the local one, none lost, none doubled."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from r1lab.distributed import ranks
from r1lab.engines.sync import send
from r1lab.errors import RunError
from r1lab.records import Role


def once(engine, requests):
    """Every request's rollout; a second one of the same is an error."""
    engine.submit(requests)
    found = {}
    for rollout in engine.completed():
        assert rollout.request.id not in found
        found[rollout.request.id] = rollout
    return [found[each.id] for each in requests]


def test_rollouts_are_those_of_the_local_engine(lab, tokenizer, serve, connect):
    engine, _ = connect(serve(), serve())
    local = lab.run(lab.engine_of(lab.llama(), tokenizer), lab.groups())
    for ours, theirs in zip(once(engine, lab.groups()), local):
        assert (ours.completion_ids, ours.finish, ours.text) == (theirs.completion_ids, theirs.finish, theirs.text)
        np.testing.assert_allclose(ours.engine_logprobs, theirs.engine_logprobs, atol=1e-5)
        assert set(ours.version.tolist()) == {3}


def test_requests_whose_ids_were_answered_before_are_sampled_anew_and_once(lab, serve, connect):
    server = serve()
    engine, _ = connect(server)
    asked = [lab.groups(), [replace(each, seed=each.seed + 1) for each in lab.groups()]]
    first, other, again = (once(engine, each) for each in (*asked, asked[0]))
    assert lab.ids(first) == lab.ids(again) != lab.ids(other)
    assert set(server.served.values()) == {3}


def test_forced_tokens_come_first_and_are_not_sampled(lab, serve, connect):
    request = lab.request(0, (5, 6), forced_ids=(7, 8), forced_role=(Role.PREFIX, Role.DEMO))
    whole = lab.request(1, (5, 6), forced_ids=(7, 8), forced_role=(Role.PREFIX,) * 2, max_new_tokens=2)
    rollout, forced = once(connect(serve())[0], [request, whole])
    expected = lab.reference_logprobs(lab.llama(), rollout)[2:]
    np.testing.assert_allclose(rollout.engine_logprobs[2:], expected, atol=1e-5)
    assert rollout.completion_ids[:2] == forced.completion_ids == (7, 8) and rollout.role[:3].tolist() == [2, 1, 0]


def test_a_draw_stays_on_one_server(lab, serve, connect):
    one, two = serve(), serve()
    once(connect(one, two)[0], lab.groups())
    assert {name.split(":")[1] for name in one.served} == {"0", "2"}
    assert {name.split(":")[1] for name in two.served} == {"1", "3"}


def test_work_moves_to_the_servers_that_live(lab, tokenizer, serve, connect):
    one, two = serve(), serve()
    engine, lines = connect(one, two)
    one.die_at = 2
    rollouts = once(engine, lab.groups())
    assert lab.ids(rollouts) == lab.ids(lab.run(lab.engine_of(lab.llama(), tokenizer), lab.groups()))
    assert len(lines) == 1 and one.url in lines[0] and "requests again" in lines[0]


def test_a_server_that_comes_back_gets_the_weights_and_what_was_lost(lab, tokenizer, serve, connect):
    server = serve()
    engine, lines = connect(server)
    server.die_at = 3
    port = server.server_address[1]
    threading.Thread(target=lambda: server.over.wait() and serve(port=port)).start()
    rollouts = once(engine, lab.groups())
    assert lab.ids(rollouts) == lab.ids(lab.run(lab.engine_of(lab.llama(), tokenizer), lab.groups()))
    assert "is given up" in lines[0] and "is back and has weights" in lines[-1]
    assert {version for rollout in rollouts for version in rollout.version.tolist()} == {3}


def test_a_server_that_hangs_is_given_up_after_the_deadline(lab, serve, connect):
    one, two = serve(), serve()
    engine, lines = connect(one, two, deadline=1.5)
    one.hang.set()
    assert len(once(engine, lab.groups())) == 12
    said = next(line for line in lines if one.url in line)
    assert "no token of" in said and "for 1.5 s (engine.deadline)" in said


def test_a_server_started_anew_behind_our_back_is_told_by_its_weights(lab, tokenizer, serve, connect):
    server = serve()
    engine, lines = connect(server)
    server.version = "default"
    send(server.engine, lab.llama(seed=5).named_parameters, 99)
    rollouts = once(engine, lab.groups(1))
    assert lab.ids(rollouts) == lab.ids(lab.run(lab.engine_of(lab.llama(), tokenizer), lab.groups(1)))
    assert "sampled with weights 'default', not 'r1lab-" in lines[0]


def test_without_any_server_the_run_ends_and_says_what_it_waited_for(lab, serve, connect):
    server = serve()
    engine, _ = connect(server, reconnect=0.3)
    server.kill()
    with pytest.raises(RunError, match=r"no server is left for 12 requests; waited 0.3 s .*connection refused"):
        once(engine, lab.groups())
    assert list(engine.completed()) == []


def test_a_request_that_is_always_lost_ends_the_run(lab, serve, connect):
    server = serve()
    engine, _ = connect(server)
    server.is_broken = True
    with pytest.raises(RunError, match=r"request train:0:0 \(problem p0\) was lost .* 5 times.*encountered an issue"):
        once(engine, lab.groups(1)[:1])


def test_aborted_requests_end_and_the_others_go_on(lab, serve, connect):
    engine, _ = connect(serve())
    requests = lab.groups()
    engine.submit(requests)
    first = next(engine.completed())
    engine.abort([each.id for each in requests[4:]])
    rest = list(engine.completed())
    assert {each.request.id for each in (first, *rest)} == {each.id for each in requests}
    assert all(each.finish != "abort" for each in rest if each.request.id in {each.id for each in requests[:4]})
    assert sum(each.finish == "abort" for each in rest) >= 4


def test_what_does_not_fit_is_refused_by_name(lab, serve, connect):
    engine, _ = connect(serve())
    with pytest.raises(ValueError, match=r"train:0:0 .*exceed engine\.max_model_len of 128"):
        engine.submit([lab.request(0, range(120))])
    assert list(engine.completed()) == []


def test_no_server_is_waited_for_longer_than_the_other_processes_wait(serve, connect, monkeypatch):
    monkeypatch.setattr(ranks, "size", lambda: 2)
    monkeypatch.setenv(ranks.DEADLINE_VARIABLE, "50")
    with pytest.raises(ValueError, match=r"deadline 20 s and reconnect 30 s .* the 50 s .*R1LAB_RANK_DEADLINE"):
        connect(serve())
