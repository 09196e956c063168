"""A server of the local engine: whole batches, the engine's own bits, and nothing for who has no key."""

import json
import threading

import numpy as np
import pytest
import torch

from r1lab import embedded, pipeline
from r1lab.engines.server.client import Gone, ServerRefusal, Wire, wake_reader
from r1lab.engines.server.local_server import LocalServer
from r1lab.errors import RunError
from r1lab.policy import models
from r1lab.recipe import load
from r1lab.records import Role
from r1lab.run.progress import Progress


@pytest.fixture
def start(lab, tokenizer):
    """start(model, tokenizer, port, key) -> a server that answers; all are stopped at the test's end."""
    running = []

    def run(model=None, own=None, port=0, key=None):
        where = {"served": "served", "host": "127.0.0.1", "port": port}
        server = LocalServer(model or lab.llama(seed=9), own or tokenizer, **where, dtype=torch.float32, key=key)
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield run
    for server in running:
        server.shutdown()
        server.server_close()


def once(engine, requests):
    engine.submit(requests)
    found = {rollout.request.id: rollout for rollout in engine.completed()}
    return [found[each.id] for each in requests]


def same(ours, theirs):
    """Bit for bit."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        assert (one.completion_ids, one.finish, one.text) == (other.completion_ids, other.finish, other.text)
        np.testing.assert_array_equal(one.engine_logprobs, other.engine_logprobs)
        np.testing.assert_array_equal(one.role, other.role)


def test_a_batch_is_sampled_as_the_engine_in_the_trainers_process_would(lab, tokenizer, start, connect):
    requests = [
        *lab.groups(),
        lab.request(7, (5, 6), forced_ids=(7, 8), forced_role=(Role.PREFIX, Role.DEMO)),
        lab.request(8, (5, 6), forced_ids=(7, 8), forced_role=(Role.PREFIX,) * 2, max_new_tokens=2),
    ]
    engine, _ = connect(start())
    local = lab.engine_of(lab.llama(), tokenizer)
    same(once(engine, requests), once(local, requests))


def test_a_batch_of_a_lost_server_is_sampled_whole_by_another(lab, tokenizer, start, connect, monkeypatch):
    one, two = start(), start()
    engine, lines = connect(one, two)
    unbroken = once(engine, lab.groups())
    monkeypatch.setattr(one, "choices", lambda *_: (_ for _ in ()).throw(ConnectionResetError()))
    same(once(engine, lab.groups()), unbroken)
    assert len(lines) == 1 and one.url in lines[0] and "requests again" in lines[0]


def test_batches_asked_for_at_once_are_not_computed_together(lab, start, connect):
    server = start()
    engines = [connect(server)[0] for _ in range(2)]
    for engine in engines[1:]:  # both runs have sent weights: the server has those of the last, under its label
        engine.fleet._parcel = engines[-1].fleet.parcel
    alone, found = once(engines[1], lab.groups()), {}
    engines[0].fleet._parcel = engines[1].fleet.parcel

    def ask(number):
        found[number] = once(engines[number], lab.groups())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(found[0], alone)
    same(found[1], alone)


def test_signs_of_life_keep_a_long_batch_from_being_given_up(lab, tokenizer, start, connect, monkeypatch):
    monkeypatch.setattr("r1lab.engines.server.local_server.SIGN_SECONDS", 0.02)
    server = start()
    advance = server.engine.advance

    def slowly():
        threading.Event().wait(0.05)
        return advance()

    monkeypatch.setattr(server.engine, "advance", slowly)
    engine, lines = connect(server, deadline=20.0)
    engine.deadline = 0.5
    same(once(engine, lab.groups()), once(lab.engine_of(lab.llama(), tokenizer), lab.groups()))
    assert not lines


def test_one_of_a_batch_that_is_aborted_leaves_the_others_as_they_were(lab, start, connect):
    engine, _ = connect(start())
    requests = lab.groups()
    unbroken = once(engine, requests)
    engine.submit(requests)
    engine.send()
    engine.abort([requests[0].id])
    found = {rollout.request.id: rollout for rollout in engine.completed()}
    assert found[requests[0].id].finish == "abort"
    same([found[each.id] for each in requests[1:]], unbroken[1:])
    engine.submit(requests)
    engine.send()
    engine.abort([each.id for each in requests])
    assert {rollout.finish for rollout in engine.completed()} == {"abort"}
    same(once(engine, requests), unbroken)


TEXT = {"model": "served", "prompt": "1", "max_tokens": 2}
BODY = {"token_ids": [5], "sampling_params": {"max_tokens": 2}}


@pytest.mark.parametrize(("route", "body", "told"), [
    ("/inference/v1/generate", {}, "answered 400: no such request"),
    ("/inference/v1/generate", [], "answered 400: no such request"),
    ("/inference/v1/generate", {**BODY, "token_ids": [10**9]}, "answered 400: .*is not below"),
    ("/inference/v1/generate", {**BODY, "token_ids": []}, "answered 400: .*no tokens"),
    ("/inference/v1/generate", {**BODY, "sampling_params": {"max_tokens": 10**9}}, "answered 400: .*exceed"),
    ("/inference/v1/generate", {**BODY, "sampling_params": {"max_tokens": 2, "temperature": -1}}, "answered 400"),
    ("/inference/v1/generate", {**BODY, "forced": 7}, "answered 400"),
    ("/collective_rpc", {"method": "shutdown"}, "answered 500: no method 'shutdown'"),
    ("/update_weights", {"update_info": {"path": "/etc/passwd", "names": ["x"]}}, "answered 400"),
    ("/nowhere", {}, "answered 404: Not Found"),
    ("/v1/completions", {**TEXT, "model": "other"}, "answered 404: no model 'other'"),
    ("/v1/completions", {**TEXT, "n": 3}, "answered 400: n above 1"),
    ("/v1/completions", {**TEXT, "stream": True}, "answered 400: .*stream"),
    ("/v1/completions", {"model": "served"}, "answered 400: no such request"),
    ("/v1/completions", {**TEXT, "prompt": ""}, "answered 400: .*no tokens"),
    ("/v1/completions", {**TEXT, "max_tokens": 10**9}, "answered 400: .*exceed"),
    ("/v1/completions", {**TEXT, "stop": 5}, "answered 400: no such request"),
    ("/v1/chat/completions", {"model": "served", "messages": "hello"}, "answered 400"),
    ("/v1/chat/completions", {"model": "served", "messages": []}, "answered 400"),
])  # fmt: skip
def test_nonsense_is_answered_in_a_line_and_the_server_goes_on(start, route, body, told):
    server = start()
    wire = Wire(server.url)
    with pytest.raises(ServerRefusal, match=told):
        wire.post(route, body)
    assert len(wire.post("/inference/v1/generate", BODY)["choices"]) == 1


def test_weights_that_came_in_part_have_no_label(lab, start, connect, tmp_path):
    server = start()
    engine, _ = connect(server)
    Wire(server.url).post("/start_weight_update")
    engine.fleet.reconnect = 0.1
    with pytest.raises(RunError, match=r"no server is left|was lost with its server"):
        once(engine, lab.groups())


def test_without_the_key_nothing_but_its_health_is_told(start, monkeypatch):
    server = start(key="secret")
    assert Wire(server.url).get("/health") is None
    for route in ("/version", "/v1/models"):
        with pytest.raises(ServerRefusal, match="401"):
            Wire(server.url).get(route)
    for route in ("/collective_rpc", "/update_weights", "/inference/v1/generate"):
        with pytest.raises(ServerRefusal, match="401"):
            Wire(server.url).post(route, {"method": "r1lab_facts"})
    monkeypatch.setenv("THE_KEY", "secret")
    assert Wire(server.url, key_env="THE_KEY").get("/v1/models")["data"][0]["id"] == "served"


def test_a_client_that_goes_away_leaves_the_engine_free(lab, start, connect, monkeypatch):
    monkeypatch.setattr("r1lab.engines.server.local_server.SIGN_SECONDS", 0.0)
    engine, _ = connect(server := start())
    wire, opened = Wire(server.url), []
    body = {"requests": [BODY | {"sampling_params": {"max_tokens": 100}}]}
    with pytest.raises(Gone):
        list(wire.stream("/r1lab/generate", body, opened.append, lambda: wake_reader(opened[0])))
    assert len(once(engine, lab.groups())) == len(lab.groups())


def test_a_run_on_one_server_is_the_run_on_the_local_engine_bit_for_bit(start, tmp_path):
    folder = str(embedded.path())
    server = start(models.load_model(folder, torch.float32), models.load_tokenizer(folder))
    shown = {}
    for name, engine in (("served", {"kind": "server", "urls": [server.url]}), ("local", {"kind": "local"})):
        out = tmp_path / name
        recipe = {
            "name": "same", "steps": 2, "out": str(out), "engine": engine, "prompt": {"format": "Q: {prompt}\nA:"},
            "data": {"task": "addition", "size": 16, "settings": {"digits": 2}}, "max_new_tokens": 16,
            "prompts_per_step": 4, "group_size": 4, "threads": 1, "workers": {"count": 1}, "learning_rate": 1e-3,
        }  # fmt: skip
        pipeline.train(load.resolve(recipe), Progress(quiet=True))
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        figures = [{key: each for key, each in row.items() if not key.startswith("time/")} for row in rows]
        shown[name] = figures, (out / "model" / "model.safetensors").read_bytes()
    assert shown["served"] == shown["local"]
