"""Sampling ahead of a step with a server of the local engine: the same bytes again, and nothing lost or paid twice."""

import threading

import pytest
import torch

from r1lab import embedded, loop, pipeline
from r1lab.engines.server.local_server import LocalServer
from r1lab.errors import RunError
from r1lab.policy import models
from r1lab.recipe import load
from r1lab.run import journal
from r1lab.run.progress import Progress
from r1lab_data import Problem

BASE = {
    "name": "ahead", "steps": 3, "max_staleness": 1, "prompt": {"format": "Q: {prompt}\nA:"}, "max_new_tokens": 8,
    "data": {"task": "addition", "size": 16, "settings": {"digits": 1}}, "prompts_per_step": 2, "group_size": 4,
    "threads": 1, "workers": {"count": 1}, "learning_rate": 1e-3, "optimizer": {"warmup_updates": 0},
    "checkpoint_every": 1, "objective": {"preset": "dapo"},
}  # fmt: skip


@pytest.fixture
def train(tmp_path):
    """train(name, **changes) -> the finished run in the folder of that name, on one server for all."""
    folder = str(embedded.path())
    parts = models.load_model(folder, torch.float32), models.load_tokenizer(folder)
    server = LocalServer(*parts, served="served", host="127.0.0.1", port=0, dtype=torch.float32, key=None)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    engine = {"kind": "server", "urls": [f"http://127.0.0.1:{server.server_address[1]}"]}

    def run(name, **changes):
        raw = {**BASE, "out": str(tmp_path / name), "engine": engine, **changes}
        return pipeline.train(load.resolve(raw), Progress(quiet=True))

    yield run
    server.shutdown()
    server.server_close()


def shown(run):
    rows = [{key: value for key, value in row.items() if not key.startswith("time/")} for row in run.metrics]
    return rows, (run.model / "model.safetensors").read_bytes()


def sampled(run, step):
    """Tokens and versions of a step's block."""
    block = journal.read_block(
        run.path / "rollouts" / f"rl-{step}.parquet", lambda name: Problem(name, "", "", source="s")
    )
    rollouts = [member.rollout for settled in block for member in settled.drawn.members]
    return sum(each.num_sampled for each in rollouts), {v for each in rollouts for v in each.version.tolist()}


def test_a_block_has_the_weights_that_the_step_before_it_began_with(train):
    run = train("run", checkpoint_every=50, objective={"preset": "grpo"})
    assert [row["rollout/staleness"] for row in run.metrics] == [0.0, 1.0, 1.0]
    assert [sampled(run, step)[1] for step in (1, 2, 3)] == [{0}, {0}, {1}]
    assert {row["rollout/unused_tokens"] for row in run.metrics} == {0}


@pytest.mark.slow
def test_a_run_that_failed_while_a_block_was_sampled_goes_on_as_the_unbroken_one(train, monkeypatch):
    longer = {"max_new_tokens": 48, "prompts_per_step": 4, "data": {"task": "addition", "size": 32}}
    unbroken, learn, calls = train("unbroken", **longer), loop.learn, []

    def fail(*parts):
        calls.append(None)
        if len(calls) == 2:
            raise RunError("a gradient that is not finite")
        return learn(*parts)

    monkeypatch.setattr(loop, "learn", fail)
    with pytest.raises(RunError, match="not finite"):
        train("broken", **longer)
    assert shown(train("broken", **longer)) == shown(unbroken)
    shares = [row["rollout/effective_sample_share"] for row in unbroken.metrics]
    assert all(0 < share <= 1 for share in shares) and shares[0] > max(shares[1:])  # the first step's are its own


@pytest.mark.slow
def test_what_an_early_stop_leaves_unused_is_paid_once_also_where_the_stage_goes_on(train):
    hopeless = {"max_new_tokens": 2, "checkpoint_every": 50, "objective": {"preset": "grpo"}}
    ended = train("run", steps=5, stop={"no_signal": 2}, **hopeless)
    costs = [sampled(ended, step)[0] for step in (1, 2, 3)]
    assert [row["rollout/unused_tokens"] for row in ended.metrics] == [0, costs[2]]
    assert [row["tokens/sampled"] for row in ended.metrics] == [costs[0], sum(costs)]
    longer = train("run", steps=5, **hopeless)
    assert [row["step"] for row in longer.metrics] == [1, 2, 3, 4, 5]
    assert longer.metrics[2]["tokens/sampled"] == sum(costs)
    assert longer.metrics[-1]["tokens/sampled"] == sum(sampled(longer, step)[0] for step in range(1, 6))


@pytest.mark.slow
def test_a_budget_ends_with_one_smaller_step_whose_size_is_known_ahead(train):
    run = train("run", steps=50, stop={"max_tokens": 900}, prompts_per_step=4)
    assert 700 < run.metrics[-1]["tokens/budget"] < 960
    last = run.metrics[-1]["step"]
    assert run.metrics[-1]["group/drawn"] < 12 and not (run.path / "rollouts" / f"rl-{last + 1}.parquet").exists()
    assert {row["rollout/unused_tokens"] for row in run.metrics} == {0}
