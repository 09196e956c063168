"""A step whose block is sampled while the step before is learned, beside one that waits: how much of the shorter of the
two is hidden.

    python experiments/benchmarks/overlap.py [--rounds 3] [--steps 8] [--prompts 256] [--keep 8] [--beside] [--json F]

One server of the local engine on one core, a trainer of one thread, the embedded model. Each round runs `max_staleness:
0`, then `1`, with a learning rate at which nothing changes, so that all steps are alike. Both take the engine's
log-probabilities as old ones, else a step that samples ahead would score its block as well. Rollout (sampling and the
rest of verifying) and update are those of the steps that wait; a step that samples ahead should take little more than
the larger of the two. The server is bound to its core, the trainer and its verifier's worker are not. With `--beside` a
third run, which waits too, has a process of its own sampling on the server's core all the time: what an update loses
there (`update_beside_seconds`) two processes lose that have nothing in common. All eight samples of a group are
learned, so that learning takes longer than sampling; with `--keep 4` half of them are (PODS, arXiv 2504.13818), and
sampling takes longer. A run's first two steps and its last, which samples nothing, are left out. Not a measurement of
what it does to learning.
"""

import argparse
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from bars import finish, line, machine, row
from server_child import ProcessTree

import r1lab
from r1lab.engines.server.client import Gone, ServerRefusal, Wire

LIMIT = 1.15
"""Times the larger of rollout and update."""
GROUP, LEFT_OUT = 8, 2
"""Samples a problem; steps at a run's beginning that do not count."""
SAMPLES = """
import torch
from r1lab import embedded
from r1lab.engines.server.local_server import LocalServer
from r1lab.policy import models
torch.set_num_threads(1)
parts = models.load_model(str(embedded.path()), torch.float32), models.load_tokenizer(str(embedded.path()))
server = LocalServer(*parts, served="-", host="127.0.0.1", port=0, dtype=torch.float32, key=None)
bodies = [{"token_ids": [5] * 16, "sampling_params": {"max_tokens": 64, "seed": seed}} for seed in range(256)]
while True:
    server.choices(bodies, lambda: None)
"""


def recipe(url: str, out: Path, steps: int, prompts: int, keep: int, staleness: int) -> dict:
    group = {"group": {"select": "pods", "keep": keep}} if keep < GROUP else {}
    return {
        "name": "overlap", "out": str(out), "steps": steps, "max_staleness": staleness, "threads": 1,
        "data": {"task": "addition", "size": 4096}, "prompt": {"format": "Q: {prompt}\nA:"}, "max_new_tokens": 64,
        "prompts_per_step": prompts, "group_size": GROUP, "learning_rate": 1e-12, "workers": {"count": 1},
        "engine": {"kind": "server", "urls": [url]}, "old_logprobs": "engine", "print_samples": 0,
        "objective": {"entropy": {"coef": 1e-9}, **group}, "checkpoint_every": 1_000_000,
    }  # fmt: skip


def serve(folder: Path, core: int) -> tuple[ProcessTree, str]:
    """A server of the embedded model on one core, and its URL, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [sys.executable, "-m", "r1lab", "serve", "embedded", "--engine", "local", "--threads", "1"]
    with (folder / "server.log").open("w") as log:
        pinned = {"preexec_fn": lambda: os.sched_setaffinity(0, {core})}
        process = ProcessTree([*arguments, "--port", str(port)], stdout=log, stderr=log, **pinned)
    wire = Wire(f"http://127.0.0.1:{port}")
    for _ in range(600):
        with suppress(Gone, ServerRefusal):
            wire.get("/health", 1.0)
            return process, wire.url
        time.sleep(0.1)
    raise SystemExit(f"the server does not answer; see {folder / 'server.log'}")


@contextmanager
def sampling_on(core: int) -> Iterator[None]:
    """A process that samples on a core, and serves nobody, for as long as the context lasts."""
    busy = ProcessTree([sys.executable, "-c", SAMPLES], preexec_fn=partial(os.sched_setaffinity, 0, {core}))
    try:
        yield
    finally:
        busy.signal_all(9)


def measured(url: str, out: Path, steps: int, prompts: int, keep: int, staleness: int) -> list[dict]:
    """Rows of the steps that count."""
    run = r1lab.train(recipe(url, out, steps, prompts, keep, staleness))
    return run.metrics[LEFT_OUT:-1]


def rows(waiting: list[dict], ahead: list[dict], beside: list[dict]) -> list[dict]:
    """Figures of the kinds of step, in seconds, and the ratio that is held to a limit."""

    def middle(metrics: list[dict], *keys: str) -> float:
        return statistics.median(sum(each[f"time/{key}"] for key in keys) for each in metrics)

    rollout, update = middle(waiting, "rollout", "verify"), middle(waiting, "update")
    step = middle(ahead, "total")
    return [
        row("rollout_seconds", rollout, ">=", None),
        row("update_seconds", update, ">=", None),
        row("step_waiting_seconds", middle(waiting, "total"), ">=", None),
        row("step_ahead_seconds", step, ">=", None),
        *([row("update_beside_seconds", middle(beside, "update"), ">=", None)] if beside else []),
        *(
            row(f"{name}_ahead_seconds", middle(ahead, name), ">=", None)
            for name in ("update", "score", "quiet", "sync")
        ),
        row("rollout_idle_seconds", middle(ahead, "rollout_idle"), ">=", None),
        row("speedup", middle(waiting, "total") / step, ">=", None),
        row("step_over_larger", step / max(rollout, update), "<=", LIMIT, steps=[len(waiting), len(ahead)]),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of both runs")
    parser.add_argument("--steps", type=int, default=8, help="of each run")
    parser.add_argument("--prompts", type=int, default=256, help="problems a step, of eight samples each")
    parser.add_argument("--keep", type=int, default=GROUP, help="samples of a group that are learned")
    parser.add_argument("--beside", action="store_true", help="measure an update beside a stranger's sampling too")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed: one samples while the other learns")
    waiting: list[dict] = []
    ahead: list[dict] = []
    beside: list[dict] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server, url = serve(folder, cores[1])
        try:
            for number in range(options.rounds):
                run = (options.steps, options.prompts, options.keep)
                waiting += measured(url, folder / f"waiting-{number}", *run, 0)
                ahead += measured(url, folder / f"ahead-{number}", *run, 1)
                if options.beside:
                    with sampling_on(cores[1]):
                        beside += measured(url, folder / f"beside-{number}", *run, 0)
        finally:
            server.signal_all(9)
    results = rows(waiting, ahead, beside)
    counts = f"{len(waiting)} steps that wait, {len(ahead)} that sample ahead"
    print(f"{counts}; load {os.getloadavg()[0]:.1f}; {machine(['torch'])}")
    for each in results:
        print(line(each))
    return finish(results, options.json)


if __name__ == "__main__":
    sys.exit(main())
