import json
import multiprocessing
import os
import signal
import subprocess
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from r1lab.errors import RecipeError, RunError
from r1lab.run import checkpoint, files


class Holder:
    def __init__(self, state=None):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def run_to_death(target) -> None:
    """Run `target` in a process that must end by SIGKILL."""
    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def die(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def small_disk(folder: Path, size: str):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_kind_of_plain_state_comes_back_bit_for_bit(tmp_path):
    floats = torch.tensor([0.1, -0.0, float("nan"), float("inf")])
    state = {
        "tensor": floats, "half": torch.ones(3, dtype=torch.bfloat16), "random": torch.get_rng_state(), "none": None,
        "list": [1, 2.5, "x", (True, -(2**62))], 7: {"nested": {}}, "ordered": OrderedDict(a=1),
    }  # fmt: skip
    other = Holder({"recent": []})
    checkpoint.save(tmp_path / "rl-1", {"policy": Holder(state), "feed": other})
    policy, feed = Holder(), Holder()
    checkpoint.load(tmp_path / "rl-1", {"policy": policy, "feed": feed})
    assert policy.state["tensor"].view(torch.int32).equal(floats.view(torch.int32))
    assert policy.state["half"].dtype == torch.bfloat16 and policy.state["random"].equal(state["random"])
    same = ("none", "list", 7, "ordered")
    assert [policy.state[key] for key in same] == [state[key] for key in same]
    assert feed.state == {"recent": []}


def test_an_adamw_that_was_saved_goes_on_as_if_it_had_not_been(tmp_path):
    def step(layer, optimizer):
        optimizer.zero_grad()
        layer(torch.ones(4)).sum().backward()
        optimizer.step()
        return layer.weight.detach().clone()

    layer = torch.nn.Linear(4, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    step(layer, optimizer)
    checkpoint.save(tmp_path / "rl-1", {"layer": layer, "optimizer": optimizer})
    unbroken = step(layer, optimizer)
    again = torch.nn.Linear(4, 2)
    resumed = torch.optim.AdamW(again.parameters(), lr=0.5)
    checkpoint.load(tmp_path / "rl-1", {"layer": again, "optimizer": resumed})
    assert step(again, resumed).equal(unbroken)


@pytest.mark.parametrize("value", [np.float64(1), np.zeros(2), {1, 2}, Holder()])
def test_state_that_could_not_be_read_back_is_refused_before_anything_is_written(tmp_path, value):
    with pytest.raises(TypeError, match=r"state feed\.deep\.0 is a "):
        checkpoint.save(tmp_path / "rl-1", {"feed": Holder({"deep": [value]})})
    assert names(tmp_path) == []


def test_the_model_folder_is_part_of_the_checkpoint_and_of_its_checksums(tmp_path):
    folder = tmp_path / "rl-1"

    def write_model(path):
        (path / "sub").mkdir()
        (path / "sub" / "weights").write_bytes(bytes(1000))

    checkpoint.save(folder, {"a": Holder({})}, write_model)
    whole = json.loads((folder / "whole.json").read_text())["files"]
    assert sorted(whole) == ["state.pt", "sub/weights"] and whole["sub/weights"][0] == 1000
    (folder / "sub" / "weights").write_bytes(bytes(999) + b"x")
    with pytest.raises(RunError, match=r"sub/weights cannot be used: its checksum.*remove the folder .*rl-1 to resume"):
        checkpoint.load(folder, {"a": Holder()})


@pytest.mark.parametrize("name", ["state.pt", "whole.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "empty"])
def test_a_damaged_checkpoint_is_one_line_that_names_the_file(tmp_path, name, damage):
    folder = tmp_path / "rl-1"
    checkpoint.save(folder, {"a": Holder({"x": torch.ones(9)})})
    data = (folder / name).read_bytes()
    flipped = bytes([data[0] ^ 1]) + data[1:]
    (folder / name).write_bytes({"cut": data[:-9], "flip": flipped, "gone": b"", "empty": b""}[damage])
    if damage == "gone":
        (folder / name).unlink()
    holder = Holder("untouched")
    with pytest.raises(RunError) as error:
        checkpoint.load(folder, {"a": holder})
    assert name in str(error.value) and "remove the folder" in str(error.value) and "\n" not in str(error.value)
    assert holder.state == "untouched"


def test_a_checkpoint_of_other_resumables_is_refused(tmp_path):
    checkpoint.save(tmp_path / "rl-1", {"a": Holder({}), "b": Holder({})})
    with pytest.raises(RunError, match="differs in: b, c"):
        checkpoint.load(tmp_path / "rl-1", {"a": Holder(), "c": Holder()})


def test_latest_goes_by_number_and_ignores_other_stages_and_what_is_not_whole(tmp_path):
    assert checkpoint.latest(tmp_path / "absent", "rl") is None
    for name in ("rl-9", "rl-10", "rl.2-50", "sft-99"):
        checkpoint.save(tmp_path / name, {})
    (tmp_path / "rl-11").mkdir()
    (tmp_path / ".rl-12.1.partial").mkdir()
    (tmp_path / ".rl-12.1.partial" / "whole.json").touch()
    assert checkpoint.latest(tmp_path, "rl") == (10, tmp_path / "rl-10")
    assert checkpoint.latest(tmp_path, "rl.2") == (50, tmp_path / "rl.2-50")


def test_prune_keeps_as_many_as_told_and_touches_no_other_stage(tmp_path):
    for name in ("rl-1", "rl-2", "rl-10", "sft-1"):
        checkpoint.save(tmp_path / name, {})
    (tmp_path / "rl-11").mkdir()
    checkpoint.prune(tmp_path, "rl", 2)
    assert names(tmp_path) == ["rl-10", "rl-11", "rl-2", "sft-1"]
    checkpoint.prune(tmp_path, "rl", 0)
    assert names(tmp_path) == ["rl-11", "sft-1"]


def test_prune_keeps_all_where_there_are_fewer_than_told(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path / f"rl-{step}", {"a": Holder({"step": step})})
    checkpoint.prune(tmp_path, "rl", 3)
    assert [step for step, _ in checkpoint.listed(tmp_path, "rl")] == [1, 2]


def test_an_exception_leaves_the_old_version_and_no_temporary(tmp_path):
    (tmp_path / "f").write_text("old")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_text("old")

    def fail(path):
        path.write_text("half")
        raise KeyError("on purpose")

    with pytest.raises(KeyError):
        files.atomic_file(tmp_path / "f", fail)
    with pytest.raises(KeyError), files.atomic_folder(tmp_path / "d") as folder:
        fail(folder / "x")
    assert names(tmp_path) == ["d", "f"]
    assert (tmp_path / "f").read_text() == (tmp_path / "d" / "x").read_text() == "old"


def test_replacing_leaves_the_new_version_alone(tmp_path):
    path = tmp_path / "deep" / "d"
    for text in ("old", "new"):
        with files.atomic_folder(path) as folder:
            (folder / text).write_text(text)
        files.atomic_file(tmp_path / "f", lambda file, text=text: file.write_text(text))
    assert names(path) == ["new"] and names(path.parent) == ["d"] and (tmp_path / "f").read_text() == "new"


def test_killed_while_writing_the_old_version_stays_and_sweep_removes_the_rest(tmp_path):
    checkpoint.save(tmp_path / "rl-1", {"a": Holder({"x": 1})})

    def write_model(path):
        (path / "weights").write_text("half")
        die()

    run_to_death(lambda: checkpoint.save(tmp_path / "rl-2", {}, write_model))
    assert len(names(tmp_path)) == 2
    assert checkpoint.latest(tmp_path, "rl") == (1, tmp_path / "rl-1")
    files.sweep(tmp_path)
    assert names(tmp_path) == ["rl-1"]


@pytest.mark.parametrize(("call", "survivor"), [(1, "old"), (2, "old"), (3, "new")])
def test_killed_anywhere_in_a_replacement_one_whole_version_exists(tmp_path, call, survivor):
    """Call 1 of os.rename moves the old version aside, 2 puts the new one in place; 3: death before the old goes."""
    folder = tmp_path / "model"
    with files.atomic_folder(folder) as new:
        (new / "version").write_text("old")

    def replace():
        calls, rename, remove = [], os.rename, files.remove

        def counted(*ends):
            calls.append(ends)
            return die() if len(calls) == call else rename(*ends)

        os.rename = counted
        files.remove = lambda path: die() if len(calls) == 2 else remove(path)
        with files.atomic_folder(folder) as new:
            (new / "version").write_text("new")

    run_to_death(replace)
    files.sweep(tmp_path)
    assert names(tmp_path) == ["model"] and (folder / "version").read_text() == survivor


def test_a_new_version_after_a_kill_without_sweep_never_loses_the_only_whole_one(tmp_path):
    with files.atomic_folder(tmp_path / "d") as folder:
        (folder / "version").write_text("old")
    os.rename(tmp_path / "d", tmp_path / ".d.replaced")
    with pytest.raises(KeyError), files.atomic_folder(tmp_path / "d"):
        raise KeyError
    files.sweep(tmp_path)
    assert (tmp_path / "d" / "version").read_text() == "old"


def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint(tmp_path):
    with small_disk(tmp_path, "2m"):
        good = {"a": Holder({"x": torch.ones(1000)})}
        checkpoint.save(tmp_path / "rl-1", good)
        big = {"a": Holder({"x": torch.ones(1_000_000)})}
        many = {"a": Holder({str(each): torch.ones(1000) for each in range(1000)})}
        for resumables, write_model in ((big, None), (many, None), (good, write_too_much), (good, save_too_much)):
            with pytest.raises(RunError, match=r"^disk full while writing .*rl-2 \(.* free\); free space") as error:
                checkpoint.save(tmp_path / "rl-2", resumables, write_model)
            assert "\n" not in str(error.value) and names(tmp_path) == ["rl-1"]
        with pytest.raises(RunError, match=r"disk full while writing .*f "):
            files.atomic_file(tmp_path / "f", lambda path: path.write_bytes(bytes(3_000_000)))
        checkpoint.load(tmp_path / "rl-1", {"a": Holder()})
        assert names(tmp_path) == ["rl-1"]


def write_too_much(folder: Path) -> None:
    (folder / "weights").write_bytes(bytes(3_000_000))


def save_too_much(folder: Path) -> None:
    save_file({"weights": torch.ones(1_000_000)}, folder / "model.safetensors")


def test_too_little_space_is_said_before_anything_is_written(tmp_path):
    files.require_space(tmp_path / "not" / "there", 1)
    with pytest.raises(RecipeError, match=r"not enough disk at .*there: 1000000\.0 GB needed, .* free"):
        files.require_space(tmp_path / "not" / "there", 10**15, RecipeError)
    with pytest.raises(RunError):
        files.require_space(tmp_path, 10**18)
    assert names(tmp_path) == []
