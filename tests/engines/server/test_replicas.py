"""Servers that a run starts end with it, whatever ends it; what cannot be had is refused in a line."""

import json
import os
import shutil
import signal
import time
from contextlib import suppress

import psutil
import pytest
import torch

from r1lab import embedded
from r1lab.engines import factory
from r1lab.engines.server import launch, replicas
from r1lab.engines.server.client import ServerRefusal, Wire
from r1lab.engines.server.replicas import ProcessTree, ReplicaPlan, Replicas
from r1lab.errors import RecipeError, RunError
from r1lab.recipe import EngineConfig

STARTS = """
import subprocess
from r1lab.engines.server.replicas import ProcessTree
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
    group = ProcessTree(["sleep", "600"])
    group.signal_all(signal.SIGKILL)
    assert (group.returncode, group.guard.returncode) == (-9, -9)
    group.signal_all(signal.SIGKILL)


@pytest.fixture
def started(monkeypatch):
    """started(count, model) -> (replicas, lines); all end with the test."""
    running, lines = [], []
    monkeypatch.setenv(replicas.KEY_VARIABLE, "")

    def start(count=1, model=None, **changes):
        plan = ReplicaPlan(
            **{"model": model or str(embedded.path()), "kind": "local", "dtype": "float32", "threads": 1, **changes}
        )
        running.append(Replicas(plan, [""] * count, lines.append))
        return running[-1], lines

    yield start
    for each in running:
        each.close()


@pytest.mark.slow
def test_a_replica_answers_who_has_the_runs_key_starts_again_where_it_dies_and_ends_with_the_engine(
    started, monkeypatch
):
    own, lines = started()
    (url,), process = own.urls, own.processes[0]
    assert Wire(url, key_env=replicas.KEY_VARIABLE).get("/v1/models")["data"][0]["id"] == str(embedded.path())
    with pytest.raises(ServerRefusal, match="401"):
        Wire(url).get("/v1/models")
    process.signal_all(signal.SIGKILL)
    ends = time.monotonic() + 60
    while own.processes[0] is process and time.monotonic() < ends:
        time.sleep(0.05)
    own.wait(0)
    assert lines == [f"warning: server {url} ended (-9) and starts again; its log: {own.log(0)}"]
    last = own.processes[0]
    own.close()
    assert own.log(0).is_file()
    shutil.rmtree(own.logs)
    assert last.returncode == last.guard.returncode == -9


@pytest.mark.slow
def test_a_replica_that_does_not_start_says_its_last_words(started, tmp_path):
    with pytest.raises(RunError, match=r"engine\.replicas: server 0 did not start; it said: .*nowhere"):
        started(model=str(tmp_path / "nowhere"))


TRAINS = """
from r1lab import pipeline
from r1lab.recipe import load
from r1lab.run import progress
pipeline.train(load.resolve({recipe!r}), progress.Progress(quiet=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_a_run_brings_its_servers_and_takes_them_along(forked_in, tmp_path, killed):
    recipe = {
        "name": "own", "steps": 1, "out": str(tmp_path / "run"), "engine": {"kind": "server", "replicas": 2},
        "prompt": {"format": "Q: {prompt}\nA:"}, "data": {"task": "addition", "size": 16, "settings": {"digits": 2}},
        "max_new_tokens": 16, "prompts_per_step": 4, "group_size": 4, "threads": 1, "workers": {"count": 1},
    }  # fmt: skip
    code = "from r1lab import loop\nat_call(loop, 'learn', 1)\n" * killed + TRAINS.format(recipe=recipe)
    program = forked_in(tmp_path, code)
    servers = set()
    while program.is_alive():
        with suppress(psutil.Error):
            servers |= {each for each in psutil.Process(program.pid).children() if "serve" in each.cmdline()}
        program.join(0.1)
    assert program.exitcode == (-9 if killed else 0), (tmp_path / "stderr").read_text()
    _, alive = psutil.wait_procs(servers, timeout=20)
    assert len(servers) == 2 and not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]
    notes = json.loads((tmp_path / "run" / "manifest.json").read_text())["notes"]
    assert any(note.count("http://127.0.0.1:") == 2 for note in notes)


def on_gpus(monkeypatch, count, trainers=1, size=None, visible=""):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(replicas.ranks, "neighbours", lambda: trainers)
    monkeypatch.setattr(replicas.ranks, "size", lambda: size or trainers)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


def test_each_replica_gets_gpus_of_its_own_after_those_of_the_trainers(monkeypatch):
    on_gpus(monkeypatch, 8, trainers=2)
    assert replicas.devices(3, 2) == ["2,3", "4,5", "6,7"] and replicas.devices(1, 1) == ["2"]
    on_gpus(monkeypatch, 3, visible="7,5,GPU-aa")
    assert replicas.devices(2, 1) == ["5", "GPU-aa"]
    on_gpus(monkeypatch, 0)
    assert replicas.devices(2, 1) == ["", ""]


def test_servers_that_are_placed_elsewhere_are_not_counted_here(monkeypatch):
    on_gpus(monkeypatch, 1)
    knobs = EngineConfig(kind="server", replicas=2)
    with pytest.raises(RecipeError, match="there are 1"):
        factory.check(knobs, None)
    monkeypatch.setenv("R1LAB_SERVERS", "http://a:1,http://b:2")
    assert factory.check(knobs, None) is None


@pytest.mark.parametrize(("gpus", "trainers", "size", "told"), [
    (4, 2, 2, r"2 servers of 2 GPU\(s\) and 2 trainer\(s\) need 2 \+ 2 x 2 = 6 GPUs, and there are 4"),
    (1, 1, 1, r"need 1 \+ 2 x 2 = 5 GPUs, and there are 1"),
    (8, 2, 4, r"start on rank 0's machine alone, and 4 trainers run on several; .*engine\.urls"),
])  # fmt: skip
def test_more_than_this_machine_has_is_refused_with_the_sum(monkeypatch, gpus, trainers, size, told):
    on_gpus(monkeypatch, gpus, trainers, size)
    with pytest.raises(RecipeError, match=told):
        replicas.devices(2, 2)


@pytest.mark.parametrize("engine", [
    {"kind": "server"}, {"kind": "local", "replicas": 2}, {"replicas": 1}, {"kind": "server", "replicas": -1},
    {"kind": "server", "replicas": 1, "urls": ["http://a:1"]}, {"kind": "server", "replicas": "two"},
])  # fmt: skip
def test_replicas_stand_in_the_place_of_urls(engine):
    with pytest.raises(ValueError, match=r"replicas|go together"):
        EngineConfig(**engine)


def test_a_replica_of_vllm_gets_its_options_its_gpu_and_the_runs_key(monkeypatch):
    monkeypatch.setattr(launch, "find_spec", lambda name: object())
    monkeypatch.setenv(replicas.KEY_VARIABLE, "secret")
    plan = ReplicaPlan("M", "vllm", "bfloat16", 1, 2, ("--max-num-seqs", "64"))
    arguments, environment, port = replicas._command(plan, "2,3", 8123)
    text = " ".join(arguments)
    assert "--model M" in text and "--port 8123" in text and port == 8123 and "--tensor-parallel-size 2" in text
    assert "--dtype bfloat16" in text and "--max-num-seqs 64" in text and "secret" not in text
    assert environment["CUDA_VISIBLE_DEVICES"] == "2,3" and environment["VLLM_API_KEY"] == "secret"
