"""Whether others are at work on this machine, and what torch's threads do then. Measures nothing but the load average.

Threads that share an operation meet at its end. OpenMP's spin there, and where one of them is not scheduled, for the
others of the machine are, each operation lasts as long as a turn of the scheduler: a hundred times too long. Threads
that sleep instead are slower on an idle machine, so they are asked for where the load says so. No number depends on it.
"""

import os
import sys

from r1lab.doctor.hardware import num_cores

BUSY_SHARE = 0.5
"""Load average over the last minute for each of the machine's cores, from which on others are at work."""
POLICY = "OMP_WAIT_POLICY"


def load() -> float:
    """The load average of the last minute, 0 where the system does not say it."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return 0.0


def is_busy() -> bool:
    return load() > BUSY_SHARE * (os.cpu_count() or 1)


def calm_threads() -> None:
    """Let OpenMP's threads sleep while they wait, on a busy machine: read where torch is loaded, so call it before.
    What the environment says stays."""
    if is_busy() and "torch" not in sys.modules:
        os.environ.setdefault(POLICY, "PASSIVE")


def warning(threads: int, remedy: str) -> str:
    """A line where so many threads (0: all cores) are at a busy machine's mercy; else empty."""
    count = threads or num_cores()
    if count < 2 or not is_busy():
        return ""
    return (
        f"others are at work on this machine (load average {load():.1f} on {os.cpu_count()} cores): {count} threads "
        f"that wait for each other may take many times as long as one; {remedy}"
    )
