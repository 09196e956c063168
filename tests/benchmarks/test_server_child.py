"""A server that a benchmark or a test starts ends with it; a real one is started in `test_live.py`."""

import os
import signal
import time
from contextlib import suppress

import psutil
import pytest
import server_child

from r1lab.engines.server import launch
from r1lab.errors import RunError


def test_a_child_that_does_not_start_says_where_its_log_is(monkeypatch, tmp_path):
    monkeypatch.setattr(launch, "find_spec", lambda name: object())
    log = tmp_path / "server.log"
    with server_child.Child("MODEL", log) as child:
        child.signal(9)
        with pytest.raises(RunError, match=rf"no server at http://127.0.0.1:{child.port} .*see {log}"):
            child.wait()


STARTS = f"""
import subprocess
sys.path.insert(0, {os.path.dirname(server_child.__file__)!r})
from server_child import ProcessTree
text = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
group = ProcessTree([sys.executable, "-c", text + "print('up', flush=True); time.sleep(600)"], stdout=subprocess.PIPE)
group.stdout.readline()
print(group.pid, group.guard.pid, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_and_what_it_started_end_with_the_program(forked_in, tmp_path, number):
    program = forked_in(tmp_path, STARTS)
    ends = time.monotonic() + 60
    while not (found := (tmp_path / "stdout").read_text().split() if (tmp_path / "stdout").exists() else []):
        assert program.is_alive() and time.monotonic() < ends, (tmp_path / "stderr").read_text()
        time.sleep(0.05)
    server, guard = (psutil.Process(int(pid)) for pid in found)
    running = [server, *server.children(), guard]
    assert len(running) == 3
    os.kill(program.pid, number)
    program.join()
    with suppress(psutil.NoSuchProcess):
        psutil.wait_procs(running, timeout=20)
    assert not [each for each in running if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_what_was_killed_leaves_no_guard():
    group = server_child.ProcessTree(["sleep", "600"])
    group.signal_all(signal.SIGKILL)
    assert (group.returncode, group.guard.returncode) == (-9, -9)
    group.signal_all(signal.SIGKILL)
