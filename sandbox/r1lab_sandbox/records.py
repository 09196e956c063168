"""What is run, within which limits, and what came of it. Says nothing of right or wrong."""

import os
from dataclasses import dataclass, field, fields
from typing import Literal

Status = Literal["ok", "failed", "killed", "timeout", "memory", "output"]
MAX_PROGRAM = 64 << 20
MAX_GRANTED_SHARE = 2.0
"""Of a run's seconds: so much longer it may take where it waits for a processor that others have."""


@dataclass(frozen=True)
class Limits:
    """Of one run. Each above 0 and within the machine's; ValueError names the one that is not."""

    seconds: float = 4.0
    """Wall clock: of a script from its start to its end, of a conversation in all the program's turns together."""
    turn_seconds: float | None = None
    """Wall clock of one turn of a conversation; None: only the whole counts."""
    memory_mb: int = 512
    """Address space of each process and, where a control group can be had, memory of all together."""
    processes: int = 48
    """Processes and threads at once."""
    output_bytes: int = 1 << 20
    """Of stdout; more ends the run. Of a reply, where that is more than 4 MiB; stderr is cut, and stdout in a
    conversation."""
    disk_mb: int = 32
    """Size of the one writable folder, which is memory."""
    inodes: int = 1024
    """Files and folders in it."""
    open_files: int = 128

    def __post_init__(self):
        for each in fields(self):
            value = getattr(self, each.name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (is_number and 0 < value < float("inf")):
                raise ValueError(f"limit {each.name} {value!r}: give a number above 0")
            if isinstance(value, float) and isinstance(each.default, int):
                raise ValueError(f"limit {each.name} {value!r}: give a whole number")
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        for name in ("memory_mb", "disk_mb"):
            if getattr(self, name) > machine:
                raise ValueError(f"limit {name} {getattr(self, name)}: this machine has {machine} MiB of memory")
        if self.memory_mb < 64:
            raise ValueError(f"limit memory_mb {self.memory_mb}: an interpreter needs 64")


@dataclass(frozen=True)
class Program:
    """A Python program and what it is given. Nothing that it must not know belongs in here."""

    source: str
    kind: Literal["script", "serve", "tests"] = "script"
    """`script`: run as __main__. `serve`: defines functions, which messages call. `tests`: asks for calls itself."""
    stdin: bytes = b""
    argv: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    """Files by name in its folder."""
    messages: tuple[bytes, ...] = ()
    """The other side of a conversation, each sent when the program has spoken; then the line closes."""
    extra: dict = field(default_factory=dict)
    """What the kind needs besides; plain values."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run. Everything in it but the times was made by the program: not to be trusted."""

    status: Status
    """`ok`: ended with exit code 0 within all limits. `failed`: another exit code. `killed`: by a signal. The others
    name the limit that was hit."""
    exit_code: int | None = None
    """None where a signal or a limit ended it."""
    signal: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    """Its head and its tail."""
    replies: tuple[bytes, ...] = ()
    """What it said in a conversation, in order."""
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    """Resident memory of the largest process that was waited for."""

    @property
    def is_limit(self) -> bool:
        return self.status in ("timeout", "memory", "output")
