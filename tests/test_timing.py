"""Phases of a step add up to its time, and to nothing that differs elsewhere."""

import time

import pytest
import torch

from r1lab import timing
from r1lab.run.progress import PhaseClock, Progress
from r1lab.timing import Watch, _rate, details, matmul_rate


def test_what_a_watch_adds_up_is_taken_once():
    watch = Watch()
    for _ in range(2):
        with watch("forward"):
            time.sleep(0.01)
    watch.flops += 7
    seconds, flops = watch.take()
    assert seconds["forward"] >= 0.02 and flops == 7 and watch.take() == ({}, 0)


def test_an_error_inside_is_timed_too():
    watch = Watch()
    with pytest.raises(ValueError), watch("forward"):
        raise ValueError
    assert "forward" in watch.take()[0]


def test_waiting_for_verdicts_is_what_the_rollout_took_beyond_sampling():
    learning, sampling = Watch(), Watch()
    learning.seconds, learning.flops, sampling.seconds = {"forward": 1.0, "backward": 2.5}, 4 * 10**12, {"rollout": 3.0}
    found = details({"rollout": 5.0, "update": 4.0}, learning, sampling, peak=2e12)
    assert (found["time/rollout"], found["time/verify"], found["time/optimizer"]) == (3.0, 2.0, 0.0)
    assert found["time/rollout_idle"] == 6.0  # of 9 seconds
    assert found["time/mfu"] == pytest.approx(0.5)  # 1e12 a second of 2e12


def test_what_is_sampled_beside_a_step_is_no_part_of_it():
    sampling = Watch()
    sampling.seconds = {"rollout": 3.0}
    found = details({"rollout": 0.25, "update": 3.0, "quiet": 0.75}, Watch(), sampling, peak=2e12)
    assert (found["time/rollout"], found["time/verify"], found["time/rollout_idle"]) == (0.25, 0.0, 1.0)


def test_a_step_read_back_from_its_journal_sampled_nothing_and_an_empty_update_has_no_share():
    found = details({"rollout": 0.2, "update": 0.1}, Watch(), Watch(), peak=1e12)
    assert (found["time/rollout"], found["time/verify"], found["time/mfu"]) == (0.2, 0.0, None)


def test_a_phase_that_comes_twice_is_added_and_what_follows_a_lap_is_recording(monkeypatch):
    now = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0, 21.0])
    monkeypatch.setattr("r1lab.run.progress.time.monotonic", lambda: next(now))
    clock = PhaseClock(Progress(quiet=True))
    for phase in ("rollout", "record", "update", "record"):
        clock.start(phase)
    assert clock.lap() == {"rollout": 1.0, "record": 2.0 + 4.0, "update": 3.0}
    clock.start("rollout", 2)
    assert clock.step == 2 and clock.lap() == {"record": 5.0, "rollout": 6.0}


def test_the_probe_multiplies_random_numbers_and_draws_none_of_the_runs(monkeypatch):
    monkeypatch.setattr(timing, "CPU_SIZE", 1024)  # as it is outside the tests
    state = torch.random.get_rng_state()
    _rate.cache_clear()
    assert 1e8 < matmul_rate(torch.device("cpu"), torch.float32) < 1e15
    assert torch.equal(torch.random.get_rng_state(), state)
