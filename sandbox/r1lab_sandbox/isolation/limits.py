"""Resource limits of a forked worker: an `enter` callable. Covers memory, core files and runaway processor time.

Does not cover files, the network or other processes (that is the jail's), nor the memory of several processes together:
RLIMIT_AS counts the address space of one process.
"""

import resource


def apply(memory_mb: int | None = None) -> None:
    """Limit this process for good: no core file, and at most `memory_mb` MiB of address space."""
    _lower(resource.RLIMIT_CORE, 0)
    if memory_mb is not None:
        _lower(resource.RLIMIT_AS, memory_mb << 20)


def renew_cpu(seconds: float) -> None:
    """Let this process burn `seconds` more of processor time, then be killed: a backup to the parent's clock."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _lower(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))
