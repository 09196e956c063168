import asyncio

import pytest

from r1lab.engines.server import launch
from r1lab.engines.server.guard import KeyGuard


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})


def status(monkeypatch, path, key=None, kind="http"):
    monkeypatch.setenv("VLLM_API_KEY", "k")
    sent = []

    async def send(message):
        sent.append(message)

    headers = [] if key is None else [(b"authorization", key)]
    asyncio.run(KeyGuard(app)({"type": kind, "path": path, "headers": headers}, None, send))
    return sent[0].get("status", sent[0].get("code"))


@pytest.mark.parametrize(
    "path", ["/collective_rpc", "/v1/completions", "/update_weights", "/", "/health/../x", "/HEALTH"]
)
def test_every_route_asks_for_the_key(monkeypatch, path):
    for key in (None, b"", b"k", b"Bearer", b"Bearer ", b"Bearer kk", b"bearer k", b"Bearer \xff"):
        assert status(monkeypatch, path, key) == 401
    assert status(monkeypatch, path, b"Bearer k") == 200
    assert status(monkeypatch, path, kind="websocket") == 1008


def test_health_and_the_life_of_the_server_need_none(monkeypatch):
    assert status(monkeypatch, "/health") == status(monkeypatch, "/collective_rpc", kind="lifespan") == 200


@pytest.mark.parametrize("key_env", [None, "THE_KEY"])
def test_a_server_without_a_key_says_what_whoever_reaches_it_may_do(monkeypatch, capsys, key_env):
    started = []
    monkeypatch.setattr(launch, "find_spec", lambda name: object())
    monkeypatch.setattr(launch.os, "execve", lambda *arguments: started.append(arguments))
    monkeypatch.setenv("THE_KEY", "secret")
    launch.serve("embedded", host="127.0.0.1", port=8000, key_env=key_env)
    told, ((_, arguments, environment),) = capsys.readouterr().err, started
    if key_env:
        assert told == "" and arguments[arguments.index("--middleware") + 1] == launch.GUARD
        assert environment["VLLM_API_KEY"] == "secret" and "secret" not in arguments
    else:
        assert "127.0.0.1:8000" in told and "replace its weights" in told and told.count("\n") == 1
        assert "--middleware" not in arguments
