"""Marks stand in a state for sharded tensors; what describes their files runs nothing. Two ranks stand in
test_two_sharded.py."""

import io
import pickle
import shutil
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp

from r1lab.distributed import parts, sharding
from r1lab.errors import RunError
from r1lab.run import checkpoint


def test_a_state_without_sharded_tensors_has_no_marks_and_comes_back(tmp_path):
    state = {"a": [1, (2.5, None)], 7: OrderedDict(b=torch.ones(2)), "c": {}}
    tensors = {}
    parts.taken_out(state, tensors)
    assert tensors == {}
    found = parts.put_back(state, tmp_path)
    assert found["a"] == state["a"] and found["c"] == {} and found[7]["b"] is state[7]["b"]


def test_a_mark_becomes_the_tensor_of_its_name(tmp_path):
    found = parts.put_back({"x": [{parts.MARK: "policy.weight"}], "y": {parts.MARK: "a", "b": 1}}, tmp_path)
    assert found["x"][0].name == "policy.weight" and found["y"] == {parts.MARK: "a", "b": 1}


@pytest.fixture
def folder(tmp_path) -> Path:
    """What one process wrote by torch's own means."""
    tensors = {"a": torch.arange(6.0).view(3, 2), "half": torch.ones(2, dtype=torch.bfloat16)}
    dcp.save(tensors, storage_writer=dcp.FileSystemWriter(tmp_path / "parts"), no_dist=True)
    return tmp_path / "parts"


def stored(folder, name="a"):
    return parts.put_back({parts.MARK: name}, folder)


def test_a_stored_tensor_fills_another_and_is_read_as_often_as_asked(folder):
    for _ in range(2):
        target = torch.zeros(3, 2)
        sharding.fill(target, stored(folder))
        assert target.equal(torch.arange(6.0).view(3, 2))


@pytest.mark.parametrize(
    ("name", "shape", "line"), [("b", (3, 2), "b: .*b"), ("a", (2, 2), "a: .*[Ss]ize mismatch"), ("", (1,), ": ")]
)
def test_what_is_not_there_or_of_another_shape_is_said(folder, name, shape, line):
    with pytest.raises(parts.UnreadableParts, match=line):
        sharding.fill(torch.zeros(shape), stored(folder, name))


def test_a_disk_that_only_the_first_process_has_is_refused_with_the_remedy(tmp_path):
    parts.require_shared(tmp_path)
    with pytest.raises(
        RunError, match=r"absent is not there for rank 0, .* set out= to a disk that all machines share"
    ):
        parts.require_shared(tmp_path / "absent")


class Hostile:
    def __reduce__(self):
        return eval, ("open('hostile', 'w')",)


def dotted(module: str, name: str) -> bytes:
    """A pickle that calls `module.name("x")`."""
    texts = [b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name, "x")]
    return b"\x80\x04" + texts[0] + texts[1] + b"\x93" + texts[2] + b"\x85R."


PICKLES = {
    "code": pickle.dumps(Hostile()),
    "by way of what may be named": dotted("torch.distributed.checkpoint.metadata", "os.system"),
    "torch's own": dotted("torch", "load"),
    "not a pickle": b"half of a",
    "empty": b"",
    "something else": pickle.dumps({"a": 1}),
}


@pytest.mark.parametrize("kind", PICKLES)
def test_a_description_that_names_anything_else_is_refused_and_runs_nothing(folder, kind, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (folder / parts.DESCRIPTION).write_bytes(PICKLES[kind])
    with pytest.raises(parts.UnreadableParts, match=r"\.metadata: ") as error:
        sharding.fill(torch.zeros(3, 2), stored(folder))
    assert "\n" not in str(error.value) and not (tmp_path / "hostile").exists()


def test_every_name_of_a_description_of_torchs_own_may_be_named(folder):
    found = parts._Unpickler(io.BytesIO((folder / parts.DESCRIPTION).read_bytes())).load()
    assert set(found.state_dict_metadata) == {"a", "half"}


class Holder:
    def __init__(self, state=None):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state
        sharding.fill(torch.zeros(3, 2), state["a"])


@pytest.mark.parametrize("absent", [True, False])
def test_a_checkpoint_whose_parts_are_lost_or_older_is_refused_in_one_line(folder, absent):
    run = folder.parent / "rl-1"
    checkpoint.save(run, {"policy": Holder({"a": {parts.MARK: "policy.a"}})})
    if not absent:
        shutil.copytree(folder, run / checkpoint.PARTS)
    with pytest.raises(RunError, match=r"checkpoint file .*rl-1/parts cannot be used: .*remove the folder") as error:
        checkpoint.load(run, {"policy": Holder()})
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_a_form_to_come_is_refused(tmp_path):
    checkpoint.save(tmp_path / "rl-1", {"policy": Holder({})})
    whole = (tmp_path / "rl-1" / "whole.json").read_text()
    assert '"form"' not in whole  # as it was before there were two
    for form in ("3", '"2"', "null", "[1]"):
        (tmp_path / "rl-1" / "whole.json").write_text(
            whole.replace('{\n "files"', f'{{\n "form": {form},\n "files"', 1)
        )
        with pytest.raises(
            RunError, match=r"whole\.json cannot be used: it is of form .*reads 1 and 2; remove the folder"
        ):
            checkpoint.load(tmp_path / "rl-1", {"policy": Holder()})
