"""Two trainers beside three servers, sampling ahead, where servers, trainers and the command itself are killed again
and again: nothing is lost or counted twice, and the run is, bit for bit, one that nothing was killed in.

    python experiments/benchmarks/fleet_soak.py [--minutes 30] [--kill-every 2] [--folder DIR] [--json FILE]

The embedded model, `max_staleness: 1`, six problems x four rollouts a step. A server of the local engine is killed with
SIGKILL every so many minutes, each in turn, and started again at once; each of the two trainers once and the command
that started them twice, after which the same command is given again. Beside it the same recipe runs on three servers of
its own and is left alone. In the end the journals, the metrics and a checkpoint's weights are compared. Not a
measurement of speed.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import yaml
from bars import finish, line, machine, row
from server_child import Child, ProcessTree
from server_soak import NOT_A_PROBLEM

from r1lab.run import journal

SERVERS, TRAINERS, PROMPTS, GROUP = 3, 2, 6, 4
COMMAND = "command"
ENDED = (0, COMMAND, 1, COMMAND)
"""What is killed of a run, in this order: a trainer by its rank, or the command."""
CHECKPOINT_STEPS = 10
END_SECONDS = 300.0
"""For a run's orderly end, and for the one beside it to come as far."""


def recipe(out: Path, servers: list[Child]) -> dict:
    return {
        "name": "fleet_soak", "out": str(out), "steps": 1_000_000, "max_staleness": 1, "threads": 1,
        "data": {"task": "addition", "size": 4096, "settings": {"digits": 2}}, "prompt": {"format": "Q: {prompt}\nA:"},
        "max_new_tokens": 24, "prompts_per_step": PROMPTS, "group_size": GROUP, "learning_rate": 1e-4,
        "reward": {"score": 1.0, "length": -0.1}, "workers": {"count": 1}, "print_samples": 0,
        "checkpoint_every": CHECKPOINT_STEPS, "keep_last": 100,
        "engine": {
            "kind": "server", "urls": [server.url for server in servers], "deadline": 600.0, "reconnect": 600.0,
        },
        "eval": {"every": 50, "sets": {"held_out": {"task": "addition", "split": "eval", "size": 16}}},
    }  # fmt: skip


class Fleet:
    """A run of two trainers on three servers, all children of this program."""

    def __init__(self, folder: Path, undo: ExitStack):
        folder.mkdir(parents=True)
        self.folder, self.out = folder, folder / "run"
        self.servers = [Child("embedded", folder / f"server-{each}.log", is_local=True) for each in range(SERVERS)]
        for server in self.servers:
            undo.callback(server.signal, signal.SIGKILL)
            server.wait()
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe(self.out, self.servers)))
        self.train()
        undo.callback(self.kill)

    def train(self) -> None:
        """Give the command, for the first time or again."""
        command = ["train", str(self.folder / "recipe.yaml"), "--processes", str(TRAINERS)]
        with (self.folder / "train.log").open("a") as log:
            self.process = ProcessTree([sys.executable, "-P", "-m", "r1lab", *command], stdout=log, stderr=log)

    def metrics(self) -> list[dict]:
        """The rows of whole steps, without times."""
        file = self.out / "metrics.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        rows = [json.loads(text) for text in lines if text.endswith("}")]
        return [{key: value for key, value in each.items() if not key.startswith("time/")} for each in rows]

    def steps(self) -> int:
        return max((each["step"] for each in self.metrics()), default=0)

    def kill_part(self, part: int | str) -> None:
        """SIGKILL to one of the trainers, by its rank, or to the command that started them; returns when all ended."""
        command = psutil.Process(self.process.pid)
        trainers = command.children()
        for process in [command] if part == COMMAND else trainers:
            if part == COMMAND or process.environ().get("RANK") == str(part):
                process.kill()
        wait_until(lambda: not any(map(is_alive, [command, *trainers])), f"the run ends with its {part}")
        self.process.signal_all(signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL to the command and its processes, which have sessions of their own."""
        for child in psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else ():
            child.kill()
        self.process.signal_all(signal.SIGKILL)

    def end(self) -> None:
        """SIGTERM: the step at hand is finished and saved."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(END_SECONDS)


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_until(happened: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + END_SECONDS
    while not happened():
        if time.monotonic() > ends:
            raise SystemExit(f"not within {END_SECONDS:g} s: {what}")
        time.sleep(0.5)


def disturb(fleet: Fleet, minutes: float, kill_every: float) -> dict[str, list[float]]:
    """Kill and start again for so long; when, in seconds since the beginning."""
    kills: dict[str, list[float]] = {"servers": [], "trainers": [], "commands": []}
    began, restarted_at, ended = time.monotonic(), 0, 0
    while (now := time.monotonic() - began) < 60 * minutes:
        time.sleep(0.5)
        is_at_work = fleet.steps() > restarted_at  # a command that is given again wants all servers at first
        if is_at_work and now >= 60 * kill_every * (len(kills["servers"]) + 1):
            server = fleet.servers[len(kills["servers"]) % SERVERS]
            server.signal(signal.SIGKILL)
            server.start()
            kills["servers"].append(round(now, 1))
        if is_at_work and ended < len(ENDED) and now >= 60 * minutes * (ended + 0.9) / (len(ENDED) + 1):
            part = ENDED[ended]
            kills["commands" if part == COMMAND else "trainers"].append(round(now, 1))
            fleet.kill_part(part)
            ended += 1
            restarted_at = fleet.steps()
            for server in fleet.servers:
                server.wait()  # who starts a run wants all of them
            fleet.train()
        if fleet.process.poll() is not None:
            raise SystemExit(f"the run ended by itself ({fleet.process.returncode}); see {fleet.folder / 'train.log'}")
    return kills


def counted(out: Path, steps: int) -> list[dict]:
    """Rows over the journal: every draw once, every rollout of it once, of the weights that the schedule says."""
    draws, rollouts, strangers = [], [], 0
    for step in range(1, steps + 1):
        for settled in journal.read_block(out / "rollouts" / f"rl-{step}.parquet", lambda _: NOT_A_PROBLEM):
            draws.append(settled.drawn.draw.number)
            for member in settled.drawn.members:
                rollouts.append((member.rollout.request.id.draw, member.rollout.request.id.index))
                strangers += int((member.rollout.version != max(0, step - 2)).sum())
    wanted = {(draw, index) for draw in range(steps * PROMPTS) for index in range(GROUP)}
    return [
        row("draws", len(draws), ">=", steps * PROMPTS),
        row("draws_lost", len({draw for draw, _ in wanted} - set(draws)), "<=", 0),
        row("draws_doubled", len(draws) - len(set(draws)), "<=", 0),
        row("rollouts", len(rollouts), ">=", len(wanted)),
        row("rollouts_lost", len(wanted - set(rollouts)), "<=", 0),
        row("rollouts_doubled", len(rollouts) - len(set(rollouts)), "<=", 0),
        row("tokens_of_other_weights", strangers, "<=", 0),
    ]


def compared(disturbed: Fleet, alone: Fleet, steps: int) -> list[dict]:
    """Rows of what differs between the two runs up to a step."""
    rows = [[each for each in fleet.metrics() if each["step"] <= steps] for fleet in (disturbed, alone)]
    numbers = [each["step"] for each in rows[0] if each["step"]]
    tables = [f"rollouts/rl-{step}.parquet" for step in range(1, steps + 1)]
    # How long a verdict took is in no equal run the same.
    blocks = (
        [pq.read_table(fleet.out / name).drop_columns("seconds") for name in tables] for fleet in (disturbed, alone)
    )
    differing = sum(not one.equals(other) for one, other in zip(*blocks))
    last = steps - steps % CHECKPOINT_STEPS
    saved = f"checkpoints/rl-{last}/model.safetensors"
    is_equal = (disturbed.out / saved).read_bytes() == (alone.out / saved).read_bytes()
    return [
        row("updates", len(numbers), ">=", steps),
        row("updates_lost", len(set(range(1, steps + 1)) - set(numbers)), "<=", 0),
        row("updates_doubled", len(numbers) - len(set(numbers)), "<=", 0),
        row("blocks_that_differ", differing, "<=", 0),
        row("rows_of_metrics_that_differ", sum(one != other for one, other in zip(*rows, strict=True)), "<=", 0),
        row("weights_that_differ", int(not is_equal), "<=", 0, step=last),
    ]


def soak(minutes: float, kill_every: float, folder: Path) -> list[dict]:
    with ExitStack() as undo:
        alone, disturbed = Fleet(folder / "alone", undo), Fleet(folder / "disturbed", undo)
        wait_until(lambda: disturbed.steps() > 0, "the first step")
        kills = disturb(disturbed, minutes, kill_every)
        disturbed.end()
        steps = disturbed.steps()
        wait_until(lambda: alone.steps() >= steps or alone.process.poll() is not None, "the run that is left alone")
        alone.kill()
        said = (disturbed.folder / "train.log").read_text()
        return [
            row("server_kills", len(kills["servers"]), ">=", int(minutes / kill_every) - 1, at=kills["servers"]),
            row("trainer_kills", len(kills["trainers"]), ">=", TRAINERS, at=kills["trainers"]),
            row("command_kills", len(kills["commands"]), ">=", ENDED.count(COMMAND), at=kills["commands"]),
            row("lines_given_up", said.count("is given up"), ">=", 1),
            row("lines_back", said.count("is back and has weights"), ">=", 1),
            row("steps", steps, ">=", 1),
            *counted(disturbed.out, steps),
            *compared(disturbed, alone, steps),
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="in which is killed")
    parser.add_argument("--kill-every", type=float, default=2.0, metavar="MINUTES", help="a server")
    parser.add_argument("--folder", type=Path, help="for both runs, kept; else one that goes with the program")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all go with it
    with tempfile.TemporaryDirectory() as name:
        rows = soak(given.minutes, given.kill_every, given.folder or Path(name))
    about = {"minutes": given.minutes, "kill_every": given.kill_every, **machine(("torch", "transformers"))}
    print(json.dumps(about), f"load {os.getloadavg()[0]:.1f}")
    for each in rows:
        print(line(each))
    return finish([each | about for each in rows], given.json)


if __name__ == "__main__":
    sys.exit(main())
