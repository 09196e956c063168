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


def resident_mb(pidfd: int) -> float:
    """Resident memory of a process and all below it, in MiB; 0 where it has ended."""
    with suppress(OSError, ValueError, IndexError):
        waiting = [pid_of(pidfd)]
        pages = 0
        while waiting:
            pid = waiting.pop()
            with suppress(OSError, ValueError):
                with open(f"/proc/{pid}/statm") as file:
                    pages += int(file.read().split()[1])
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children") as file:
                        waiting += map(int, file.read().split())
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0
