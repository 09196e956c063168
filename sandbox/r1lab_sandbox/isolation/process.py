"""What the kernel tells of a running process through its pidfd. Ends nothing, limits nothing."""

import os
import re
from contextlib import suppress

SOCKET_MB = 0.25
"""That one descriptor can keep in the kernel: net.core.wmem_default, as the filter lets nobody raise it."""
FREE_DESCRIPTORS = 32
"""Of a process, that count nothing."""


def pid_of(pidfd: int) -> int:
    """The number of a process; OSError or ValueError where it has ended."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        return int(file.read().partition("Pid:")[2].split()[0])


def seconds_waited(pidfd: int) -> float:
    """How long a process, or one below it, was ready to run and had no processor: the longest; 0 where the kernel does
    not say."""
    longest = 0
    for pid in _family(pidfd):
        with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/schedstat") as file:
            longest = max(longest, int(file.read().split()[1]))
    return longest / 1e9


def cpu_seconds(pidfd: int) -> float:
    """Processor time of a process and all below it, with what they waited for; 0 where it has ended."""
    ticks = 0
    for pid in _family(pidfd):
        with suppress(OSError, ValueError), open(f"/proc/{pid}/stat") as file:
            ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))  # utime, stime, cutime, cstime
    return ticks / os.sysconf("SC_CLK_TCK")


def has_more_than(pidfd: int, limit_mb: float) -> bool:
    """Whether a process and all below it have more memory. What they share counts once; of what the kernel keeps for
    them, descriptors are counted, as if each were a socket that is full."""
    family = _family(pidfd)
    kept = sum(max(0, _num_descriptors(pid) - FREE_DESCRIPTORS) for pid in family) * SOCKET_MB
    if kept + sum(map(_resident_mb, family)) <= limit_mb:  # quick, and never too little: a page counts for each fork
        return False
    return kept + sum(map(_proportional_mb, family)) > limit_mb


def available_mb() -> float:
    """Memory that this machine can still give, in MiB; without end where the kernel does not say."""
    # "MemAvailable:   20369012 kB"; not "MemFree:  1 kB"
    told = _told_mb("/proc/meminfo", r"^MemAvailable: +(\d+) kB")
    return float("inf") if told is None else told


def _resident_mb(pid: int) -> float:
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


def _proportional_mb(pid: int) -> float:
    # "Pss:    4312 kB"; not "Pss_Anon:  9 kB"
    return _told_mb(f"/proc/{pid}/smaps_rollup", r"^Pss: +(\d+) kB") or _resident_mb(pid)


def _told_mb(path: str, pattern: str) -> float | None:
    """What a file of the kernel's says there; None where it does not."""
    with suppress(OSError), open(path) as file:
        if found := re.search(pattern, file.read(), re.MULTILINE):
            return int(found[1]) / 1024
    return None


def _num_descriptors(pid: int) -> int:
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def _family(pidfd: int) -> list[int]:
    """A process and all below it; none where it has ended."""
    with suppress(OSError, ValueError, IndexError):
        family = [pid_of(pidfd)]
        for pid in family:  # grows on the way
            with suppress(OSError, ValueError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children") as file:
                        family += map(int, file.read().split())
        return family
    return []
