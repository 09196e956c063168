"""A training run against a vLLM server that is killed again and again: no rollout may be lost, none counted twice.

    python experiments/benchmarks/server_soak.py MODEL [--minutes 60] [--kill-every 10] [--json FILE]

MODEL is a Hugging Face folder, such as `r1lab models get smollm2 smollm2` makes. The run is an ordinary one
(`r1lab.train`, two-digit addition, 8 problems x 8 rollouts); the server is a child of this script, killed with SIGKILL
every so many minutes, whatever it is doing, and started again at once. Then the journal is read: draws and rollouts are
counted, and so are tokens of other weights than the step's. Needs vLLM (its own virtual environment). Not a measurement
of speed.
"""

import argparse
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from bars import finish, line, machine, row
from server_child import Child

import r1lab
from r1lab.doctor.versions import ENGINES, version
from r1lab.run import journal
from r1lab_data import Problem

PROMPTS, GROUP = 8, 8
NOT_A_PROBLEM = Problem("-", "", "", source="-")


class Killer(threading.Thread):
    """Kills the server every so many seconds; notes when, and when it answered again."""

    def __init__(self, server: Child, every: float):
        super().__init__(daemon=True)
        self.server, self.every, self.over = server, every, threading.Event()
        self.kills: list[float] = []
        self.away: list[float] = []

    def run(self) -> None:
        while not self.over.wait(self.every):
            began = time.monotonic()
            self.kills.append(time.time())
            self.server.signal(signal.SIGKILL)
            self.server.start()
            self.server.wait()
            self.away.append(time.monotonic() - began)


def recipe(model: str, url: str, out: Path, minutes: float) -> dict:
    return {
        "name": "server_soak",
        "model": model,
        "out": str(out),
        "data": {"task": "addition", "size": 4096, "settings": {"digits": 2}},
        "verifier": "numeric",
        "prompt": {
            "format": "Question: What is {prompt}?\nAnswer:",
            "examples": [
                {"prompt": "20+14", "solution": "20 + 14 = 34"},
                {"prompt": "17+5", "solution": "17 + 5 = 22"},
            ],
        },
        "sampling": {"stop": ["\n"]},
        "max_new_tokens": 48,
        "prompts_per_step": PROMPTS,
        "group_size": GROUP,
        "precision": "float32",
        "threads": 1,
        "engine": {"kind": "server", "urls": [url], "deadline": 120.0, "reconnect": 900.0},
        "stop": {"max_hours": minutes / 60},
        "steps": 1_000_000,
        "checkpoint_every": 1_000_000,
    }


def counted(run) -> list[dict]:
    """Rows over the journal of a run of one stage: every draw once, every rollout of it once, of the step's weights."""
    steps = [each["step"] for each in run.metrics if each["step"]]
    draws, rollouts, strangers = [], [], 0
    for step in steps:
        for settled in journal.read_block(run.path / "rollouts" / f"rl-{step}.parquet", lambda _: NOT_A_PROBLEM):
            draws.append(settled.drawn.draw.number)
            for member in settled.drawn.members:
                rollouts.append(member.rollout.request.id)
                strangers += int((member.rollout.version != step - 1).sum())
    wanted = {(draw, index) for draw in range(len(steps) * PROMPTS) for index in range(GROUP)}
    found = [(each.draw, each.index) for each in rollouts]
    gaps = [each["mismatch/mean"] for each in run.metrics if each.get("mismatch/mean") is not None]
    return [
        row("steps", len(steps), ">=", 1),
        row("draws", len(draws), ">=", len(steps) * PROMPTS),
        row("rollouts", len(rollouts), ">=", len(wanted)),
        row("draws_lost", len(set(range(len(steps) * PROMPTS)) - set(draws)), "<=", 0),
        row("draws_doubled", len(draws) - len(set(draws)), "<=", 0),
        row("rollouts_lost", len(wanted - set(found)), "<=", 0),
        row("rollouts_doubled", len(found) - len(set(found)), "<=", 0),
        row("tokens_of_other_weights", strangers, "<=", 0),
        row("mismatch_mean_at_most", max(gaps, default=None), "<=", None if not gaps else 1e-4),
    ]


def soak(model: str, minutes: float, kill_every: float, folder: Path) -> list[dict]:
    with Child(model, folder / "server.log", more=["--dtype", "float32"]) as server:
        server.wait()
        killer = Killer(server, 60 * kill_every)
        killer.start()
        run = r1lab.train(recipe(model, server.url, folder / "run", minutes))
        killer.over.set()
        killer.join()
    away = {"seconds_until_it_answered": killer.away, "at": killer.kills}
    return [row("kills", len(killer.kills), ">=", max(1, int(minutes / (kill_every + 2))), **away), *counted(run)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a Hugging Face folder")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the run; it ends with the step it is in")
    parser.add_argument("--kill-every", type=float, default=10.0, metavar="MINUTES")
    parser.add_argument("--json", type=Path, help="write the rows there")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server goes too
    with tempfile.TemporaryDirectory() as folder:
        rows = soak(given.model, given.minutes, given.kill_every, Path(folder))
    about = machine(("torch", "transformers"))
    about["versions"] |= {name: found for name in ENGINES if (found := version(name))}
    for each in rows:
        each |= {"minutes": given.minutes, "kill_every": given.kill_every, "model": given.model} | about
        print(line(each))
    return finish(rows, given.json)


if __name__ == "__main__":
    sys.exit(main())
