"""A run on servers: the same metrics as on the local engine; what is wrong is one line before anything is written."""

import json
import socket

import pytest
import torch

from r1lab import embedded, pipeline
from r1lab.errors import RecipeError
from r1lab.policy import models
from r1lab.recipe import load
from r1lab.run import journal
from r1lab.run.progress import Progress
from r1lab_data import Problem

BASE = {
    "name": "served",
    "steps": 2,
    "data": {"task": "addition", "size": 16, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 32,
    "learning_rate": 1e-3,
    "optimizer": {"warmup_updates": 0},
    "prompts_per_step": 4,
    "group_size": 4,
    "threads": 1,
    "workers": {"count": 1},
}


@pytest.fixture
def servers(serve):
    """servers(count) -> that many that serve the embedded model."""
    folder = str(embedded.path())
    model, tokenizer = models.load_model(folder, torch.float32), models.load_tokenizer(folder)
    return lambda count: [serve(model, tokenizer) for _ in range(count)]


@pytest.fixture
def train(tmp_path):
    def run(name="run", **changes):
        raw = {**BASE, "out": str(tmp_path / name), **changes}
        return pipeline.train(load.resolve(raw), Progress(quiet=True))

    return run


def served(*servers, **settings):
    return {"kind": "server", "urls": [getattr(each, "url", each) for each in servers], **settings}


def test_a_run_on_two_servers_is_a_run_on_the_local_engine(train, servers):
    ours, local = train(engine=served(*servers(2)), steps=1), train("local", engine={"kind": "local"}, steps=1)
    (row,), (other,) = ours.metrics, local.metrics
    assert row["reward/mean"] == other["reward/mean"] and row["completion/mean"] == other["completion/mean"]
    assert row["update/grad_norm"] == pytest.approx(other["update/grad_norm"], rel=1e-4) and row["mismatch/max"] < 1e-4


def test_a_server_killed_in_a_step_costs_no_draw(train, servers):
    first, second = servers(2)
    first.die_at = 3
    run = train(engine=served(first, second, deadline=5.0), steps=1)
    block = journal.read_block(run.path / "rollouts" / "rl-1.parquet", lambda name: Problem(name, "", "", source="s"))
    drawn = [member.rollout.request.id for group in block for member in group.drawn.members]
    assert len(drawn) == len(set(drawn)) == 16
    (note,) = json.loads((run.path / "manifest.json").read_text())["notes"]
    assert note.startswith(f"rollouts come from servers: {first.url} (float32, 4 at once, seeds), ")


def wrong(train, tmp_path, engine):
    with pytest.raises(RecipeError) as caught:
        train(engine=engine)
    assert not (tmp_path / "run").exists() and "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_wrong_with_a_server_is_said_before_anything_is_written(train, servers, serve, lab, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert f"engine: GET {nobody}/version: nothing listens there" in wrong(train, tmp_path, served(nobody))
    assert "has vocab_size 100, the policy has 99" in wrong(train, tmp_path, served(serve(lab.llama())))
    (locked,) = servers(1)
    locked.key = "secret"
    assert "needs a key" in wrong(train, tmp_path, served(locked))
    (small,) = servers(1)
    small.facts["context"] = 20
    assert "exceed the context of 20" in wrong(train, tmp_path, served(small))


def test_urls_and_the_kind_server_go_together(train, tmp_path):
    assert "go together; r1lab serve MODEL starts such a server" in wrong(train, tmp_path, {"kind": "server"})
    assert "go together" in wrong(train, tmp_path, {"urls": ["http://a:1"]})
    assert "`urls` names 'http://a:1' twice" in wrong(train, tmp_path, served("http://a:1", "http://a:1"))


def test_servers_that_compute_in_several_types_are_refused_and_idle_ones_are_said(train, servers, tmp_path):
    first, second = servers(2)
    second.facts["dtype"] = "bfloat16"
    said = wrong(train, tmp_path, served(first, second))
    assert f"several types ({first.url} in float32, {second.url} in bfloat16)" in said and "one --dtype" in said
    second.facts["dtype"] = "float32"
    run = train(engine=served(first, second), steps=1, prompts_per_step=1)
    notes = json.loads((run.path / "manifest.json").read_text())["notes"]
    assert any("2 servers and prompts_per_step: 1" in note and "1 of them sample nothing" in note for note in notes)
