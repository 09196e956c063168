"""What the kernel tells of a running process through its pidfd. Ends nothing, limits nothing."""

import os
from contextlib import suppress


def pid_of(pidfd: int) -> int:
    """The number of a process; OSError or ValueError where it has ended."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        return int(file.read().partition("Pid:")[2].split()[0])


def seconds_waited(pidfd: int) -> float:
    """How long a process was ready to run and had no processor; 0 where the kernel does not say."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid_of(pidfd)}/schedstat") as file:
        return int(file.read().split()[1]) / 1e9
    return 0.0


def cpu_seconds(pidfd: int) -> float:
    """Processor time of a process and all below it, with what they waited for; 0 where it has ended."""
    ticks = 0
    for pid in _family(pidfd):
        with suppress(OSError, ValueError), open(f"/proc/{pid}/stat") as file:
            ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))  # utime, stime, cutime, cstime
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mb(pidfd: int) -> float:
    """Resident memory of a process and all below it, in MiB; 0 where it has ended."""
    pages = 0
    for pid in _family(pidfd):
        with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm") as file:
            pages += int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


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
