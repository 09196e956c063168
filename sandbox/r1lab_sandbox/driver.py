"""The watching side of a slot: a worker outside the jail that starts runs in it, reads them and ends them in time.

It talks to `r1lab_sandbox.box` in frames: `R` run, `S` say, `C` close the line; it answers `F` what the program said,
`O` outcome, `E` our own failure. It never interprets what a program writes. A conversation goes in turns: one frame of
the program, one answer; a program that speaks out of turn is ended. A run's clock stands while it is not its turn, and
while the run waits for a processor that others have, so that a busy machine does not decide what is too slow (up to
MAX_GRANTED_SHARE).
"""

import importlib
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import Literal, Protocol

from r1lab_sandbox import wire
from r1lab_sandbox.forkserver import frames
from r1lab_sandbox.isolation import process
from r1lab_sandbox.isolation.cgroup import ControlGroup
from r1lab_sandbox.isolation.rootfs import View
from r1lab_sandbox.records import MAX_GRANTED_SHARE, Limits, Outcome

WATCH_SECONDS = 0.05
HEAD_BYTES, TAIL_BYTES = 3000, 1000
"""Of stderr, where more is cut."""
MAX_REPLY_BYTES = 4 << 20
"""Where no more output is allowed."""
LEAST_GRANTED_SHARE = 0.01
OWN_MB, OWN_PROCESSES = 48, 4
"""What the slot itself takes of its group."""
FLOOR_MB = 256
"""Of memory that the machine has left: below it no run starts, or goes on, that no control group limits: not all that
the kernel itself uses for a run can be told."""
REAP_SECONDS = 20.0
BOX_SECONDS = 3600.0
"""While the box has the word; what it waits for ends by limits of its own."""
STARTERS = {
    "namespaces": "r1lab_sandbox.backends.slot:NamespaceStarter",
    "bubblewrap": "r1lab_sandbox.backends.bubblewrap:BubblewrapStarter",
    "none": "r1lab_sandbox.backends.bare:BareStarter",
}
"""The class of each backend. Imported where it is used: each fork pays for everything that its slot has loaded."""


def serve(sock: socket.socket, *, shown: View, group: ControlGroup | None, backend: str = "namespaces") -> None:
    """Serve runs until the box closes. The first frame is answered with an empty one, or with why there is no jail."""
    frames.receive(sock)
    sys.executable = os.path.realpath(sys.executable)  # a virtual environment's own is not shown
    module, _, name = STARTERS[backend].partition(":")
    try:
        starter_class = getattr(importlib.import_module(module), name)
        starter = starter_class(shown, group)
    except OSError as error:
        frames.send(sock, str(error).encode())
        return
    frames.send(sock, b"")
    while (frame := frames.receive(sock)) is not None:
        if frame[:1] != b"R":
            continue  # the conversation ended by itself; its outcome is on the way
        try:
            run = _Run(sock, starter, group, frame[1:])
            frames.send(sock, b"O" + wire.pack(run.outcome()))
            if run.is_starter_lost:
                starter.close()
                starter = starter_class(shown, group)
        except Exception as error:  # the driver's border: the box replaces this slot
            frames.send(sock, b"E" + f"{type(error).__name__}: {error}".encode())
            return


class Starter(Protocol):
    """What starts the runs of a slot, one after the other: each backend has one."""

    grouped: tuple[int, int] | None
    """Limits that its control group has now: (MiB, processes)."""
    is_watched: bool
    """Whether the number of files is watched, not limited."""

    def begin(self, limits: dict, fds: list[int]) -> int:
        """The pidfd of a started run, which has these descriptors."""
        ...

    def num_files(self) -> int:
        """In the writable folder of the run, now or at its end; 0 where the kernel limits them."""
        ...

    def end(self) -> tuple[bool, int, float, float]:
        """(whether it entered the jail, wait status, processor seconds, peak MiB) of the run that has ended."""
        ...

    def close(self) -> None:
        """End what it runs in."""
        ...


class _Run:
    """One program on its way."""

    def __init__(self, sock: socket.socket, starter: Starter, group: ControlGroup | None, frame: bytes):
        self.sock, self.starter, self.group = sock, starter, group
        self.header, self.request, self.stdin = wire.parts(frame)
        self.limits = Limits(**self.header["limits"])
        self.replies: list[bytes] = []
        self.num_said_bytes = 0
        self.is_its_turn = True
        self.asked_at: float | None = None
        """Since when the box has the word."""
        self.output = {"stdout": bytearray(), "stderr": bytearray()}
        self.limit_hit: Literal["", "timeout", "memory", "output"] = ""
        self.is_starter_lost = False
        self.granted = 0.0
        self.is_watched = group is None or starter.is_watched
        self.poll = select.poll()
        self.line: socket.socket | None = None
        self.buffer = bytearray()

    def outcome(self) -> Outcome:
        kills, refusals = self._prepare_group()
        if self.group is None and process.available_mb() < FLOOR_MB:
            raise OSError(f"this machine has less than {FLOOR_MB} MiB of memory left: no program is started")
        self.start_time = self.turn_time = time.monotonic()
        self.paused = 0.0
        ours, theirs = self._channels()
        try:
            has_entered, status, cpu, peak = self._run(ours, theirs)
        except OSError:
            # memory that no process has, such as that of sockets, outlives them: then the slot has none left either
            if self.group is None or self.group.num_refusals() == refusals:
                raise
            self.is_starter_lost, self.limit_hit = True, "memory"
            has_entered, status, cpu, peak = True, signal.SIGKILL, 0.0, 0.0
        finally:
            if self.line is not None:
                self.line.close()
            for fd in ours:
                os.close(fd)
        wall = time.monotonic() - self.start_time - self.paused
        if self.group is not None and self.group.num_kills() > kills:
            self.limit_hit = "memory"
        if not has_entered and not self.limit_hit:
            told = bytes(self.output["stderr"])[-300:].decode(errors="replace")
            raise OSError(f"a run could not enter the jail: {told}")
        return self._judge(status, wall, cpu, peak)

    def _run(self, ours: list[int], theirs: list[int]) -> tuple[bool, int, float, float]:
        """What its starter says of the run once it has ended."""
        try:
            self.pidfd = self.starter.begin(self.header["limits"], theirs)
        finally:
            for fd in theirs:
                os.close(fd)
        try:
            self._watch(ours)
            if self.starter.num_files() > self.limits.inodes:
                self.limit_hit = self.limit_hit or "memory"
            return self.starter.end()
        finally:
            os.close(self.pidfd)

    def _prepare_group(self) -> tuple[int, int]:
        """How often memory has been lacking so far: (processes killed, refusals)."""
        if self.group is None:
            return 0, 0
        wanted = self.limits.memory_mb + OWN_MB, self.limits.processes + OWN_PROCESSES
        if self.starter.grouped != wanted:
            self.group.limit(*wanted)
            self.starter.grouped = wanted
        return self.group.num_kills(), self.group.num_refusals()

    def _channels(self) -> tuple[list[int], list[int]]:
        """Our ends (stdout, stderr) and the run's descriptors in the order of `slot.NUM_STANDARD`."""
        out, out_write = os.pipe()
        err, err_write = os.pipe()
        theirs = [memory_file(self.stdin), out_write, err_write, memory_file(self.request)]
        if self.header["has_line"]:
            self.line, other = socket.socketpair()
            self.line.setblocking(False)
            theirs.append(other.detach())
            self.poll.register(self.line, select.POLLIN)
        for fd in (out, err):
            os.set_blocking(fd, False)
            self.poll.register(fd, select.POLLIN)
        return [out, err], theirs

    def _watch(self, ours: list[int]) -> None:
        """Until the first process of the run is gone; the kernel has then ended all the others."""
        names = dict(zip(ours, self.output))
        self.poll.register(self.pidfd, select.POLLIN)
        while True:
            left = self._left()
            if left <= 0 and not self.limit_hit and self._grant():
                continue
            if left <= 0:
                self._kill("timeout")
            wait = min(left, WATCH_SECONDS) if self.is_watched else left
            ready = {fd for fd, _ in self.poll.poll(max(wait, 0.001) * 1000 if left > 0 else REAP_SECONDS * 1000)}
            for fd in ready & names.keys():
                self._read(fd, self.output[names[fd]])
            if self.line is not None and self.line.fileno() in ready:
                self._hear_program()
            if self.asked_at is not None and self.sock.fileno() in ready:
                self._hear_box()
            if self.pidfd in ready:
                break
            if self.is_watched and self._is_over():
                self._kill("memory")
            if not ready and left <= 0:
                raise OSError("a killed run does not end")
        for fd in names:
            while self._read(fd, self.output[names[fd]]):
                pass
        if self.asked_at is not None:
            self.paused += time.monotonic() - self.asked_at

    def _is_over(self) -> bool:
        """Whether it has more memory or files than it may, where the kernel does not see to that."""
        if self.starter.num_files() > self.limits.inodes:
            return True
        return self.group is None and (
            process.has_more_than(self.pidfd, self.limits.memory_mb) or process.available_mb() < FLOOR_MB
        )

    def _left(self) -> float:
        """Seconds that the program has."""
        if self.asked_at is not None and not self.limit_hit:
            return BOX_SECONDS
        now = time.monotonic()
        left = self.start_time + self.paused + self.limits.seconds - now
        if self.limits.turn_seconds is not None and self.line is not None:
            left = min(left, self.turn_time + self.limits.turn_seconds - now)
        return left

    def _grant(self) -> bool:
        """Give back the time for which the run had to wait for a processor; whether there was any."""
        if process.cpu_seconds(self.pidfd) >= self.limits.seconds:
            return False  # it waits for processors that its own processes have
        late = min(process.seconds_waited(self.pidfd), MAX_GRANTED_SHARE * self.limits.seconds) - self.granted
        if late < LEAST_GRANTED_SHARE * self.limits.seconds:
            return False
        self.granted += late
        self.paused += late
        self.turn_time += late
        return True

    def _kill(self, why: Literal["timeout", "memory", "output"]) -> None:
        self.limit_hit = self.limit_hit or why
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def _read(self, fd: int, into: bytearray) -> bool:
        """Whether more may be there."""
        try:
            part = os.read(fd, 1 << 16)
        except BlockingIOError:
            return False
        if not part:
            with suppress(KeyError):
                self.poll.unregister(fd)
            return False
        room = self.limits.output_bytes - len(into)
        if into is self.output["stderr"] or self.header["has_line"]:  # nothing that is judged: cut
            into += part
            if len(part) > room:
                into[HEAD_BYTES:-TAIL_BYTES] = b" ... "
            return True
        into += part[:room]
        if len(part) > room:
            self._kill("output")
            with suppress(KeyError):
                self.poll.unregister(fd)
            return False
        return True

    def _hear_program(self) -> None:
        """Read what the program says; answer a frame that is whole."""
        assert self.line is not None
        try:
            part = self.line.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if not part:
            self.poll.unregister(self.line)
            return
        self.buffer += part
        size = frames.HEADER.unpack_from(self.buffer)[0] if len(self.buffer) >= frames.HEADER.size else 0
        end = frames.HEADER.size + size
        is_much = self.num_said_bytes + size > wire.MAX_FRAME_BYTES // 2
        is_much |= size > max(MAX_REPLY_BYTES, self.limits.output_bytes)
        if is_much or not self.is_its_turn or len(self.buffer) > end:
            self.poll.unregister(self.line)
            self._kill("output")
        elif len(self.buffer) == end:
            reply = bytes(self.buffer[frames.HEADER.size :])
            self.buffer.clear()
            self.num_said_bytes += size
            self._answer(reply)

    def _answer(self, reply: bytes) -> None:
        self.is_its_turn = False
        if self.header["live"]:
            frames.send(self.sock, b"F" + reply)
            self.asked_at = time.monotonic()
            self.poll.register(self.sock, select.POLLIN)
            return
        messages = self.header["messages"]
        self.replies.append(reply)
        given = messages[len(self.replies) - 1] if len(self.replies) <= len(messages) else None
        self._say(None if given is None else given.encode())

    def _hear_box(self) -> None:
        """Pass its answer on; the program's clock stood meanwhile."""
        assert self.asked_at is not None
        answer = frames.receive(self.sock)
        if answer is None:
            os._exit(0)
        self.poll.unregister(self.sock)
        self.paused += time.monotonic() - self.asked_at
        self.asked_at = None
        self._say(answer[1:] if answer[:1] == b"S" else None)

    def _say(self, message: bytes | None) -> None:
        assert self.line is not None
        self.turn_time = time.monotonic()
        try:
            if message is None:
                self.line.shutdown(socket.SHUT_WR)
            else:
                self.is_its_turn = True
                self.line.settimeout(max(0.01, self._left()))
                frames.send(self.line, message)
        except TimeoutError:
            self._kill("timeout")
        except OSError:
            pass  # it has ended; the outcome says how
        finally:
            self.line.setblocking(False)

    def _judge(self, status: int, wall: float, cpu: float, peak: float) -> Outcome:
        code = os.waitstatus_to_exitcode(status)
        stderr = bytes(self.output["stderr"])
        stderr = (
            stderr if len(stderr) <= HEAD_BYTES + TAIL_BYTES else stderr[:HEAD_BYTES] + b" ... " + stderr[-TAIL_BYTES:]
        )
        made = Outcome("ok", None, None, bytes(self.output["stdout"]), stderr, tuple(self.replies), wall, cpu, peak)
        if self.limit_hit:
            return replace(made, status=self.limit_hit)
        if code == -signal.SIGXCPU or (code == -signal.SIGKILL and cpu > self.limits.seconds):
            return replace(made, status="timeout")
        if code < 0:
            return replace(made, status="killed", signal=-code)
        return replace(made, status="ok" if code == 0 else "failed", exit_code=code)


def memory_file(data: bytes) -> int:
    """A file in memory that starts at its beginning."""
    fd = os.memfd_create("input", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
