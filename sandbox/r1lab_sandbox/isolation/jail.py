"""How a process enters the jail: once for a slot, and once more for every run. Knows nothing of what is run.

A slot has user, network, UTS and control-group namespaces and the read-only tree; a run has PID, mount and IPC
namespaces, an empty folder, limits, no capability and a system-call filter. As root the slot gives up root first, so
that the kernel counts its processes and nothing of root's is left; an ordinary user needs unprivileged user namespaces.
Not covered: what two processes learn of each other by timing, and bugs of the kernel in calls that are let through.
"""

import os
import resource
import signal
from contextlib import suppress

from r1lab_sandbox.isolation import kernel, rootfs, seccomp
from r1lab_sandbox.records import Limits

NOBODY = 65534
INSIDE_ID = 1000
"""User and group inside: not 0, so that no file executed can bring a capability back."""
CPU_SLACK_SECONDS = 2
MAX_FIRST_PID = 2
"""The first process of a PID namespace, or the one that bubblewrap's first process starts."""
SPACES = (
    kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS | kernel.CLONE_NEWPID | kernel.CLONE_NEWCGROUP
)  # fmt: skip
ALLOCATOR = {"MALLOC_ARENA_MAX": "2"}
"""Each arena reserves 64 MiB of address space, and without this each thread has its own."""
MAX_STACK_MB = 64
MAX_SIGNALS = 1024
"""That wait, timers among them: the kernel's own number is of the whole machine."""
SLOT_SCORE, LAST_SCORE = 900, 1000
"""Of a slot and of a run when memory runs out: the kernel also counts memory of a run's that no process has."""
ENVIRONMENT = {"HOME": rootfs.WORK, "TMPDIR": rootfs.WORK, "PATH": "/usr/bin", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8",
               "PYTHONUTF8": "1", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1",
               "OPENBLAS_NUM_THREADS": "1", **ALLOCATOR}  # fmt: skip


def enter_slot(shown: rootfs.View) -> None:
    """Leave the host: afterwards this process sees the tree only, and its next child is the slot's first process."""
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    is_root = can_give_up_root()
    if is_root:
        kernel.unshare(kernel.CLONE_NEWNS)
        rootfs.build(shown)
        give_up_root()
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # else the maps below would belong to root
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(SPACES)
    _write(proc, "self/setgroups", "deny")
    _write(proc, "self/uid_map", f"{INSIDE_ID} {user} 1")
    _write(proc, "self/gid_map", f"{INSIDE_ID} {group} 1")
    if not is_root:
        rootfs.build(shown)
    os.close(proc)
    kernel.bar_privileges()
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    os.umask(0o077)


def can_give_up_root() -> bool:
    """Root of the machine or of a container; not of a user namespace that has no other users."""
    with open("/proc/self/uid_map") as file:
        maps = [tuple(map(int, line.split())) for line in file]
    return os.geteuid() == 0 and any(first <= NOBODY < first + count for first, _, count in maps)


def give_up_root() -> None:
    """Become nobody, for good. Raises OSError."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that forked it ends. Set after every change of user, which takes
    it back."""
    # it fires when the forking thread ends, not the process: whoever forks here has one thread
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)


def enter_run(limits: Limits, filter: seccomp.Filter) -> None:
    """In the first process of a fresh PID namespace: everything that holds for this run only. Raises OSError."""
    os.setsid()
    check_alone()
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC)
    options = f"size={limits.disk_mb}m,nr_inodes={limits.inodes},mode=700"
    kernel.mount("tmpfs", rootfs.WORK, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    os.chdir(rootfs.WORK)
    confine(limits, filter)


def check_alone() -> None:
    """That no signal can leave: raises OSError unless this process is in a PID namespace and a group made for the run.

    kill(-1, ...) reaches the whole PID namespace; kill(0, ...), and so kill(getppid(), ...) in its first process, the
    whole group, also the part of it that is outside the namespace.
    """
    if os.getpid() > MAX_FIRST_PID or os.getpgrp() == 0:
        raise OSError(f"not alone: process {os.getpid()} of group {os.getpgrp()}; its signals could leave the jail")


def confine(limits: Limits, filter: seccomp.Filter) -> None:
    """Resource limits, no capabilities, the filter; what is executed gains none since `enter_slot`."""
    set_limits(limits)
    kernel.drop_capabilities()
    filter.install()


def set_limits(limits: Limits) -> None:
    """Those that the kernel keeps for each process."""
    cpu = int(limits.seconds + CPU_SLACK_SECONDS) + 1
    for which, value in (
        (resource.RLIMIT_AS, limits.memory_mb << 20),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, limits.disk_mb << 20),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_RTPRIO, 0),
        (resource.RLIMIT_SIGPENDING, MAX_SIGNALS),
    ):
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    stack = min(MAX_STACK_MB, limits.memory_mb // 4) << 20
    stack = stack if hard == resource.RLIM_INFINITY else min(stack, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (stack, hard))  # programs ask for more, which RLIMIT_AS bounds


def offer_to_the_killer(score: int = LAST_SCORE, proc: int | None = None) -> None:
    """Where memory runs out, this process and its children go before others, those of the highest score first. proc: a
    descriptor of the host's /proc; None: it is still in its place."""
    with suppress(OSError):
        folder = os.open("/proc", os.O_PATH | os.O_CLOEXEC) if proc is None else proc
        _write(folder, "self/oom_score_adj", str(score))
        if proc is None:
            os.close(folder)


def _write(folder: int, name: str, text: str) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
