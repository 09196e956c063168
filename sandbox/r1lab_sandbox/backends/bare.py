"""No walls, for a machine that allows none and a user who asked for `none` by name: a fork with limits and a filter.

Kept: the clock, the limits of the process, no network, no signal and no process of its own making
(`r1lab_sandbox.isolation.seccomp`). Not kept: files, which it reads and writes as this user may, and the memory of the
process that it is forked from.
"""

import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace

from r1lab_sandbox.backends import slot
from r1lab_sandbox.inside import program
from r1lab_sandbox.isolation import jail, kernel, rootfs, seccomp
from r1lab_sandbox.isolation.cgroup import ControlGroup
from r1lab_sandbox.records import Limits

ANY_NUMBER = 1 << 20
"""Of processes: the kernel would count all of this user's, and the filter allows threads only."""


class BareStarter:
    """Starts runs; raises OSError where the kernel takes no filter: a program could then signal every process."""

    grouped: tuple[int, int] | None = None
    is_watched = False

    def __init__(self, shown: rootfs.View, group: ControlGroup | None):
        self.group = group
        self.filter = seccomp.Filter(seccomp.program(is_alone=False))
        packages = {os.path.dirname(outside) for outside, path in shown.binds if path.startswith(rootfs.PACKAGES)}
        self.path = [*(path for path in shown.path if path not in (rootfs.PACKAGES, rootfs.WORK)), *sorted(packages)]
        pid = os.fork()
        if pid == 0:
            _leave_after(self._confine)
        if os.waitpid(pid, 0)[1]:
            raise OSError("the kernel takes no system-call filter")

    def num_files(self) -> int:
        """0: they are not limited."""
        return 0

    def begin(self, limits: dict, fds: list[int]) -> int:
        """The pidfd of a started run."""
        self.folder = tempfile.mkdtemp(prefix="r1lab-")
        self.entry = slot.Entry()
        self.pid = os.fork()
        if self.pid == 0:
            _become_run(self, Limits(**limits), [*fds, self.entry.fd])
        os.close(self.entry.fd)
        return os.pidfd_open(self.pid)

    def end(self) -> tuple[bool, int, float, float]:
        """As `r1lab_sandbox.driver` wants it."""
        _, status, usage = os.wait4(self.pid, 0)
        shutil.rmtree(self.folder, ignore_errors=True)
        return self.entry.was_made(), status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024

    def close(self) -> None:
        """Nothing is left of a run that has ended."""

    def _confine(self) -> None:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        self.filter.install()


def _leave_after(attempt: Callable[[], None]) -> None:
    try:
        attempt()
        os._exit(0)
    finally:
        os._exit(1)


def _become_run(starter: BareStarter, limits: Limits, fds: list[int]) -> None:
    """In the fork. Never returns."""
    try:
        os.setsid()
        jail.die_with_parent()
        if starter.group is not None:
            starter.group.add(os.getpid())
        os.environ.clear()
        os.environ.update(jail.ENVIRONMENT, HOME=starter.folder, TMPDIR=starter.folder)
        tempfile.tempdir = None
        sys.path[:] = [*starter.path, starter.folder]
        os.chdir(starter.folder)
        slot.take(fds)
        jail.set_limits(replace(limits, processes=ANY_NUMBER))
        starter._confine()
        slot.entered(len(fds) - 1)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        os._exit(slot.SETUP_FAILED)
    program.prepare()
    program.run(len(fds) - 1 > slot.NUM_STANDARD)
