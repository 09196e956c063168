"""What a program must not reach or keep, with each backend that has walls, and with and without control groups."""

import logging
import os
import socket
import threading
from pathlib import Path

import pytest

from r1lab_sandbox import driver, slots, wire
from r1lab_sandbox.backends import bubblewrap
from r1lab_sandbox.box import Sandbox
from r1lab_sandbox.forkserver.forkserver import SandboxError
from r1lab_sandbox.isolation import cgroup, process, rootfs
from r1lab_sandbox.records import Limits, Program

pytestmark = pytest.mark.sandbox
LIMITS = Limits(seconds=8.0, memory_mb=256, processes=24)
WALLED = ["namespaces", *(["bubblewrap"] if bubblewrap.find() else [])]
CALL = "import ctypes, fcntl, os, socket, sys, time\nlibc = ctypes.CDLL(None, use_errno=True)\n"


@pytest.fixture(scope="module", params=WALLED)
def box(request):
    with Sandbox(slots=1, backend=request.param) as made:
        yield made


@pytest.fixture(scope="module", params=["groups", "no groups"])
def plain_box(request):
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "no groups":
            patch.setattr(cgroup, "make", lambda name: None)
        with Sandbox(slots=1, backend="namespaces") as made:
            yield made


def is_refused(box: Sandbox, *acts: str) -> bool:
    """Whether each expression raises OSError, or is a call of the C library that returns -1."""
    source = CALL + "held = []\nfor act in sys.argv[1:]:\n    try: held.append(eval(act) == -1)\n"
    source += "    except OSError: held.append(True)\nprint(held)"
    outcome = box.run(Program(source, argv=acts), LIMITS)
    assert outcome.status == "ok", outcome.stderr
    return outcome.stdout.decode().strip() == str([True] * len(acts))


@pytest.mark.parametrize("device", rootfs.DEVICES)
def test_a_device_works_and_nothing_about_it_changes(box, device):
    before = os.stat(device)
    mode = before.st_mode & 0o777
    acts = (f"os.chmod({device!r}, {mode})", f"os.chown({device!r}, 1000, 1000)", f"os.unlink({device!r})",
            f"os.setxattr({device!r}, b'user.x', b'1')", f"os.rename({device!r}, '/dev/x')")  # fmt: skip
    assert is_refused(box, *acts)
    source = f"import os\ntry: os.utime({device!r})\nexcept OSError: pass\n"
    source += f"f = open({device!r}, 'r+b', 0)\ntry: os.utime(f.fileno())\nexcept OSError: pass\n"
    source += "if 'random' not in f.name: f.write(b'x')\nprint(len(f.read(2)))"
    assert box.run(Program(source), LIMITS).stdout == (b"0\n" if device == "/dev/null" else b"2\n")
    after = os.stat(device)
    assert (after.st_mode, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_mode, before.st_mtime_ns, before.st_ctime_ns
    )  # fmt: skip


def test_no_channel_to_another_run_or_to_the_host_is_left_open(box):
    shared = f"os.open({os.__file__!r}, os.O_RDONLY)"
    assert is_refused(
        box, "libc.inotify_init()", "libc.inotify_init1(0)", "libc.inotify_add_watch(0, b'/', 2)",
        f"fcntl.fcntl({shared}, 1024, 0)", "fcntl.fcntl(os.open('/usr', 0), 1026, 2)",
        f"os.posix_fadvise({shared}, 0, 0, 4)", f"os.preadv({shared}, [bytearray(9)], 0, 8)", "libc.mincore(0, 0, 0)",
    )  # fmt: skip


def test_what_the_kernel_counts_for_the_whole_machine_cannot_be_used_up(box):
    assert is_refused(box, "libc.syscall(206, 1, ctypes.byref(ctypes.c_ulong(0)))")
    source = CALL + "n = 0\nwhile libc.timer_create(0, None, ctypes.byref(ctypes.c_void_p())) == 0: n += 1\nprint(n)"
    assert 0 < int(box.run(Program(source), LIMITS).stdout) <= 1024


def test_sockets_are_of_the_plain_kind(box):
    pairs = "(ctypes.c_int * 2)()"
    pair = "socket.socketpair()[0]"
    assert is_refused(
        box, *(f"libc.socketpair({family}, 1, 0, {pairs})" for family in (2, 10, 16, 30, 38, 40)),
        f"{pair}.send(b'x', socket.MSG_OOB)", f"{pair}.recv(1, socket.MSG_OOB)", f"{pair}.getsockopt(1, 77)",
        f"{pair}.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)",
    )  # fmt: skip


PLAIN = {
    "a pair of sockets": "a, b = socket.socketpair()\na.sendall(b'7')\nprint(b.recv(1).decode())",
    "asyncio": "import asyncio\nasync def f(): return 7\nprint(asyncio.run(f()))",
    "sqlite": "import sqlite3\nd = sqlite3.connect('x.db')\nd.execute('create table t (a)')\nd.commit()\n"
    "d.execute('insert into t values (7)')\nd.commit()\nd.close()\n"
    "print(sqlite3.connect('x.db').execute('select a from t').fetchone()[0])",
    "a lock": "f = open('x', 'w')\nfcntl.flock(f, fcntl.LOCK_EX)\nfcntl.lockf(f, fcntl.LOCK_EX)\nprint(7)",
    "a copy with its times": "import shutil\nopen('x', 'w').write('7')\nshutil.copy2('x', 'y')\n"
    "print(open('y').read())",
    "a time zone": "import zoneinfo\nprint(len(zoneinfo.ZoneInfo('Europe/Rome').key) - 4)",
    "an alarm": "import signal\nsignal.signal(signal.SIGALRM, lambda *_: print(7))\nsignal.setitimer(0, 0.01)\n"
    "signal.pause()",
    "a subprocess": "import subprocess\nprint(subprocess.run([sys.executable, '-c', 'print(7)'], capture_output=True, "
    "text=True).stdout, end='')",
    "what is linked with libraries": "import ssl, hashlib, zlib, bz2, lzma\nprint(7)",
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_things_go_on_working(box, name):
    outcome = box.run(Program(CALL + PLAIN[name]), LIMITS)
    assert outcome.stdout == b"7\n", outcome.stderr


def test_other_environments_of_the_interpreter_are_not_shown(tmp_path, monkeypatch):
    folder = f"lib/python{rootfs.sys.version_info[0]}.{rootfs.sys.version_info[1]}"
    for place in (f"{folder}/site-packages", "lib/python3.1/site-packages", "envs/other/bin", "share/zoneinfo"):
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.setattr(rootfs.sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(rootfs.sysconfig, "get_path", lambda name: str(tmp_path / folder))
    shown = rootfs.view()
    own = [outside.removeprefix(str(tmp_path)) for outside, _ in shown.binds if outside.startswith(str(tmp_path))]
    assert own == ["/lib", "/share/zoneinfo", f"/{folder}"]
    hidden = {path.removeprefix(str(tmp_path)) for path in shown.hidden}
    assert hidden == {f"/{folder}/site-packages", "/lib/python3.1/site-packages"}


def test_the_number_of_files_is_bounded_by_every_backend(box):
    for act in ("os.link('a', str(n))", "open(str(n), 'w').close()", "os.mkdir(str(n))"):
        source = (
            f"import os\nopen('a', 'w').close()\ntry:\n    for n in range(5000): {act}\nexcept OSError: print('no')"
        )
        outcome = box.run(Program(source), LIMITS)
        assert outcome.status == "memory" or outcome.stdout == b"no\n", (act, outcome)
    many = "import os\nfor n in range(900): open(str(n), 'w').close()\nprint(1)"
    assert box.run(Program(many), LIMITS).stdout == b"1\n"


FILLED_SOCKETS = """import os, socket, time
for _ in range(10):
    if os.fork() == 0:
        kept = []
        try:
            while True:
                for pair in [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)]:
                    kept.append(pair)
                    for each in pair:
                        each.setblocking(False)
                        try:
                            while True: each.send(bytes(60000))
                        except BlockingIOError: pass
        except OSError: time.sleep(9)
time.sleep(9)
"""
IDLE_FORKS = """import os, time
for _ in range(10):
    if os.fork() == 0:
        time.sleep(0.3)
        os._exit(0)
for _ in range(10): os.wait()
print(7)
"""
SHARED_PAGES = """import mmap, os, time
pages = mmap.mmap(-1, 60 << 20)
for _ in range(6):
    if os.fork() == 0:
        sum(pages[n] for n in range(0, 60 << 20, 4096))
        time.sleep(0.3)
        os._exit(0)
for _ in range(6): os.wait()
print(7)
"""


def test_memory_that_the_kernel_keeps_for_a_program_counts(plain_box):
    outcome = plain_box.run(Program(FILLED_SOCKETS), Limits(seconds=8.0, memory_mb=128, processes=16))
    assert outcome.status == "memory"
    assert plain_box.run(Program("print(7)"), Limits(seconds=8.0, memory_mb=64)).stdout == b"7\n"


@pytest.mark.parametrize("source", [IDLE_FORKS, SHARED_PAGES])
def test_memory_that_processes_share_counts_once(plain_box, source):
    assert plain_box.run(Program(source), Limits(seconds=8.0, memory_mb=192, processes=16)).stdout == b"7\n"


class Ending:
    """A run that does not start, and says what was done to it."""

    grouped, is_watched = None, False

    def num_files(self):
        return 0


def test_below_the_floor_of_free_memory_nothing_starts_and_what_runs_is_ended(monkeypatch):
    frame = wire.request(Program("pass"), LIMITS, live=False)[1:]
    run = driver._Run(socket.socket(), Ending(), None, frame)
    run.pidfd = os.pidfd_open(os.getpid())
    monkeypatch.setattr(process, "has_more_than", lambda pidfd, limit_mb: False)
    assert not run._is_over()
    monkeypatch.setattr(process, "available_mb", lambda: driver.FLOOR_MB - 1.0)
    assert run._is_over()
    with pytest.raises(OSError, match="less than 256 MiB of memory left: no program is started"):
        run.outcome()
    run.group = cgroup.ControlGroup(Path("/"))  # then the kernel sees to it
    assert not run._is_over()
    os.close(run.pidfd)


def test_another_backend_than_the_first_is_never_taken_without_a_word(monkeypatch, caplog):
    made = slots.SandboxSlots.make

    def refuse(self, backend):
        if backend == "namespaces":
            raise SandboxError("namespaces: unshare: Operation not permitted")
        return made(self, "namespaces")

    monkeypatch.setattr(slots.SandboxSlots, "make", refuse)
    with caplog.at_level(logging.WARNING), Sandbox(slots=1) as box:
        assert box.backend == "bubblewrap"
    assert [record.getMessage() for record in caplog.records] == [
        "programs run under bubblewrap, which starts slower: namespaces: unshare: Operation not permitted"
    ]
    caplog.clear()
    with Sandbox(slots=1, backend="none"):
        assert not caplog.records


def test_a_limit_is_lowered_though_the_kernel_is_still_busy(tmp_path, monkeypatch):
    (tmp_path / "memory.limit_in_bytes").write_text("")
    group = cgroup.ControlGroup(tmp_path)
    monkeypatch.setattr(cgroup, "LOWERING_SECONDS", 0.0)
    real, refused = cgroup.Path.write_text, []

    def busy(self, text):
        if self.name == "memory.limit_in_bytes" and len(refused) < 3:
            refused.append(text)
            raise OSError(16, "busy")
        return real(self, text)

    monkeypatch.setattr(cgroup.Path, "write_text", busy)
    group.limit(64)
    assert (tmp_path / "memory.limit_in_bytes").read_text() == str(64 << 20) and len(refused) == 3


def test_two_runs_at_once_do_not_see_each_others_locks():
    hold = (
        "import fcntl, os, time\nf = open(os.__file__)\nfcntl.flock(f, fcntl.LOCK_EX)\nfcntl.lockf(f, fcntl.LOCK_SH)\n"
    )
    see = "import fcntl, os, struct, time\nf = open(os.__file__)\nbusy = []\nfor _ in range(20):\n"
    see += "    try:\n        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\n    except OSError: busy.append(1)\n"
    see += "    told = fcntl.fcntl(f, fcntl.F_GETLK, struct.pack('hhqqi', fcntl.F_WRLCK, 0, 0, 0, 0))\n"
    see += "    busy += [2] * (struct.unpack('hhqqi', told)[0] != fcntl.F_UNLCK)\n    time.sleep(0.02)\nprint(busy)"
    with Sandbox(slots=2, backend="namespaces", packages=()) as box:
        thread = threading.Thread(target=box.run, args=(Program(hold + "time.sleep(1)"), LIMITS))
        thread.start()
        outcome = box.run(Program(see), LIMITS)
        thread.join()
    assert outcome.stdout == b"[]\n", outcome.stderr


def test_two_sandboxes_of_a_process_share_no_control_group():
    with Sandbox(slots=1, packages=()) as one, Sandbox(slots=1, packages=()) as other:
        groups = [each for made in (one, other) for each in made._slot_factory._groups]
    if not groups:
        pytest.skip("no control group can be had here")
    assert len({each.memory for each in groups}) == len(groups) == 2
