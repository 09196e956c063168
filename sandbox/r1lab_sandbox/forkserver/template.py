"""The template process: imports once, forks workers on request, buries them. Run with `-m` by
`r1lab_sandbox.forkserver.forkserver`.

Single-threaded, so that forking is safe. It ends when its control socket closes or its parent dies (a pidfd, not
PR_SET_PDEATHSIG: that one fires when the *thread* that started it ends), and takes every worker along. A worker's own
children die with it: its process group is killed before it is reaped, and whatever left the group becomes a child of
this process (a subreaper) and is killed as a stray. No isolation by itself: that is what `enter` is for.
"""

import ctypes
import errno
import gc
import importlib
import json
import os
import pickle
import select
import signal
import socket
import sys
from contextlib import suppress

from r1lab_sandbox.forkserver import frames

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
WORKER_FD = 3
PID = frames.struct.Struct("!q")
MAX_SWEEPS = 100
_libc = ctypes.CDLL(None, use_errno=True)


def main(fd: int, parent: int) -> None:
    parent_pidfd = os.pidfd_open(parent)
    control = socket.socket(fileno=fd)
    setup = json.loads(frames.receive(control) or "null")
    if setup is None or os.getppid() != parent:
        return
    sys.path[:] = setup["path"]
    gc.disable()  # what is imported stays: looking through it for cycles is a tenth of the time that importing takes
    for name in setup["preload"]:
        importlib.import_module(name)
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    gc.freeze()
    gc.enable()
    Template(control, parent_pidfd).run()


class Template:
    """The loop: a request in, a worker's pid and pidfd out; dead workers buried as they die."""

    def __init__(self, control: socket.socket, parent_pidfd: int):
        self.control, self.parent_pidfd = control, parent_pidfd
        self.workers: dict[int, int] = {}
        """pidfd of each living worker -> its pid"""
        self.poll = select.poll()
        self.poll.register(control, select.POLLIN)
        self.poll.register(parent_pidfd, select.POLLIN)

    def run(self) -> None:
        while True:
            ready = {fd for fd, _ in self.poll.poll()}
            for pidfd in ready & self.workers.keys():
                self.bury(pidfd)
            if self.parent_pidfd in ready or (self.control.fileno() in ready and not self.serve_request()):
                break
        for pidfd in list(self.workers):
            self.bury(pidfd)

    def serve_request(self) -> bool:
        """Fork one worker; False once the parent has closed."""
        try:
            head, fds, _, _ = socket.recv_fds(self.control, frames.HEADER.size, 1)
            request = frames.read_body(self.control, head) if fds else None
            if request is None:
                return False
            self.fork(fds[0], request)
        except ConnectionError:
            return False
        return True

    def fork(self, fd: int, request: bytes) -> None:
        template = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:  # no more processes or memory: the parent's worry, not this process's end
            os.close(fd)
            self.control.sendall(PID.pack(-(error.errno or errno.EAGAIN)))
            return
        if pid == 0:
            become_worker(template, fd, request)
        os.close(fd)
        pidfd = os.pidfd_open(pid)  # not reaped yet, so the number is still this worker's
        self.workers[pidfd] = pid
        self.poll.register(pidfd, select.POLLIN)
        socket.send_fds(self.control, [PID.pack(pid)], [pidfd])

    def bury(self, pidfd: int) -> None:
        """Kill and reap a worker and what it left. Until reaped, a zombie keeps its pid and group from being reused."""
        pid = self.workers.pop(pidfd)
        self.poll.unregister(pidfd)
        os.close(pidfd)
        for kill in (os.kill, os.killpg):
            with suppress(ProcessLookupError, PermissionError):  # dead already, or not yet in a group of its own
                kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.sweep()

    def sweep(self) -> None:
        """Kill the orphans that became ours. What they leave becomes ours in turn, hence the rounds."""
        for _ in range(MAX_SWEEPS):
            strays = children() - set(self.workers.values())
            if not strays:
                return
            for pid in strays:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def children() -> set[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return {int(pid) for pid in file.read().split()}
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN: process groups must do
        return set()


def become_worker(template: int, fd: int, request: bytes) -> None:
    """In the fork: cut every tie to the template, enter the limits, serve, leave. Never returns."""
    status = 1
    try:
        os.setsid()
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != template:  # it died before the line above took hold
            os._exit(1)
        sock = _only_socket(fd)
        enter, serve = pickle.loads(request)
        if enter is not None:
            _call(enter)
        silence = os.open(os.devnull, os.O_RDWR)
        os.dup2(silence, 2)  # last: an `enter` that fails may say so
        os.close(silence)
        _call(serve, sock)
        status = 0
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(status)


def _only_socket(fd: int) -> socket.socket:
    """Close everything but stderr and this socket; stdin and stdout become /dev/null."""
    held = os.dup(fd) if fd == WORKER_FD else fd
    os.dup2(held, WORKER_FD, inheritable=False)
    os.closerange(WORKER_FD + 1, os.sysconf("SC_OPEN_MAX"))
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 0)
    os.dup2(silence, 1)
    os.close(silence)
    return socket.socket(fileno=WORKER_FD)


def _call(call: tuple[str, dict], *args) -> None:
    path, kwargs = call
    module, _, name = path.partition(":")
    getattr(importlib.import_module(module), name)(*args, **kwargs)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)  # nothing is left to tidy up
