"""One process: everything is this process's own, and nothing waits. Several stand in test_two.py."""

import signal
import sys

import pytest
import torch

from r1lab.distributed import launch, ranks, sharding
from r1lab.distributed.partition import by_draw
from r1lab.errors import RecipeError, RunError
from r1lab.run.signals import Grace


def test_one_process_is_rank_0_of_1_and_computes_all(make_rollout):
    assert (ranks.size(), ranks.rank(), ranks.is_first(), ranks.neighbours()) == (1, 0, True, 1)
    requests = [make_rollout((1,), (2,), draw=draw).request for draw in range(3)]
    assert ranks.shared_out(requests, by_draw, lambda own: [request.id.draw for request in own]) == [0, 1, 2]
    assert ranks.own_share(requests, by_draw) == [0, 1, 2]
    assert (ranks.gather(lambda: 7), ranks.together(lambda: 8), ranks.first(max, 3, 9)) == ([7], 8, 9)
    assert (ranks.to_first(7), ranks.from_first(lambda: [8])) == ([7], 8)
    assert ranks.gather_outcomes(lambda: 7, str) == (["7"], [7])
    assert ranks.any_of("") == "" and ranks.any_of("SIGTERM") == "SIGTERM"


@pytest.mark.parametrize("error", [RunError, RecipeError, ZeroDivisionError])
def test_what_is_raised_in_a_session_of_one_comes_out_as_it_is(error):
    def fail():
        raise error("here")

    for call in (ranks.gather, ranks.together, ranks.first):
        with pytest.raises(error, match="here"), ranks.session():
            call(fail)


def test_a_lost_process_is_told_from_what_this_one_computes():
    assert ranks.is_missed(RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer"))
    assert not ranks.is_missed(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not ranks.is_missed(RunError("gloo")) and not ranks.is_missed(ValueError("gloo"))
    assert "did not answer within 1800 s (R1LAB_RANK_DEADLINE)" in str(ranks.missed(RuntimeError("Timed out waiting")))
    assert "is gone" in str(ranks.missed(RuntimeError("Connection reset by peer")))


@pytest.mark.parametrize("text", ["0", "-3", "soon", ""])
def test_a_deadline_that_is_no_number_of_seconds_is_refused(monkeypatch, text):
    monkeypatch.setenv("R1LAB_RANK_DEADLINE", text)
    with pytest.raises(RecipeError, match=r"R1LAB_RANK_DEADLINE: .* must be a whole number of seconds above 0"):
        ranks.deadline_seconds()


def test_a_signal_to_another_process_is_heard_here():
    with Grace(lambda own: own or "stopped by SIGTERM") as grace:
        assert grace.heard()
    with pytest.raises(RunError, match="stopped by SIGTERM after step 3; the same command goes on from here"):
        grace.leave("after step 3")
    with Grace() as grace:
        assert not grace.heard()
        signal.raise_signal(signal.SIGTERM)
        assert grace.heard()


@pytest.mark.parametrize("heeding", [Grace, lambda: launch.forwarded([])], ids=["run", "launcher"])
def test_ctrl_c_that_is_ignored_stays_ignored(heeding):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with heeding():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_that_comes_while_the_processes_agree_is_heard_the_next_time():
    answers = iter([True, False])

    def agree(own):
        if next(answers):
            signal.raise_signal(signal.SIGTERM)  # after this process has said what it knows
        return own

    with Grace(agree) as grace:
        assert not grace.heard()
        grace.leave("after step 3")
        assert grace.heard()
        with pytest.raises(RunError, match="stopped by SIGTERM after step 4"):
            grace.leave("after step 4")


def test_weights_are_sharded_only_among_several(make_policy):
    policy = make_policy(parallel="fsdp2")
    assert not sharding.is_sharded(policy.model) and not policy.is_split
    assert sharding.trunk(policy.model) is policy.model.base_model and sharding.missing_passes(policy.model, 0) == 0
    assert sharding.full_tensor(weight := torch.ones(2), torch.bfloat16) is weight


def test_a_tied_weight_is_written_once(make_policy, tiny_model):
    from r1lab import embedded

    tied = make_policy(location=embedded.path()).model
    assert len(tied.state_dict()) == len(sharding.weights(tied)) + 1
    untied = make_policy(location=tiny_model).model
    assert sharding.weights(untied).keys() == untied.state_dict().keys()


def test_how_many_processes_a_command_starts(monkeypatch):
    for name in ("WORLD_SIZE", "MASTER_PORT", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)
    assert launch.num_processes(None) == 1 and launch.num_processes(3) == 3
    with pytest.raises(RecipeError, match="--processes: 0 must be at least 1"):
        launch.num_processes(0)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(RecipeError, match=r"accelerate launch --cpu starts one process.* use .* --processes N"):
        launch.num_processes(None)  # this process's parent was asked for no number
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launch.num_processes(None) == launch.num_processes(2) == 1
    with pytest.raises(RecipeError, match="--processes: 3, but a launcher started 2"):
        launch.num_processes(3)


def test_the_first_exit_code_that_is_not_0_is_the_commands(monkeypatch, capfd):
    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.2)

    def start(text):
        return launch.subprocess.Popen([sys.executable, "-c", text], stderr=launch.subprocess.DEVNULL)

    late = start("import time; time.sleep(60)")
    assert launch._wait([start("raise SystemExit(2)"), late]) == 2
    assert launch._wait([late, start("raise SystemExit(2)")]) == 2  # also where the first still waits for it
    late.kill()
    late.wait()
    assert launch._wait([start(""), start("")]) == 0
    killed = "import os; os.kill(os.getpid(), 9)"
    assert launch._wait([start(killed), start(killed)]) == 1
    assert "all 2 processes were killed (SIGKILL)" in capfd.readouterr().err
