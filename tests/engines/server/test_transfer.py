"""Weights to a server: what arrived is what was sent, the prefix cache is dropped, or the run stops and names both."""

import json
import os
import threading

import pytest
import torch
from safetensors.torch import load_file

from r1lab.distributed import ranks
from r1lab.engines.server import client, transfer
from r1lab.engines.server.client import Gone
from r1lab.engines.sync import send
from r1lab.errors import RunError
from r1lab.policy.frozen import LogprobScorer
from r1lab.run import files


def test_weights_that_arrive_otherwise_stop_the_run(lab, serve, connect):
    server = serve()
    server.damage = lambda weights: weights + 1e-3
    with pytest.raises(RunError, match=rf"r1lab-\w+-3 were sent with checksum (\w+) and arrived at {server.url} with "):
        connect(server)


def test_a_policy_that_scores_otherwise_stops_the_run_and_names_the_server(lab, serve, connect):
    one, two = serve(), serve()
    engine, _ = connect(one, two)
    trainer = LogprobScorer(engine.model)
    assert send(engine, engine.model.named_parameters, 4, trainer)
    two.engine.sync = lambda weights, version: None
    said = rf"sync of version 5: after it the log-probabilities of server {two.url} differ from the policy's by "
    engine.model.load_state_dict(lab.llama(seed=1).state_dict())
    with pytest.raises(RunError, match=said):
        send(engine, engine.model.named_parameters, 5, trainer)


def test_what_was_published_last_is_what_a_server_gets_that_comes_back(lab, tokenizer, serve, connect):
    server = serve()
    engine, lines = connect(server)
    published = lab.run(engine, lab.groups())
    engine.model.load_state_dict(lab.llama(seed=1).state_dict())  # the policy has learned on
    server.kill()
    serve(port=server.server_address[1])
    assert lab.ids(lab.run(engine, lab.groups())) == lab.ids(published) and "is back and has weights" in lines[-1]


def test_a_server_that_was_moved_is_found_at_its_new_place(lab, serve, connect, tmp_path, monkeypatch):
    server = serve()
    engine, lines = connect(server)
    published = lab.run(engine, lab.groups())
    server.kill()
    book = tmp_path / "moved.json"
    book.write_text(json.dumps({server.url: serve().url, "http://another:1": "http://elsewhere:2"}))
    monkeypatch.setenv(client.MOVED_VARIABLE, str(book))
    assert lab.ids(lab.run(engine, lab.groups())) == lab.ids(published)
    assert lines[-1].startswith(f"server {server.url} is back and has weights")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"http://another:1": "http://elsewhere:2"}', None])
def test_a_server_that_nobody_moved_is_where_it_was(tmp_path, monkeypatch, text):
    book = tmp_path / "moved.json"
    monkeypatch.setenv(client.MOVED_VARIABLE, str(book))
    if text is not None:
        book.write_text(text)
    assert client.Wire("http://here:1").address == "http://here:1"


def test_servers_on_other_machines_read_the_file_where_the_run_is(tmp_path, monkeypatch):
    monkeypatch.setenv(client.SHARED_VARIABLE, str(tmp_path))
    route = transfer.FileRoute()
    route.stage(iter({"a": torch.ones(2)}.items()), 64)
    assert route.path.is_relative_to(tmp_path) and torch.equal(load_file(route.path)["a"], torch.ones(2))
    transfer.sweep()
    assert route.path.is_file()
    files.sweep(tmp_path)  # as the start of a run does, whose trainer was killed
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_weights_is_written_tensor_by_tensor_and_read_by_safetensors(tmp_path):
    values = {
        "half": torch.arange(3, dtype=torch.bfloat16),
        "whole": torch.arange(6, dtype=torch.float64).view(2, 3),
        "turned": torch.arange(6.0).view(2, 3).T,
        "empty": torch.zeros(0, 4),
        "number": torch.tensor(7),
    }
    transfer.write_file(tmp_path / "weights", iter(values.items()), 2001)
    found = load_file(tmp_path / "weights")
    for name, tensor in values.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype, name


def test_weights_that_do_not_fit_are_said_in_a_line(lab, connect, serve, monkeypatch):
    engine, _ = connect(serve())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer, "write_file", full)
    seen = []
    weights = ((seen.append(name), (name, weight))[1] for name, weight in engine.model.named_parameters())
    with pytest.raises(RunError, match=r"the weights do not fit into .*No space left.*mount it larger"):
        engine.sync(weights, 4)
    assert seen == [name for name, _ in engine.model.named_parameters()]  # a sharded model's ranks go through all


def test_a_broadcast_that_nobody_answers_is_left_after_the_deadline():
    released = threading.Event()
    with pytest.raises(Gone, match=r"the broadcast did not end within 0\.05 s"):
        transfer.within(0.05, released.wait, "the broadcast did not end")
    released.set()
    assert transfer.within(5, lambda: 7, "") == 7


def test_a_prefix_cache_that_stays_stops_the_run(serve, connect):
    server = serve()
    server.drops_cache = False
    with pytest.raises(RunError, match=r"kept its prefix cache of older weights for 1 s after it got r1lab-\w+-3"):
        connect(server, deadline=1.0)


def test_a_server_that_refuses_weights_is_not_asked_for_ever(serve, connect):
    server = serve()
    server.replies["/update_weights"] = (500, {"error": {"message": "No such file: weights.safetensors"}})
    with pytest.raises(RunError, match=r"does not take weights r1lab-\w+-3, tried 3 times: .*No such file"):
        connect(server)


def test_a_server_without_weights_takes_no_requests(lab, serve, connect):
    engine, _ = connect(serve(), sync=False)
    with pytest.raises(RuntimeError, match="no weights yet"):
        engine.submit(lab.groups())


def test_the_version_is_that_of_the_newest_weights(lab, serve, connect):
    server = serve()
    engine, _ = connect(server)
    assert engine.version == 3 and server.version.endswith("-3")
    engine.model.load_state_dict(lab.llama(seed=1).state_dict())
    assert send(engine, engine.model.named_parameters, 4) and server.version.endswith("-4")
    assert lab.run(engine, lab.groups(1))[0].version[0] == 4


def test_a_server_that_dies_while_it_gets_weights_is_waited_for(lab, serve, connect):
    one, two = serve(), serve()
    engine, lines = connect(one, two)
    one.kill()
    send(engine, engine.model.named_parameters, 4)
    assert engine.version == 4 and two.version.endswith("-4") and "while it took weights" in lines[0]


@pytest.mark.slow
def test_a_server_that_hangs_while_it_gets_weights_is_given_up_after_the_deadline(serve, connect):
    one, two = serve(), serve()
    engine, lines = connect(one, two, deadline=4.0)  # which the other needs not nearly, on a busy machine either
    one.hang.set()
    send(engine, engine.model.named_parameters, 4)
    assert two.version.endswith("-4") and one.version.endswith("-3") and len(lines) == 1
    assert one.url in lines[0] and "while it took weights" in lines[0] and "gave no sign for 4 s" in lines[0]


def test_another_rank_takes_a_server_back_once_rank_0_has_sent_it_the_weights(lab, serve, connect, monkeypatch):
    server = serve()
    first, _ = connect(server)
    wanted = lab.run(first, lab.groups())
    monkeypatch.setattr(ranks, "is_first", lambda: False)
    second, lines = connect(server, sync=False)
    second.fleet._parcel, second.version = first.fleet.parcel, 3
    server.kill()
    serve(port=server.server_address[1])

    def told(line):
        lines.append(line)
        if "is given up" in line:
            first.fleet.lose(first.fleet.servers[0], "it is gone")
            first.fleet.need_one("")

    second.fleet.say = told
    assert lab.ids(lab.run(second, lab.groups())) == lab.ids(wanted)
    assert second.fleet.route is None and "is given up" in lines[0] and "is back and has weights" in lines[-1]


def test_the_watch_gives_up_a_server_that_was_started_anew_and_nobody_asks(lab, serve, connect):
    server = serve()
    engine, lines = connect(server)
    fleet, (watched,) = engine.fleet, engine.fleet.servers
    fleet.check_idle(watched)
    assert not lines
    server.received = "none"
    fleet.turns += 1  # within a publish nothing is told from a transfer that goes on
    fleet.check_idle(watched)
    assert not lines
    fleet.turns += 1
    fleet.check_idle(watched)
    assert "was started anew" in lines[0] and watched.why
    fleet.need_one("")
    assert "is back" in lines[1] and server.received == fleet.parcel.checksum


def test_an_update_that_a_trainer_left_open_is_closed(serve, connect):
    server = serve()
    connect(server)
    asked = []
    server.replies["/start_weight_update"] = (500, {"error": {"message": "already active"}})
    wire = transfer.Wire(server.url)
    wire.post = lambda route, *rest: asked.append(route) or transfer.Wire.post(wire, route, {"weight_version": "x"})
    with pytest.raises(transfer.ServerRefusal, match="already active"):
        transfer.begin(wire)
    assert asked == ["/start_weight_update", "/finish_weight_update", "/start_weight_update"]


def test_folders_of_dead_trainers_are_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "MEMORY", tmp_path)
    for owner in (2**22 + 1, os.getpid()):
        (tmp_path / f"{transfer.PREFIX}{owner}-x").mkdir()
    route = transfer.FileRoute()
    left = {path.name.split("-")[2] for path in tmp_path.iterdir()}
    assert left == {str(os.getpid())} and route.folder.parent == tmp_path
    route.close()
    assert not route.folder.exists()
