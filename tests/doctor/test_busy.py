"""On a busy machine threads sleep while they wait, and a line says what is faster; on an idle one nothing changes."""

import os
import sys

import pytest

from r1lab.doctor import busy


@pytest.fixture
def machine(monkeypatch):
    """machine(load, cores=...): a machine of so many cores under this load, torch not loaded, nothing said about it."""

    def make(load: float | None, *, cores: int = 4, allowed: int | None = None) -> None:
        def average():
            if load is None:
                raise OSError("not known")
            return load, 0.0, 0.0

        monkeypatch.setattr(os, "getloadavg", average)
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        monkeypatch.setattr(busy, "num_cores", lambda: allowed or cores)
        monkeypatch.delitem(sys.modules, "torch", raising=False)
        monkeypatch.delenv(busy.POLICY, raising=False)

    return make


@pytest.mark.parametrize(("load", "policy"), [
    (0.0, None), (1.9, None), (2.0, None), (2.1, "PASSIVE"), (40.0, "PASSIVE"), (None, None),
])  # fmt: skip
def test_the_policy_is_set_where_the_load_is_over_half_of_the_cores(machine, load, policy):
    machine(load)
    busy.calm_threads()
    assert os.environ.get(busy.POLICY) == policy


def test_what_the_environment_says_stays_and_a_loaded_torch_is_left_alone(machine, monkeypatch):
    machine(40.0)
    monkeypatch.setenv(busy.POLICY, "ACTIVE")
    busy.calm_threads()
    assert os.environ[busy.POLICY] == "ACTIVE"
    monkeypatch.delenv(busy.POLICY)
    monkeypatch.setitem(sys.modules, "torch", sys)
    busy.calm_threads()
    assert busy.POLICY not in os.environ


@pytest.mark.parametrize(("load", "threads", "allowed", "told"), [
    (3.0, 0, 4, "load average 3.0 on 4 cores): 4 threads that wait"), (3.0, 2, 4, ": 2 threads that wait"),
    (3.0, 1, 4, ""), (3.0, 0, 1, ""), (1.5, 0, 4, ""), (None, 0, 4, ""),
])  # fmt: skip
def test_a_line_says_so_where_several_threads_are_at_its_mercy(machine, load, threads, allowed, told):
    machine(load, allowed=allowed)
    line = busy.warning(threads, "threads=1")
    assert told in line and bool(line) == bool(told)
    assert not told or (line.endswith("; threads=1") and "\n" not in line)


def test_a_run_with_several_threads_says_it_once_and_with_one_thread_not(machine, monkeypatch, tmp_path, capsys):
    import torch

    from r1lab import pipeline
    from r1lab.recipe import load
    from r1lab.run.progress import Progress

    machine(40.0, cores=4, allowed=2)
    monkeypatch.setitem(sys.modules, "torch", torch)
    recipe = {"data": {"task": "addition", "size": 8}, "max_new_tokens": 4, "steps": 1, "prompts_per_step": 1,
              "group_size": 2, "print_samples": 0}  # fmt: skip
    before = torch.get_num_threads()
    for threads, count in ((2, 1), (1, 0)):
        pipeline.train(load.resolve({**recipe, "threads": threads, "out": str(tmp_path / str(threads))}), Progress())
        assert capsys.readouterr().err.count("warning: others are at work on this machine") == count
    torch.set_num_threads(before)
