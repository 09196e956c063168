"""A slot: a process that has entered the jail, knows no program, and forks one run at a time; and what starts it.

It sees limits and descriptors only, never what is run: a run is a copy of this process, so whatever this process had
read a later program could find in its memory. The side that knows is `r1lab_sandbox.driver`.
"""

import fcntl
import functools
import gc
import json
import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable

from r1lab_sandbox.inside import program
from r1lab_sandbox.isolation import jail, kernel, rootfs, seccomp
from r1lab_sandbox.isolation.cgroup import ControlGroup
from r1lab_sandbox.records import Limits

RESULT = struct.Struct("!?iddq")
"""whether it entered the jail, wait status, user and system seconds, peak in KiB"""
NUM_STANDARD = 4
"""Descriptors of a run: stdin, stdout, stderr, request; a fifth is its line in a conversation."""
HIGHEST = 8
"""Above all descriptors that a run has."""
REAP_SECONDS = 20.0
SETUP_FAILED = 117
"""Exit code of a run that could not enter the jail. A program may exit with it too: what counts is `Entry`."""


class Entry:
    """A pipe on which a run says that it has entered the jail, before the program is there to say anything."""

    def __init__(self):
        self._read, self.fd = os.pipe()
        os.set_blocking(self._read, False)

    def was_made(self) -> bool:
        """Ask once, when the run has ended."""
        try:
            return os.read(self._read, 1) == b"1"
        except BlockingIOError:
            return False
        finally:
            os.close(self._read)


def entered(fd: int) -> None:
    """Say so, on the last of the run's descriptors, and close it."""
    os.write(fd, b"1")
    os.close(fd)


class NamespaceStarter:
    """The driver's side: starts runs in a slot. Raises OSError where the jail cannot be, or the slot has ended."""

    grouped: tuple[int, int] | None = None
    is_watched = False

    def __init__(self, shown: rootfs.View, group: ControlGroup | None):
        self.line, self.pid = start(shown, group.add if group else None)
        self.line.settimeout(REAP_SECONDS)

    def num_files(self) -> int:
        """0: the kernel limits them."""
        return 0

    def begin(self, limits: dict, fds: list[int]) -> int:
        """The pidfd of a started run."""
        socket.send_fds(self.line, [json.dumps({"limits": limits}).encode()], fds)
        message, received, _, _ = socket.recv_fds(self.line, 64, 1)
        if message != b"started" or not received:
            raise OSError("the slot ended")
        return received[0]

    def end(self) -> tuple[bool, int, float, float]:
        """(whether it entered the jail, wait status, processor seconds, peak MiB) of the run that has ended."""
        message = self.line.recv(64)
        if len(message) != RESULT.size:
            raise OSError("the slot ended")
        has_entered, status, user, system, peak = RESULT.unpack(message)
        return has_entered, status, user + system, peak / 1024

    def close(self) -> None:
        """End the slot."""
        self.line.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def start(shown: rootfs.View, group_add: Callable[[int], None] | None) -> tuple[socket.socket, int]:
    """Fork a slot; our end of its line, and its first process. Raises OSError where the jail cannot be."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    gate_read, gate_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        ours.close()
        os.close(gate_write)
        os.read(gate_read, 1)
        os.close(gate_read)
        _become_slot(theirs, shown)
    theirs.close()
    os.close(gate_read)
    if group_add is not None:
        group_add(pid)
    os.close(gate_write)
    answer = ours.recv(1 << 16)
    if answer != b"ready":
        ours.close()
        os.waitpid(pid, 0)
        raise OSError(f"the jail cannot be entered: {answer.decode(errors='replace') or 'the slot ended'}")
    return ours, pid


def _become_slot(line: socket.socket, shown: rootfs.View) -> None:
    """Two processes: the outer one waits, so that the inner one is the first of its PID namespace. Never returns."""
    parent = os.getppid()
    try:
        proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        jail.offer_to_the_killer(jail.SLOT_SCORE, proc)
        jail.enter_slot(shown)
        jail.die_with_parent()
        filter = seccomp.Filter(seccomp.program())
        if os.getppid() != parent:
            os._exit(1)
        inner = os.fork()
        if inner == 0:
            jail.die_with_parent()
            _serve(line, shown, filter, proc)
        line.close()
        os.waitpid(inner, 0)
    except BaseException as error:  # the slot's border: whatever it is, the driver is told
        line.send(f"{type(error).__name__}: {error}".encode()[:1000])
    finally:
        os._exit(1)


def _serve(line: socket.socket, shown: rootfs.View, filter: seccomp.Filter, proc: int) -> None:
    """One run after the other until the driver closes. proc: the host's /proc, which no run keeps. Never returns."""
    try:
        sys.path[:] = shown.path
        own = os.pidfd_open(os.getpid())
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _prepare_streams()
        gc.collect()
        gc.freeze()
        line.send(b"ready")
        while True:
            message, fds, _, _ = socket.recv_fds(line, 4096, NUM_STANDARD + 1)
            if not message:
                os._exit(0)
            _run(line, _limits(message), fds, filter, proc)
            kernel.setns(own, kernel.CLONE_NEWPID)  # the next unshare starts from this namespace again
    except BaseException:
        os._exit(1)


def _prepare_streams() -> None:
    """Made here, on descriptors of the kind that a run has, they are one thing less for a run to make; and the
    numbers below HIGHEST are taken, so that a run's descriptors come in above."""
    reading, writing = os.pipe()
    empty = os.memfd_create("input")
    for number, fd in enumerate((empty, writing, writing)):
        os.dup2(fd, number)
    program.prepare()
    for fd in (reading, writing, empty):
        os.close(fd)
    silence = os.open(os.devnull, os.O_RDWR)
    for number in range(NUM_STANDARD - 1):
        os.dup2(silence, number)
    while os.dup(silence) < HIGHEST:
        pass


@functools.lru_cache
def _limits(message: bytes) -> Limits:
    return Limits(**json.loads(message)["limits"])


def _run(line: socket.socket, limits: Limits, fds: list[int], filter: seccomp.Filter, proc: int) -> None:
    kernel.unshare(kernel.CLONE_NEWPID)
    entry = Entry()
    pid = kernel.fork()
    if pid == 0:
        jail.offer_to_the_killer(proc=proc)
        _become_run(limits, [*fds, entry.fd], filter)
    for fd in (*fds, entry.fd):
        os.close(fd)
    pidfd = os.pidfd_open(pid)  # not reaped yet, so the number is still this run's
    socket.send_fds(line, [b"started"], [pidfd])
    os.close(pidfd)
    _, status, usage = os.wait4(pid, 0)
    line.send(RESULT.pack(entry.was_made(), status, usage.ru_utime, usage.ru_stime, usage.ru_maxrss))


def _become_run(limits: Limits, fds: list[int], filter: seccomp.Filter) -> None:
    """In the fork: enter what holds for one run, take its descriptors and hand over. Never returns."""
    try:
        take(fds)
        jail.enter_run(limits, filter)
        entered(len(fds) - 1)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        os._exit(SETUP_FAILED)
    program.run(len(fds) - 1 > NUM_STANDARD)


def take(fds: list[int]) -> None:
    """Put the descriptors at 0, 1, 2 and on; close everything else."""
    high = [fd if fd >= HIGHEST else fcntl.fcntl(fd, fcntl.F_DUPFD, HIGHEST) for fd in fds]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
    os.closerange(len(fds), 1 << 20)
