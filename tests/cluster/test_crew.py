"""What becomes of servers and trainers that die, with a stand-in for Ray whose actors live in this process, and one for
r1lab. With Ray itself stands in test_driver.py."""

import os
import signal
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from r1lab.cluster import actor, crew, driver, placement
from r1lab.cluster.actor import Place, ProcessActor
from r1lab.errors import RecipeError, RunError, Stopped
from r1lab.run.manifest import r1lab_version

R1LAB = """#!/bin/bash
shift 2
echo "$*" >> {folder}/started
if [[ $1 == serve ]]; then while [[ $1 != --port ]]; do shift; done; exec {python} -S -c "$SERVES" $2; fi
echo "rank $RANK of $WORLD_SIZE with $R1LAB_SERVERS and ${{#R1LAB_REPLICA_KEY}}"
{trains}
"""
SERVES = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        with server.accept()[0] as asked:
            asked.recv(9999)
            asked.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\n{}")
"""


class Lost(Exception):
    """As Ray's errors of actors."""


class Unavailable(Lost):
    pass


class StandIn:
    """The calls of Ray that a crew makes; actors are objects of this process."""

    exceptions = SimpleNamespace(RayError=Lost, ActorUnavailableError=Unavailable)

    def __init__(self):
        self.made: list[StandInActor] = []
        self.is_full = False
        self.sees = lambda place: place

    def remote(self, **options):
        return lambda kind: SimpleNamespace(remote=lambda: self.make())

    def make(self):
        self.made.append(StandInActor(self))
        return self.made[-1]

    def wait(self, calls, num_returns, timeout):
        return [list(each) for each in wait(calls, timeout=timeout / 4)]

    def get(self, call):
        return call.result()

    def kill(self, found):
        found.die()

    def nodes(self):
        return [{"Alive": True, "NodeManagerAddress": "127.0.0.1", "Resources": {"CPU": 9.0}}]

    def get_runtime_context(self):
        return SimpleNamespace(gcs_address="127.0.0.1:1", get_node_id=lambda: "node")


class StandInActor:
    def __init__(self, ray):
        self.ray, self.inner, self.pool, self.is_gone = ray, ProcessActor(), ThreadPoolExecutor(4), False

    def __getattr__(self, name):
        def call(*arguments):
            if self.ray.is_full and name == "look":
                return Future()
            return self.pool.submit(self.call, name, arguments)

        return SimpleNamespace(remote=call)

    def call(self, name, arguments):
        found = getattr(self.inner, name)(*arguments) if not self.is_gone else None
        if self.is_gone:
            raise Lost("the actor died")
        return self.ray.sees(found) if isinstance(found, Place) else found

    def die(self):
        self.is_gone = True
        self.inner.stop()


@pytest.fixture
def ray(monkeypatch):
    group = SimpleNamespace(wait=lambda seconds: True)
    modules = {
        "ray": {"util": SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1")}, "ray.util": {},
        "ray.util.placement_group": {"placement_group": lambda bundles, strategy: group,
                                     "remove_placement_group": lambda group: None},
        "ray.util.scheduling_strategies": {"PlacementGroupSchedulingStrategy": lambda *arguments: None},
    }  # fmt: skip
    own = StandIn()
    modules["ray"]["get_runtime_context"] = own.get_runtime_context
    for name, values in modules.items():
        module = ModuleType(name)
        module.__dict__.update(values)
        monkeypatch.setitem(sys.modules, name, module)
    yield own
    for each in own.made:
        each.die()


@pytest.fixture
def make(ray, tmp_path, monkeypatch):
    """make(what a trainer does, servers, trainers) -> (the run, lines that it said)"""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(crew, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(crew, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(driver.launch, "GRACE_SECONDS", 1.0)
    monkeypatch.setenv("SERVES", SERVES)

    def run(trains: str, servers: int = 1, trainers: int = 1, wait_seconds: float = 20.0):
        stub = tmp_path / "r1lab"
        stub.write_text(R1LAB.format(folder=tmp_path, python=sys.executable, trains=trains))
        stub.chmod(0o755)
        monkeypatch.setattr(actor, "sys", SimpleNamespace(executable=str(stub)))
        recipe = {"engine": "server", "data": {"task": "addition", "size": 4}, "prompt": {"format": "{prompt}"},
                  "max_new_tokens": 4, "steps": 1}  # fmt: skip
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        (tmp_path / "cluster.yaml").write_text(
            yaml.safe_dump({"servers": {"count": servers}, "wait_seconds": wait_seconds})
        )
        placed = placement.read(tmp_path / "cluster.yaml", "recipe.yaml", [], trainers)
        lines: list[str] = []
        model = placement.ServedModel("embedded", "local", "float32", ())
        own = driver.ClusterRun(
            ray, placed, tmp_path / "run", "recipe.yaml", model, ["train", "recipe.yaml"], lines.append
        )
        return own, lines

    return run


def when(run, happened, act):
    """Call `act` within the run's turns, once it `happened`."""
    original, done = run.crew.turn, []

    def turn():
        original()
        if not done and run.crew.is_running and happened():
            done.append(act())

    run.crew.turn = turn


def test_servers_and_trainers_start_with_what_they_need_and_end_with_the_run(make, ray, capfd, tmp_path):
    run, lines = make("echo out; echo err >&2", servers=2, trainers=2)
    assert run.whole() == 0
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == sorted(
        ["out"] * 2 + [f"rank {rank} of 2 with {','.join(run.crew.urls)} and 32" for rank in range(2)]
    )
    assert err.splitlines() == ["err"] * 2 and len(lines) == 1
    assert all(each.is_gone and each.inner.tree.poll() is not None for each in ray.made)
    assert not run.crew.logs.exists() and not list(tmp_path.glob(".r1lab-*"))


@pytest.mark.parametrize(("trains", "code", "held"), [
    ("echo 'r1lab: no more' >&2; exit 2", 2, "r1lab: no more\n"), ("[[ $RANK == 1 ]] && exit 3; exit 0", 3, ""),
])  # fmt: skip
def test_a_trainer_that_fails_ends_the_run_with_its_code_and_line(make, capfd, trains, code, held):
    run, _ = make(trains, trainers=2)
    assert run.whole() == code
    assert capfd.readouterr().err.startswith(held)


def test_a_trainer_that_is_killed_is_named_and_the_others_lines_are_not_shown(make, capfd):
    run, lines = make("[[ $RANK == 1 ]] && kill -9 $$; echo 'r1lab: another process is gone' >&2; exit 1", trainers=2)
    with pytest.raises(RunError, match=r"^trainer 1 on \S+ was killed \(SIGKILL\); the same command goes on"):
        run.whole()
    assert "another process" not in capfd.readouterr().err and "is in" in lines[-1] and run.crew.logs.is_dir()


def test_a_trainer_whose_actor_is_lost_is_named_while_the_others_hang(make, ray):
    run, _ = make("sleep 60", trainers=2)
    when(run, lambda: all(each.starts for each in run.crew.trainers), lambda: run.crew.trainers[0].actor.die())
    with pytest.raises(RunError, match=r"^trainer 0 on \S+ is lost with its machine, or with Ray's process there; "):
        run.whole()
    assert all(each.inner.tree.poll() is not None for each in ray.made)


WAITS = "until [[ -e end ]]; do sleep 0.05; done"


def test_a_server_that_ends_starts_again_in_its_place_five_times(make, tmp_path):
    run, lines = make(WAITS)
    kills = []

    def kill():
        server = run.crew.servers[0]
        tree = server.actor.inner.tree
        if server.why:
            (tmp_path / "end").touch()
        elif server.starts > len(kills) and tree.poll() is None:
            kills.append(tree.pid)
            os.kill(tree.pid, signal.SIGKILL)

    original = run.crew.turn
    run.crew.turn = lambda: (original(), run.crew.is_running and kill())
    assert run.whole() == 0
    assert len(kills) == crew.MOST_STARTS == sum(line.startswith("serve ") for line in started(tmp_path))
    assert sum("ended (-9) and starts again" in line for line in lines) == 4
    assert "is given up: it was started 5 times" in lines[-2] and "goes on without it" in lines[-2]


def started(folder: Path) -> list[str]:
    return (folder / "started").read_text().splitlines()


def test_a_server_whose_actor_is_lost_is_moved_and_the_trainers_are_told(make, tmp_path):
    run, lines = make(WAITS, trainers=2)
    when(run, lambda: all(each.starts for each in run.crew.trainers), lambda: run.crew.servers[0].actor.die())
    told: list[str] = []

    def moved():
        books = [each.actor.inner.moved for each in run.crew.trainers]
        if all(book.exists() for book in books):
            told.extend(book.read_text() for book in books)
            (tmp_path / "end").touch()

    original = run.crew.turn
    run.crew.turn = lambda: (original(), not told and moved())
    assert run.whole() == 0
    (before,), after = run.crew.urls, crew.url_of(run.crew.servers[0].there)
    assert set(told) == {f'{{"{before}": "{after}"}}'} and before != after
    assert "is lost with its actor; Ray looks for another place" in lines[1] and f"at {after} now" in lines[2]


def test_a_server_that_no_machine_has_room_for_is_given_up_in_time(make, ray, tmp_path):
    run, lines = make(WAITS, servers=2, wait_seconds=1.0)

    def lose():
        ray.is_full = True
        run.crew.servers[1].actor.die()

    when(run, lambda: True, lose)
    original = run.crew.turn
    run.crew.turn = lambda: (original(), run.crew.servers[1].why and (tmp_path / "end").touch())
    assert run.whole() == 0
    assert any("server 1" in line and "no machine had room for it within 1 s" in line for line in lines)
    assert run.crew.servers[0].why == ""


def test_a_signal_reaches_every_trainer_and_what_it_does_then_is_waited_for(make, capfd):
    run, _ = make("trap 'sleep 0.3; echo saved; exit 143' TERM; echo up; sleep 60 & wait", trainers=2)
    heard: list[str] = []
    original = run.hear
    run.crew.hear = lambda member, stream, line: (heard.append(line), original(member, stream, line))
    when(run, lambda: heard.count("up") == 2, lambda: signal.raise_signal(signal.SIGTERM))
    assert run.whole() == 143
    assert capfd.readouterr().out.count("saved") == 2


SEEN = {
    "said": ("", r"does not see what is written to .*: the run's folder \S+/run must be on storage that every machine"),
    "version": ("0.0.1", rf"has r1lab 0\.0\.1, this machine {r1lab_version()}; install one everywhere"),
    "missing": (("/data/model",), r"has no /data/model; start on storage that every machine shares"),
}


@pytest.mark.parametrize("what", SEEN)
def test_a_machine_that_does_not_see_what_it_needs_is_refused_before_anything_starts(make, ray, tmp_path, what):
    from dataclasses import replace

    value, told = SEEN[what]
    ray.sees = lambda place: replace(place, **{what: value})
    run, lines = make("exit 0")
    with pytest.raises(RecipeError, match=rf"^--cluster: \S+ {told}"):
        run.whole()
    assert lines == [] and not (tmp_path / "started").exists() and not (tmp_path / "run").exists()
    assert not list(tmp_path.glob(".r1lab-*"))


def test_a_server_that_does_not_start_says_its_last_words(make, monkeypatch, tmp_path):
    monkeypatch.setenv("SERVES", "raise SystemExit('no such model')")
    run, _ = make("exit 0")
    with pytest.raises(
        RunError, match=r"--cluster: server 0 on \S+ did not start; it said: no such model \(all of it: "
    ):
        run.whole()
    assert not any(line.startswith("train") for line in started(tmp_path))


def test_ctrl_c_before_the_trainers_start_ends_at_once(make, ray):
    ray.is_full = True
    run, _ = make("exit 0")
    original, ends = run.crew.turn, time.monotonic() + 20
    run.crew.turn = lambda: (original(), signal.raise_signal(signal.SIGINT))
    with pytest.raises(Stopped, match="no trainer had started"), driver.signals.terminable("no trainer had started"):
        run.whole()
    assert time.monotonic() < ends
