"""TensorBoard and W&B get what metrics.jsonl holds, and nothing of a run depends on them."""

import importlib.metadata
import json
import sys
from collections.abc import Iterator

import pytest

from r1lab import pipeline
from r1lab.errors import RecipeError
from r1lab.recipe import load
from r1lab.run import trackers
from r1lab.run.progress import Progress

BASE = {
    "name": "tracked",
    "data": {"task": "addition", "size": 32, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 24,
    "prompts_per_step": 2,
    "group_size": 2,
    "threads": 1,
    "workers": {"count": 1},
    "eval": {"sets": {"test": {"task": "addition", "split": "eval", "size": 4}}},
    "stages": [{"kind": "sft", "steps": 1}, {"kind": "rl", "steps": 2}],
}


def train(folder, **changes) -> pipeline.Run:
    return pipeline.train(load.resolve({**BASE, "out": str(folder), **changes}), Progress(quiet=True))


def without_times(run: pipeline.Run) -> list[dict]:
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in run.metrics]


def curves(run: pipeline.Run) -> dict[str, list[tuple[int, float]]]:
    """Key -> [(step, value)] of the event files, as TensorBoard reads them."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(run.path / "trackers" / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {key: [(event.step, event.value) for event in events.Scalars(key)] for key in events.Tags()["scalars"]}


def expected(run: pipeline.Run) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list] = {}
    for number, row in enumerate(run.metrics):
        for key, value in row.items():
            if isinstance(value, (int, float)):
                found.setdefault(key, []).append((number, pytest.approx(value, rel=1e-6)))
    return found


def logged(data: bytes) -> Iterator[bytes]:
    """Records of W&B's file: seven bytes, then a LevelDB log, whose parts have a checksum, a size and a place."""
    at, record = 7, b""
    while at + 7 <= len(data):
        size, place = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if place in (1, 4):  # whole, or a record's last part
            yield record
            record = b""
        if (left := -at % 32768) < 7:  # of a block: filled with zeros
            at += left


class Fake:
    """A tracker in memory that raises from the row numbered `fails` on."""

    def __init__(self, fails=None):
        self.fails, self.steps, self.closed, self.tracker = fails, [], False, None

    def log(self, values, step):
        if self.fails is not None and step >= self.fails:
            raise OSError("the disk\nis full")
        self.steps.append(step)

    def finish(self):
        self.closed = True


class Folder:
    """As much of a run as trackers look at."""

    def __init__(self, path, rows):
        self.path, self.manifest, self.metrics = path, {}, path / "metrics.jsonl"
        self.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_tensorboard_holds_every_number_of_every_row_at_one_rising_step_over_the_stages(tmp_path):
    pytest.importorskip("tensorboard")
    run = train(tmp_path / "run", trackers=["tensorboard"])
    assert [(row["stage"], row["step"]) for row in run.metrics] == [
        ("sft", 0), ("sft", 1), ("rl", 0), ("rl", 1), ("rl", 2)
    ]  # fmt: skip
    assert curves(run) == expected(run)


def test_after_a_resume_no_step_is_missing_and_none_stands_twice(tmp_path):
    pytest.importorskip("tensorboard")
    train(tmp_path / "run", trackers=["tensorboard"])
    longer = [BASE["stages"][0], {"kind": "rl", "steps": 3}]
    run = train(tmp_path / "run", trackers=["tensorboard"], stages=longer)
    assert len(run.metrics) == 6 and curves(run) == expected(run)


def test_a_tracker_that_is_added_later_gets_the_rows_before_it(tmp_path):
    pytest.importorskip("tensorboard")
    train(tmp_path / "run")
    longer = [BASE["stages"][0], {"kind": "rl", "steps": 3}]
    run = train(tmp_path / "run", trackers=["tensorboard"], stages=longer)
    assert curves(run) == expected(run)


def test_the_rows_are_the_same_with_and_without_trackers(tmp_path):
    pytest.importorskip("tensorboard")
    with_one, without = train(tmp_path / "one", trackers=["tensorboard"]), train(tmp_path / "none")
    assert without_times(with_one) == without_times(without)
    assert with_one.metrics[0].keys() == without.metrics[0].keys()
    assert not (without.path / "trackers").exists()


def test_wandb_is_offline_and_keeps_the_rows_and_the_recipe_below_the_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.delenv("WANDB_MODE", raising=False)
    run = train(tmp_path / "run", trackers=["wandb"])
    (file,) = (run.path / "trackers" / "wandb").glob("offline-run-*/run-*.wandb")
    history, config = {}, {}
    for data in logged(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        if items:
            history[items["_step"]] = items
        config |= {item.key: item.value_json for item in record.run.config.update}
        config |= {item.key: item.value_json for item in record.config.update}
    for number, row in enumerate(run.metrics):
        numbers = {key: value for key, value in row.items() if isinstance(value, (int, float))}
        assert {key: history[number][key] for key in numbers} == pytest.approx(numbers)
    assert len(history) == len(run.metrics) and json.loads(config["name"]) == "tracked"


def test_a_package_that_is_missing_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    def version(name, real=importlib.metadata.version):
        if name == "wandb":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(RecipeError, match=r"wandb is not installed; run .*pip install -e '\.\[trackers\]'"):
        train(tmp_path / "run", trackers=["wandb"])
    assert not (tmp_path / "run").exists()


def test_a_name_that_is_no_tracker_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"trackers\.0: .*'mlflow'"):
        train(tmp_path / "run", trackers=["mlflow"])


def test_a_tracker_that_raises_is_off_after_one_line_and_the_others_go_on(tmp_path, monkeypatch):
    broken, whole, said = Fake(fails=1), Fake(), []
    monkeypatch.setattr(trackers, "MAKE", {"tensorboard": lambda *_: broken, "wandb": lambda *_: whole})
    rows = [{"stage": "rl", "step": step, "reward/mean": 0.5} for step in range(4)]
    following = trackers.Trackers(Folder(tmp_path, rows[:1]), {"rl": ("tensorboard", "wandb")}, said.append)
    for row in rows:
        following.follow(row)
    following.close()
    assert (broken.steps, whole.steps, whole.closed) == ([0], [0, 1, 2, 3], True)
    assert len(said) == 1 and "tensorboard is off: the disk" in said[0] and "\n" not in said[0]


def test_a_tracker_that_does_not_start_is_off_and_the_run_ends_well(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "MAKE", {"tensorboard": lambda *_: sys.modules["no such module"]})
    monkeypatch.setattr(trackers, "require", lambda names: None)
    assert len(train(tmp_path / "run", trackers=["tensorboard"]).metrics) == 5


def test_a_stage_that_names_no_tracker_takes_its_steps_all_the_same(tmp_path, monkeypatch):
    fake = Fake()
    monkeypatch.setattr(trackers, "MAKE", {"wandb": lambda *_: fake})
    rows = [{"stage": "sft", "step": 1}, {"stage": "sft", "step": 2}, {"stage": "rl", "step": 1}]
    following = trackers.Trackers(Folder(tmp_path, rows), {"sft": (), "rl": ("wandb",)}, print)
    following.catch_up()
    assert fake.steps == [2]
