"""A run that samples ahead (`max_staleness: 1`), killed again and again, is the unbroken run bit for bit.

Trainer and server are processes of their own; the server dies too, while it samples for the next step.
"""

import json
import time
from contextlib import suppress

import pytest

from r1lab.engines.server.client import Gone, ServerRefusal, Wire

SERVE = """
from r1lab.engines.server import local_server
local_server.serve("embedded", dtype="float32", threads=1, host="127.0.0.1", port={port})
"""
RUN = """
from r1lab import feed, loop, pipeline
from r1lab.recipe import load
from r1lab.rollout import buffer
from r1lab.run import checkpoint, journal, progress

{death}
pipeline.train(load.resolve({recipe!r}), progress.Progress(quiet=True))
"""
DEATHS = {
    "before the block ahead is written": "at_call(journal, 'write_block', 2)",
    "in a wave of the block ahead": "at_call(feed, 'generate', 2)",
    "between rollout and update": "at_call(loop, 'learn', 2)",
    "at the quiet point": "at_call(buffer.RolloutBuffer, 'quiet', 2, before=False)",
    "after a checkpoint": "at_call(checkpoint, 'prune', 1)",
}
"""Each in the process that resumed what the one before left."""
KILLS_SERVER = "at_call(loop, 'learn', 2, act=lambda: os.kill({pid}, signal.SIGKILL))"


@pytest.fixture
def server(forked, held_port):
    """A server of the embedded model, to be killed and started again at its port."""

    class Served:
        def __init__(self):
            self.port = held_port()
            self.url = f"http://127.0.0.1:{self.port}"
            self.start()

        def start(self):
            self.process = forked(SERVE.format(port=self.port))
            for _ in range(600):
                with suppress(Gone, ServerRefusal):
                    return Wire(self.url).get("/health")
                time.sleep(0.1)
            raise AssertionError("the server does not answer")

    served = Served()
    yield served
    served.process.kill()


def recipe(out, url):
    return {
        "name": "ahead", "out": str(out), "steps": 4, "max_staleness": 1, "max_new_tokens": 24, "group_size": 4,
        "data": {"task": "addition", "size": 64, "settings": {"digits": 2}}, "prompt": {"format": "Q: {prompt}\nA:"},
        "learning_rate": 3e-4, "threads": 1, "workers": {"count": 1}, "checkpoint_every": 2, "prompts_per_step": 4,
        "updates_per_step": 2, "objective": {"preset": "dapo"}, "engine": {"kind": "server", "urls": [url]},
        "eval": {"every": 2, "sets": {"test": {"task": "addition", "split": "eval", "size": 8}}},
    }  # fmt: skip


def shown(out):
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    figures = [json.dumps({key: value for key, value in row.items() if not key.startswith("time/")}) for row in rows]
    return figures, (out / "model" / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_trainer_and_server_killed_again_and_again_equal_the_unbroken_run(forked, server, tmp_path):
    def start(name, death=""):
        return forked(RUN.format(death=death, recipe=recipe(tmp_path / name, server.url)))

    def ended(process):
        process.join()
        return process.exitcode

    assert ended(start("unbroken")) == 0
    unbroken = shown(tmp_path / "unbroken")
    for place, death in DEATHS.items():
        assert ended(start("run", death)) == -9, f"{place}: the scenario must have killed the run"
    assert ended(start("run")) == 0
    assert shown(tmp_path / "run") == unbroken
    trainer, first = start("served", KILLS_SERVER.format(pid=server.process.pid)), server.process
    first.join()  # killed by the trainer while it samples the next block
    server.start()
    assert ended(trainer) == 0 and first.exitcode == -9
    assert shown(tmp_path / "served") == unbroken
