import os
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest

from r1lab_sandbox.forkserver.forkserver import ForkServer, SandboxError, Worker, WorkerDied, WorkerLate


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != "zombie"
    except psutil.NoSuchProcess:
        return False


def gone(pids, seconds=5.0):
    """Whether every process ends within so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(map(runs, pids)):
            return True
        time.sleep(0.01)
    return False


def test_a_worker_answers_frame_by_frame(server):
    worker = server.spawn(("serves:echo", {"suffix": "!"}))
    assert [worker.ask(text, seconds=5) for text in (b"a", b"", b"b" * 300_000)] == [b"a!", b"!", b"b" * 300_000 + b"!"]
    worker.close()


def test_a_hang_ends_at_the_deadline_and_the_worker_is_gone(server):
    worker = server.spawn(("serves:hang", {}))
    start = time.monotonic()
    with pytest.raises(WorkerLate):
        worker.ask(b"x", seconds=0.2)
    worker.close()
    assert 0.2 <= time.monotonic() - start < 2
    assert gone([worker.pid])


def test_a_request_nobody_reads_is_late_too(server):
    worker = server.spawn(("serves:hang", {}))
    with pytest.raises(WorkerLate):
        worker.ask(b"x" * 10_000_000, seconds=0.2)
    worker.close()


@pytest.mark.parametrize("serve", ["leave", "mute", "flood", "missing"])
def test_a_death_a_closed_socket_and_an_oversized_answer_are_told_at_once(server, serve):
    worker = server.spawn((f"serves:{serve}", {}))
    start = time.monotonic()
    with pytest.raises(WorkerDied):
        worker.ask(b"x", seconds=20)
    assert time.monotonic() - start < 10
    worker.close()


def test_enter_runs_before_serve_and_limits_hold(server, tmp_path):
    worker = server.spawn(("serves:state", {}), enter=("r1lab_sandbox.isolation.limits:apply", {"memory_mb": 300}))
    assert worker.ask(b"", seconds=5) == repr(([0, 1, 2, 3], [300 << 20, 0], True)).encode()
    worker.close()
    worker = server.spawn(("serves:echo", {}), enter=("serves:mark", {"path": str(tmp_path / "entered")}))
    worker.ask(b"", seconds=5)
    assert (tmp_path / "entered").read_text() == str(worker.pid)
    worker.close()


def test_what_a_worker_started_dies_with_it(server):
    worker = server.spawn(("serves:breed", {}))
    worker.ask(b"", seconds=5)
    family = {child.pid for child in psutil.Process(server.pid).children(recursive=True)}
    assert len(family) >= 3
    worker.close()
    assert gone(family)


def test_a_killed_template_is_replaced_and_takes_its_workers_along(server):
    worker = server.spawn(("serves:echo", {}))
    first = server.pid
    os.kill(first, signal.SIGKILL)
    assert gone([worker.pid])
    with pytest.raises(WorkerDied):
        worker.ask(b"x", seconds=5)
    again = server.spawn(("serves:echo", {}))
    assert again.ask(b"x", seconds=5) == b"x" and server.pid != first
    again.close()


def test_close_leaves_nothing_running(server):
    for serve in ("hang", "breed", "echo"):
        server.spawn((f"serves:{serve}", {}))
    family = {server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))}
    server.close()
    assert gone(family, 0.1)
    with pytest.raises(SandboxError, match="closed"):
        server.spawn(("serves:echo", {}))


@pytest.mark.usefixtures("server")  # for the folder of serves
def test_template_and_workers_die_when_the_parent_is_killed():
    script = """
import time
from r1lab_sandbox.forkserver.forkserver import ForkServer
server = ForkServer()
workers = [server.spawn(("serves:hang", {})).pid for _ in range(2)]
print(server.pid, *workers, flush=True)
time.sleep(100)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=env) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 3
        parent.kill()
    assert gone(pids)


def test_a_template_that_cannot_start_is_an_error_and_not_a_hang(capfd):
    server = ForkServer(preload=["no_such_module_at_all"])
    with pytest.raises(SandboxError, match="start"):
        server.spawn(("serves:echo", {}))
    server.close()
    assert "no_such_module_at_all" in capfd.readouterr().err


def test_a_thread_that_ends_does_not_take_the_template_along(server):
    workers = []
    thread = threading.Thread(target=lambda: workers.append(server.spawn(("serves:echo", {}))))
    thread.start()
    thread.join()
    time.sleep(0.05)
    assert workers[0].ask(b"x", seconds=5) == b"x"
    workers[0].close()


def test_a_number_that_was_given_to_another_process_is_not_taken_for_a_workers(server):
    worker = server.spawn(("serves:echo", {}))
    assert worker.is_group_ours()
    gone = subprocess.Popen(["true"])
    gone_pidfd = os.pidfd_open(gone.pid)
    gone.wait()
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    ours, theirs = socket.socketpair()
    taken = Worker(stranger.pid, gone_pidfd, ours)
    try:
        assert not taken.is_group_ours()
    finally:
        stranger.kill()
        stranger.wait()
        assert taken.is_group_ours()
        taken.close()
        theirs.close()


def test_a_worker_may_be_closed_while_its_template_is_replaced(server, monkeypatch):
    worker, looked, original = server.spawn(("serves:hang", {})), threading.Event(), Worker.is_group_ours

    def slow(self):
        looked.set()
        time.sleep(0.3)
        return original(self)

    monkeypatch.setattr(Worker, "is_group_ours", slow)
    closing = threading.Thread(target=lambda: looked.wait(20) and worker.close())
    closing.start()
    os.kill(server.pid, signal.SIGKILL)
    other = server.spawn(("serves:echo", {"suffix": "!"}))
    closing.join()
    assert looked.is_set() and other.ask(b"a", seconds=5) == b"a!"
    other.close()
