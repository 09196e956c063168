"""Whether the walls hold, tried from inside: a program does what each wall forbids and says what came of it.

Not a proof: it shows that the walls stand, not that none has a hole. Harmless where one does not stand: signals are
number 0, files are of its own making.
"""

import json
import tempfile
from dataclasses import dataclass

from r1lab_sandbox.box import Sandbox
from r1lab_sandbox.records import Limits, Program

LIMITS = Limits(seconds=5.0, memory_mb=256, processes=24, disk_mb=4)
SPIN_SECONDS = 0.2
PROBE = """
import ctypes, json, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
marker, stdlib, processes = sys.argv[1:]
def is_refused(act, *arguments):
    try:
        act(*arguments)
    except (OSError, MemoryError):
        return True
    return False
def fork_too_many():
    for _ in range(int(processes) + 8):
        if os.fork() == 0:
            os.read(0, 1)
            while True:
                os.sched_yield()
def fill(path):
    with open(path, "wb") as file:
        for _ in range(6):
            file.write(bytes(1 << 20))
    os.sync()
def has_powers():
    data = (ctypes.c_uint32 * 6)()
    libc.capget((ctypes.c_uint32 * 2)(0x20080522, 0), data)
    return any(data) or libc.prctl(39, 0, 0, 0, 0) != 1
held = {
    "files": not os.path.exists(marker) and not os.path.exists("/etc/passwd") and is_refused(open, stdlib + "/x", "w"),
    "network": is_refused(socket.socket),
    "other processes": os.getppid() <= 1 and is_refused(os.kill, -1, 0) and not os.path.exists("/proc/self"),
    "mounts and namespaces": libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) != 0 and libc.unshare(0x10000000) != 0,
    "privileges": not has_powers() and is_refused(os.setuid, 0),
    "system calls": libc.prctl(21, 0, 0, 0, 0) == 2,
    "memory": is_refused(bytearray, 1 << 30),
    "disk": is_refused(fill, "x"),
    "number of processes": is_refused(fork_too_many),
}
print(json.dumps(held), flush=True)
os._exit(0)
"""


@dataclass(frozen=True)
class Report:
    """What held."""

    backend: str
    walls: dict[str, bool]
    has_groups: bool
    """Memory of all processes of a program is limited together; else it is watched."""

    @property
    def broken(self) -> list[str]:
        return [name for name, has_held in self.walls.items() if not has_held]


def report(box: Sandbox) -> Report:
    """Try every wall of a sandbox. SandboxError where it cannot run the probe."""
    with tempfile.NamedTemporaryFile(prefix="r1lab-marker-") as marker:
        argv = (marker.name, json.__file__.rpartition("/json/")[0], str(LIMITS.processes))
        outcome = box.run(Program(PROBE, argv=argv), LIMITS)
    walls = json.loads(outcome.stdout) if outcome.status == "ok" else {"a run": False}
    endless = box.run(Program("while True: pass"), Limits(seconds=SPIN_SECONDS))
    return Report(box.backend, {**walls, "time": endless.status == "timeout"}, box.has_groups)
