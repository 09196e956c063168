import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from r1lab_sandbox import slots
from r1lab_sandbox.backends import bubblewrap, slot
from r1lab_sandbox.box import Sandbox
from r1lab_sandbox.forkserver.forkserver import SandboxError
from r1lab_sandbox.records import Limits, Program

pytestmark = pytest.mark.sandbox
QUICK = Limits(seconds=5.0, memory_mb=256)
BACKENDS = ["namespaces", *(["bubblewrap"] if bubblewrap.find() else []), "none"]


@pytest.fixture(scope="module", params=BACKENDS)
def box(request):
    with Sandbox(slots=1, backend=request.param) as made:
        yield made


@pytest.fixture(scope="module")
def jail():
    with Sandbox(slots=2, backend="namespaces") as made:
        yield made


def run(box, source, limits=QUICK, **given):
    return box.run(Program(source, **given), limits)


def test_a_program_reads_its_input_and_its_output_comes_back(box):
    outcome = run(box, "import sys\nprint(input()[::-1], *sys.argv)", stdin=b"abc\n", argv=("x",))
    assert (outcome.status, outcome.exit_code, outcome.stdout) == ("ok", 0, b"cba main.py x\n")
    assert 0 < outcome.cpu_seconds < 5 and 0 < outcome.wall_seconds < 5 and outcome.peak_mb > 1


def test_how_it_ended_is_told_apart(box):
    assert run(box, "1 / 0").status == "failed"
    assert run(box, "import sys; sys.exit(3)").exit_code == 3
    crashed = run(box, "import ctypes; ctypes.string_at(0)")
    assert (crashed.status, crashed.signal, crashed.exit_code) == ("killed", 11, None)
    assert b"ZeroDivisionError" in run(box, "1 / 0").stderr


def test_each_limit_ends_the_run_that_exceeds_it(box):
    start = time.monotonic()
    assert run(box, "while True: pass", Limits(seconds=0.3)).status == "timeout"
    assert run(box, "import time; time.sleep(60)", Limits(seconds=0.3)).status == "timeout"
    assert time.monotonic() - start < 10
    assert run(box, "while True: print('x' * 1000)").status == "output"
    assert b"MemoryError" in run(box, "x = bytearray(1 << 30)").stderr


def test_the_next_run_sees_nothing_of_the_last(box):
    first = "import os\nopen('left', 'w').close()\nopen(os.environ['TMPDIR'] + '/left2', 'w').close()"
    assert run(box, first).status == "ok"
    outcome = run(box, "import os\nprint(os.listdir('.'), os.listdir(os.environ['TMPDIR']))")
    assert outcome.stdout == b"[] []\n"


def test_the_environment_holds_nothing_of_ours(box, monkeypatch):
    monkeypatch.setenv("R1LAB_SECRET", "1")
    assert b"SECRET" not in run(box, "import os; print(dict(os.environ))").stdout


def test_numpy_can_be_imported_and_what_was_not_asked_for_cannot(box):
    assert run(box, "import numpy; print(numpy.arange(3).sum())").stdout == b"3\n"
    if box.backend != "none":
        assert b"ModuleNotFoundError" in run(box, "import psutil").stderr


def test_a_conversation_goes_turn_by_turn(box):
    source = "def add(a, b): return a + b"
    with box.converse(Program(source, kind="serve"), QUICK) as session:
        assert b'"add": "function"' in session.heard
        question = b'{"nonce": "n", "name": "add", "args": [%d, 2], "kwargs": {"dict": []}}'
        for number in (1, 5):
            assert b'"value": %d' % (number + 2) in session.say(question % number)
    assert session.outcome.status == "ok"


def test_a_late_turn_ends_the_conversation(jail):
    limits = Limits(seconds=20.0, turn_seconds=0.3)
    with jail.converse(Program("def f():\n    while True: pass", kind="serve"), limits) as session:
        assert session.say(b'{"nonce": "n", "name": "f", "args": [], "kwargs": {"dict": []}}') is None
    assert session.outcome.status == "timeout"


def test_processes_that_a_program_leaves_behind_die_with_it(jail):
    before = {each.pid for each in psutil.process_iter()}
    source = (
        "import os, time\nfor _ in range(5):\n    if os.fork() == 0:\n        os.setsid()\n        time.sleep(60)\n"
    )
    assert run(jail, source + "print('left')").stdout == b"left\n"
    assert run(jail, source + "while True: pass", Limits(seconds=0.3)).status == "timeout"
    born = [each for each in psutil.process_iter() if each.pid not in before]
    assert not [each for each in born if each.status() != "zombie" and os.getpid() in map(_pid, each.parents())]


def _pid(process):
    return process.pid


def test_memory_of_several_processes_counts_together(jail):
    source = """import os, time
for _ in range(4):
    if os.fork() == 0:
        x = b"1" * (120 << 20)
        time.sleep(20)
        os._exit(0)
os.wait()
"""
    assert run(jail, source, Limits(seconds=10.0, memory_mb=256)).status == "memory"


def test_the_number_of_processes_and_the_size_of_the_folder_are_bounded(jail):
    count = "import os, time\nfor n in range(99):\n    if os.fork() == 0: time.sleep(60)\n"
    assert b"BlockingIOError" in run(jail, count, Limits(seconds=5.0, processes=12)).stderr
    fill = "open('x', 'wb').write(bytes(8 << 20))"
    assert b"OSError" in run(jail, fill, Limits(seconds=5.0, disk_mb=4)).stderr
    assert b"OSError" in run(jail, "for n in range(99): open(str(n), 'w')", Limits(seconds=5.0, inodes=20)).stderr


def test_the_tree_is_read_only_and_holds_nothing_of_the_host(jail, tmp_path):
    (tmp_path / "secret").write_text("x")
    assert b"FileNotFoundError" in run(jail, f"open({str(tmp_path / 'secret')!r})").stderr
    for path in ("/etc/passwd", "/proc/self/status", "/root/.bashrc", "/home", "/sys"):
        assert b"No such file" in run(jail, f"import os; os.stat({path!r})").stderr, path
    for folder in ("/", "/usr", "/dev", os.path.dirname(os.__file__)):
        assert run(jail, f"open({folder + '/x'!r}, 'w')").status == "failed", folder


def test_runs_of_several_threads_go_at_once(jail):
    answers: list[bytes] = []
    threads = [threading.Thread(target=lambda n=n: answers.append(run(jail, f"print({n})").stdout)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == sorted(b"%d\n" % n for n in range(12))


def test_time_without_a_processor_does_not_count():
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})  # of all that is started from here
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) for _ in range(2)]
    try:
        with Sandbox(slots=1, backend="namespaces") as box:
            start = time.monotonic()
            outcome = run(box, "while True: pass", Limits(seconds=0.5))
            assert outcome.status == "timeout" and 0.4 < outcome.wall_seconds < 1.5
            assert 0.7 < time.monotonic() - start < 6
    finally:
        os.sched_setaffinity(0, processors)
        for each in busy:
            each.kill()
            each.wait()


def test_time_without_a_processor_cannot_be_had_by_a_crowd_of_ones_own(jail):
    crowd = "import os\nfor _ in range(20):\n    if os.fork() == 0:\n        break\nwhile True: pass"
    start = time.monotonic()
    outcome = run(jail, crowd, Limits(seconds=0.5))
    assert outcome.status == "timeout" and 0.4 < outcome.wall_seconds < 1.5
    assert time.monotonic() - start < 6


def test_a_slot_that_is_killed_is_replaced():
    with Sandbox(slots=1, backend="namespaces") as box:
        psutil.Process(box._free[0].worker.pid).kill()
        with pytest.raises(SandboxError, match="the slot ended"):
            run(box, "print(1)")
        assert run(box, "print(1)").stdout == b"1\n"


def test_a_template_that_is_killed_is_replaced():
    with Sandbox(slots=1, backend="namespaces") as box:
        os.kill(box._slot_factory._server.pid, signal.SIGKILL)
        with pytest.raises(SandboxError):
            run(box, "print(1)")
        assert run(box, "print(1)").stdout == b"1\n"


def held() -> tuple:
    """Processes, descriptors and control groups of this process."""
    groups = sorted(Path("/sys/fs/cgroup").glob(f"**/r1lab-{os.getpid()}-*"))
    children = sorted(each.pid for each in psutil.Process().children(recursive=True))
    return children, len(os.listdir("/proc/self/fd")), groups


def test_nothing_is_left_after_close():
    before = held()
    with Sandbox(slots=2) as box:
        run(box, "print(1)")
    assert held() == before
    with pytest.raises(SandboxError, match="closed"):
        run(box, "print(1)")


def test_without_isolation_there_is_no_sandbox(monkeypatch):
    def refuse(self, backend):
        raise SandboxError(f"{backend}: unshare: Operation not permitted")

    monkeypatch.setattr(slots.SandboxSlots, "make", refuse)
    with pytest.raises(
        SandboxError, match=r"no isolation, so no program is run \(namespaces: .*bubblewrap: "
    ) as caught:
        Sandbox()
    assert "user namespaces" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("given", "message"), [
    ({"seconds": 0}, "limit seconds 0: give a number above 0"),
    ({"memory_mb": 1 << 40}, "this machine has"),
    ({"memory_mb": 8}, "an interpreter needs 64"),
    ({"processes": -1}, "limit processes -1"),
    ({"processes": 1.5}, "give a whole number"),
    ({"seconds": float("inf")}, "limit seconds inf"),
    ({"seconds": "4"}, "limit seconds '4': give a number above 0"),
])  # fmt: skip
def test_limits_that_cannot_be_are_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message):
        Limits(**given)


@pytest.mark.parametrize("given", [{"backend": "docker"}, {"workers": "slurm"}])
def test_an_unknown_backend_is_refused_with_what_there_is(given):
    with pytest.raises(ValueError, match="allowed are"):
        Sandbox(**given)


def test_a_read_only_or_missing_temp_folder_is_no_matter(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    with Sandbox(slots=1, backend="namespaces") as box:
        assert run(box, "open('x', 'w').write('1'); print(open('x').read())").stdout == b"1\n"


def test_a_program_cannot_look_like_a_jail_that_failed(box):
    outcome = run(box, "import os\nos.write(2, b'sandbox: could not enter')\nos._exit(117)")
    assert (outcome.status, outcome.exit_code) == ("failed", 117)


def test_a_run_has_entered_the_jail_only_where_it_said_so():
    silent, told = slot.Entry(), slot.Entry()
    slot.entered(told.fd)
    assert told.was_made() and not silent.was_made()
    os.close(silent.fd)


def test_many_threads_fit_into_the_memory(box):
    source = ("from concurrent.futures import ThreadPoolExecutor\nimport time\nwith ThreadPoolExecutor(24) as pool:\n"
              "    print(sum(pool.map(lambda x: time.sleep(0.02) or x, range(48))))")  # fmt: skip
    assert run(box, source, Limits(seconds=8.0)).stdout == b"1128\n"


def test_deep_recursion_through_c_has_a_stack(box):
    source = ("import sys\nfrom functools import lru_cache\nsys.setrecursionlimit(10**6)\n@lru_cache(None)\n"
              "def f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(20000))")  # fmt: skip
    assert run(box, source, Limits(seconds=8.0)).stdout == b"20000\n"
    if box.backend != "none":
        assert run(box, "import resource as r\nr.setrlimit(r.RLIMIT_STACK, (1 << 28, r.RLIM_INFINITY))").status == "ok"


def test_what_was_not_flushed_is_written_at_the_end(box):
    source = "import os\nprint(1)\nw = [os.fdopen(os.dup(1), 'w')]\nw[0].write('2')"
    assert run(box, source).stdout == b"1\n2"
    kept = "import sys, io\nreal, sys.stdout = sys.stdout, io.StringIO()\nprint('x')\nreal.write('7')"
    assert run(box, kept).stdout == b"7"


def test_stderr_is_cut_and_ends_nothing(box):
    outcome = run(box, "import sys\nfor i in range(300): print('x' * 10000, file=sys.stderr)\nprint(1)\n1 / 0")
    assert (outcome.status, outcome.stdout) == ("failed", b"1\n") and len(outcome.stderr) < 5000
    assert outcome.stderr.endswith(b"ZeroDivisionError: division by zero\n")


def test_a_program_finds_its_interpreter(box):
    if box.backend == "none":
        pytest.skip("without walls a program starts no process")
    source = "import subprocess, sys\nprint(subprocess.check_output([sys.executable, '-c', 'print(3)']))"
    assert run(box, source, Limits(seconds=8.0)).stdout == b"b'3\\n'\n"
