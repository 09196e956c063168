"""Two trainers beside three servers of the local engine, all processes of their own, are one run: the same bytes each
time, also where a server or a trainer is killed. A line says what happened."""

import json
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from r1lab import embedded
from r1lab.engines.server.client import Gone, Wire
from r1lab.run import journal
from r1lab_data import Problem

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

RECIPE = {
    "name": "served",
    "data": {"task": "addition", "size": 64, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 16,
    "learning_rate": 3e-4,
    "optimizer": {"warmup_updates": 0},
    "threads": 1,
    "workers": {"count": 1},
    "prompts_per_step": 6,
    "steps": 3,
    "group_size": 4,
    "reward": {"score": 1.0, "length": -1.0},
    "checkpoint_every": 1,
    "eval": {"every": 2, "sets": {"test": {"task": "addition", "split": "eval", "size": 5}}},
}
SERVER = """
log = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1), os.dup2(log, 2)
from r1lab.engines.server import local_server
{death}
local_server.serve({model!r}, dtype="float32", threads=1, host="127.0.0.1", port={port})
"""
TRAINER = """
os.environ.update({environment!r})
log = open({log!r}, "a", buffering=1)
os.dup2(log.fileno(), 2)
sys.stderr = log
from r1lab import feed, loop
from r1lab.engines.server import fleet, transfer
if os.environ["RANK"] == {rank!r}:
    {death}
sys.argv = ["r1lab", "train", {recipe!r}]
from r1lab.cli.main import main
main()
"""


class Servers:
    """Processes that are started again where they were once they have died."""

    def __init__(self, forked, held_port, folder: Path, deaths: tuple[str, ...]):
        self.forked, self.log = forked, folder / "servers.log"
        self.ports = [held_port() for _ in deaths]
        self.urls = [f"http://127.0.0.1:{port}" for port in self.ports]
        self.processes = [self.start(number, death) for number, death in enumerate(deaths)]
        self.deaths = 0
        for url in self.urls:
            self.answers(Wire(url))

    def start(self, number: int, death: str = "pass"):
        where = {"model": str(embedded.path()), "port": self.ports[number], "log": str(self.log)}
        return self.forked(SERVER.format(death=death, **where))

    @staticmethod
    def answers(wire: Wire) -> None:
        for _ in range(300):
            with suppress(Gone):
                return wire.get("/health", 1.0)
            time.sleep(0.1)
        raise AssertionError(f"no server at {wire.url}")

    def tend(self) -> None:
        for number, process in enumerate(self.processes):
            if not process.is_alive():
                self.deaths += 1
                self.processes[number] = self.start(number)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()


@pytest.fixture(scope="module")
def train(forked, held_port):
    """Exit codes of a run of two in `out` on its servers; `death` is what one rank does before."""

    def run(out: Path, servers: Servers, death: str = "pass", rank: int = 1, **changes) -> list[int | None]:
        out.parent.mkdir(parents=True, exist_ok=True)
        recipe, log = out.with_suffix(".yaml"), out.with_suffix(".log")
        engine = {"kind": "server", "urls": servers.urls, "deadline": 30.0, "reconnect": 80.0}
        recipe.write_text(yaml.safe_dump({**RECIPE, "engine": engine, "out": str(out), **changes}))
        place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1",
                 "MASTER_PORT": str(held_port()), "R1LAB_RANK_DEADLINE": "120"}  # fmt: skip
        trainers = []
        for number in range(2):
            environment = {**place, "RANK": str(number), "LOCAL_RANK": str(number)}
            parts = {"environment": environment, "log": str(log), "rank": str(rank), "recipe": str(recipe)}
            trainers.append(forked(TRAINER.format(death=death, **parts)))
        until = time.monotonic() + 200
        while any(trainer.is_alive() for trainer in trainers) and time.monotonic() < until:
            servers.tend()
            time.sleep(0.2)
        codes = [trainer.exitcode for trainer in trainers]
        for trainer in trainers:
            trainer.kill()
            trainer.join()
        return codes

    return run


@pytest.fixture
def serve(forked, held_port, tmp_path):
    started = []

    def start(*deaths: str) -> Servers:
        started.append(Servers(forked, held_port, tmp_path, deaths or ("pass",) * 3))
        return started[-1]

    yield start
    for servers in started:
        servers.close()


def shown(out: Path) -> tuple[list[dict], bytes]:
    """What two equal runs have in common: every figure but times, and the weights."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert any(row.get("update/grad_norm", 0) > 1e-3 for row in rows)
    figures = [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]
    return figures, (out / "model" / "model.safetensors").read_bytes()


def drawn(out: Path) -> list:
    """Ids of every completion of the run, in the order of its steps."""
    ids = []
    for step in range(1, RECIPE["steps"] + 1):
        block = journal.read_block(
            out / "rollouts" / f"rl-{step}.parquet", lambda name: Problem(name, "", "", source="s")
        )
        ids += [(step, member.rollout.request.id) for settled in block for member in settled.drawn.members]
    return ids


@pytest.fixture(scope="module")
def straight(train, forked, held_port, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    servers = Servers(forked, held_port, folder, ("pass",) * 3)
    try:
        assert train(folder / "run", servers) == [0, 0], (folder / "run.log").read_text()
    finally:
        servers.close()
    return folder / "run"


DIES_OF_DRAW = """
original = local_server.LocalServer.choices

def choices(self, bodies, sign):
    if any("/train/rl:{draw}:" in body.get("request_id", "") for body in bodies):
        die()
    return original(self, bodies, sign)

local_server.LocalServer.choices = choices
"""
WAITS_FOR_ALL = """
    import time
    publish = fleet.Fleet.publish

    def published(self, *rest):
        until = time.monotonic() + 90
        while self._parcel is not None:
            for server in self.alive:
                self.check_idle(server)
            if self.alive == self.servers:
                break
            assert time.monotonic() < until, [server.why for server in self.servers]
            time.sleep(0.1)
            self.look_for_lost()
        publish(self, *rest)

    fleet.Fleet.publish = published
"""
"""Rank 0 sends weights only once all servers have those before: who was killed is back before a run ends."""


def test_the_same_bytes_twice_also_where_servers_die_within_a_transfer_and_while_they_sample(
    train, serve, straight, tmp_path
):
    deaths = ("at_call(local_server.LocalServer, 'update', 2)", DIES_OF_DRAW.format(draw=13),
              "at_call(local_server.LocalServer, 'finish_update', 2)")  # fmt: skip
    servers = serve(*deaths)
    assert train(tmp_path / "run", servers, WAITS_FOR_ALL, 0) == [0, 0], (tmp_path / "run.log").read_text()
    assert servers.deaths == 3
    said = (tmp_path / "run.log").read_text()
    assert all(f"server {url} is given up" in said and f"server {url} is back" in said for url in servers.urls), said
    assert shown(tmp_path / "run") == shown(straight)
    ids = drawn(tmp_path / "run")
    assert ids == drawn(straight) and len(ids) == len(set(ids)) == 3 * 6 * 4


KILLED = {
    "a trainer while it samples": (1, "at_call(feed.Feed, '_sample', 2)"),
    "the sender within a transfer": (0, "at_call(transfer.FileRoute, 'update', 5)"),
    "a trainer in its update": (1, "at_call(loop, 'learn', 2)"),
}


def test_trainers_that_are_killed_go_on_bit_for_bit(train, serve, straight, tmp_path):
    servers = serve()
    for rank, death in KILLED.values():
        codes = train(tmp_path / "run", servers, death, rank)
        assert codes[rank] == -9 and codes[1 - rank] == 1, (tmp_path / "run.log").read_text()
    lines = [line for line in (tmp_path / "run.log").read_text().splitlines() if line.startswith("r1lab: ")]
    assert len(lines) == len(KILLED) and all("another process is gone" in line for line in lines)
    assert train(tmp_path / "run", servers) == [0, 0], (tmp_path / "run.log").read_text()
    assert shown(tmp_path / "run") == shown(straight) and drawn(tmp_path / "run") == drawn(straight)


def test_a_server_that_only_another_rank_misses_is_sent_its_weights_again(train, serve, tmp_path):
    servers = serve(DIES_OF_DRAW.format(draw=1))
    small = {"prompts_per_step": 1, "steps": 2, "eval": {}}  # rank 0 has nothing to draw in the second step
    assert train(tmp_path / "run", servers, **small) == [0, 0], (tmp_path / "run.log").read_text()
    assert servers.deaths == 1 and "is back and has weights" in (tmp_path / "run.log").read_text()


def test_trainers_that_sample_ahead_are_killed_and_go_on_bit_for_bit(train, serve, tmp_path):
    servers, ahead = serve(), {"max_staleness": 1}
    assert train(tmp_path / "straight", servers, **ahead) == [0, 0], (tmp_path / "straight.log").read_text()
    figures, weights = shown(tmp_path / "straight")
    assert [row["rollout/staleness"] for row in figures if row["step"]] == [0.0, 1.0, 1.0]
    codes = train(tmp_path / "run", servers, "at_call(feed.Feed, '_sample', 3)", 1, **ahead)
    assert codes == [1, -9], (tmp_path / "run.log").read_text()
    assert train(tmp_path / "run", servers, **ahead) == [0, 0], (tmp_path / "run.log").read_text()
    assert shown(tmp_path / "run") == (figures, weights)
