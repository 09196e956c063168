"""Real files that are broken, machines that are full, and two of us at once: one line each, nothing lost."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing import Process
from pathlib import Path

import pytest
import yaml

from r1lab import embedded
from r1lab.cli import main as cli

RECIPE = {
    "name": "small",
    "steps": 1,
    "data": {"task": "addition", "size": 64, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 24,
    "prompts_per_step": 2,
    "group_size": 2,
    "threads": 1,
    "workers": {"count": 1},
    "out": "run",
}


TRAIN = """
from huggingface_hub import constants
constants.HF_HUB_OFFLINE = True
sys.argv = ["r1lab", "train", "recipe.yaml"]
from r1lab.cli import main as cli
cli.main()
"""


@pytest.fixture
def start(forked_in, tmp_path):
    """r1lab train on RECIPE with changes, as a process of its own, in a folder of tmp_path."""

    def run(folder: str = ".", **changes) -> Process:
        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        (where / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "out": str(tmp_path / "run"), **changes}))
        return forked_in(where, TRAIN)

    return run


@pytest.fixture
def train(start, tmp_path):
    """(exit code, what it said on stderr)."""

    def run(folder: str = ".", **changes) -> tuple[int, str]:
        process = start(folder, **changes)
        process.join(120)
        return process.exitcode, (tmp_path / folder / "stderr").read_text()

    return run


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """What the command says of RECIPE with changes, which it must refuse in one line before anything is written."""
    monkeypatch.chdir(tmp_path)

    def said(**changes) -> str:
        Path("recipe.yaml").write_text(yaml.safe_dump({**RECIPE, **changes}))
        monkeypatch.setattr(sys, "argv", ["r1lab", "train", "recipe.yaml"])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        line = capfd.readouterr().err
        assert (end.value.code, line.count("\n")) == (2, 1) and not Path("run").exists(), line[:500]
        return line

    return said


@pytest.fixture
def model(tmp_path) -> Path:
    """A copy of the embedded model to break."""
    return Path(shutil.copytree(embedded.path(), tmp_path / "model"))


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def no_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def swallowing_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m['role'] }}\n{% endfor %}")


def gguf_alone(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.gguf")


def cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


CHAT = {"prompt": {"template": "chat"}}
LONG = {"prompt": {"format": "Q: {prompt}\nA:", "examples": [{"prompt": "1 " * 2000, "solution": "2"}]}}
MODELS = {
    "a folder without a tokenizer": (no_tokenizer, {}, "no tokenizer in"),
    "chat without a template": (no_chat_template, CHAT, "a tokenizer with a chat template"),
    "a template that swallows the prompt": (swallowing_template, CHAT, "leaves out what the user says"),
    "a folder of GGUF alone": (gguf_alone, {}, "has no weights (*.safetensors or *.bin)"),
    "weights that were cut": (cut_weights, {}, "no readable weights in"),
    "a context too small for the examples": (lambda folder: None, LONG, "exceed the context of"),
}


@pytest.mark.parametrize("edge", MODELS)
def test_a_model_that_cannot_serve_is_refused_before_anything_is_written(model, refused, edge):
    damage, changes, expected = MODELS[edge]
    damage(model)
    assert expected in refused(model=str(model), **changes)


def lines(*rows: dict) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\r\n" for row in rows)


SUM = {"prompt": "12+34", "answer": 46.0}
ROWS = {
    "an answer without a number": (lines(SUM, {"prompt": "1+1", "answer": "two"}), "line 2: answer_format 'number'"),
    "a column of mixed types": (lines(SUM, {"prompt": "1+1", "answer": [1, 2]}), "line 2"),
    "a row cut in the middle": (lines(SUM)[:-8], "line 1: invalid JSON"),
    "a row of ten megabytes": (lines(SUM, {"prompt": "1" * 10_000_000, "answer": 1}), "exceed the context of"),
}


@pytest.mark.parametrize("edge", ROWS)
def test_a_row_that_cannot_serve_is_named(refused, edge):
    content, expected = ROWS[edge]
    Path("train.jsonl").write_bytes(content)
    said = refused(data={"path": "train.jsonl", "answer_format": "number"}, verifier="numeric")
    assert expected in said and len(said) < 1000


def test_line_ends_of_another_system_and_floats_are_read(train, tmp_path):
    (tmp_path / "train.jsonl").write_bytes(lines(SUM, {"prompt": "1+\r\n1", "answer": "2\r\n"}))
    code, said = train(data={"path": "train.jsonl", "answer_format": "number"}, verifier="numeric")
    assert code == 0, said


def test_no_network_is_one_line(train, tmp_path):
    code, said = train(model="nobody/no-such-model")
    assert (code, said.count("\n")) == (2, 1) and "nobody/no-such-model" in said and not (tmp_path / "run").exists()


def test_two_at_once_in_one_folder(start, train, tmp_path):
    first = start(steps=500)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        code, said = train("other", steps=500)
        assert (code, said.count("\n")) == (1, 1) and f"in use by process {first.pid}" in said, said
    finally:
        first.kill()
        first.join()


def fill(file: Path, leave: int) -> None:
    """Grow the file until no more than `leave` bytes are free, beside a run that writes meanwhile."""
    with suppress(OSError), file.open("ab", buffering=0) as out:
        while (free := shutil.disk_usage(file.parent).free) > leave:
            out.write(bytes(min(free - leave, 2**18)))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_disk_that_fills_in_the_middle_of_a_checkpoint_loses_nothing(start, train, tmp_path):
    """Once a checkpoint is there all but 5 MiB are taken away (each is 10 MiB); with the space back the run goes on.

    The space is taken again and again: the run gives some back where it deletes the checkpoint before.
    """
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("this container may not mount a tmpfs")
    try:
        ballast = small / "ballast"
        process = start(steps=40, checkpoint_every=1, out=str(small / "run"))
        deadline = time.monotonic() + 90
        while not list(small.glob("run/checkpoints/rl-*/whole.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        while process.is_alive() and time.monotonic() < deadline:
            fill(ballast, leave=5 * 2**20)
            time.sleep(0.02)
        process.join(120)
        said = (tmp_path / "stderr").read_text()
        assert process.exitcode == 1 and "r1lab: " in said.splitlines()[-1], said
        assert "No space left" in said or "disk" in said, said
        assert list(small.glob("run/checkpoints/rl-*/whole.json")), "the last whole checkpoint is gone"
        ballast.unlink()
        reached = int(next(small.glob("run/checkpoints/rl-*")).name.removeprefix("rl-"))
        code, said = train(steps=reached + 1, checkpoint_every=1, out=str(small / "run"))
        assert code == 0, said
    finally:
        subprocess.run(["umount", str(small)], check=False)
