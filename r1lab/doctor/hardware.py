"""Findings on processor, disks, memory, threads and kernel settings. Imports nothing heavy.

Linux first; elsewhere what /proc and /sys would say is left out. Changes nothing.
"""

import math
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from r1lab.doctor.finding import Finding

GIB = 2**30
LOW_DISK_BYTES, LOW_MEMORY_BYTES = 5 * GIB, 4 * GIB
"""A run of the smallest real model writes about 3 GiB of checkpoints and takes about as much memory."""
CGROUPS = Path("/sys/fs/cgroup")
ABILITIES = {"AVX-512": "avx512f", "AVX-512 bf16": "avx512_bf16", "AMX bf16": "amx_bf16"}
SWITCHES = {
    "user.max_user_namespaces": ("0", "15000"),
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
}
"""Settings of the kernel that forbid user namespaces: name, the value that does, a value that does not."""


def processor(cpuinfo: str) -> str:
    """Model, cores this process may use, vector and bf16 abilities, from the text of /proc/cpuinfo (maybe empty)."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    model = fields.get("model name") or platform.processor() or platform.machine()
    flags = fields.get("flags", "").split()
    known = [f"{name} {'yes' if flag in flags else 'no'}" for name, flag in ABILITIES.items()] if flags else []
    if "bf16" in fields.get("Features", "").split():  # so it is called on ARM
        known = ["bf16 yes"]
    return ", ".join([model, counted(num_cores(), "core"), *known])


def cpuinfo() -> str:
    return _read(Path("/proc/cpuinfo")) or ""


def has_nvidia() -> bool:
    """Whether a driver says that there is a GPU, whatever torch makes of it."""
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def num_cores() -> int:
    """Cores that this process may use: its affinity, less where the control group's quota allows less."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    quota = _cpu_quota()
    return min(cores, max(1, math.ceil(quota))) if quota else cores


def threads(torch_threads: int | None, setting: str | None, cores: int) -> Finding:
    """Whether there are more threads than cores, which slows down everything; `setting` is OMP_NUM_THREADS."""
    first = (setting or "").split(",")[0].strip()
    asked = int(first) if first.isdecimal() else None
    counts = {"torch": torch_threads, "OMP_NUM_THREADS": asked}
    detail = ", ".join(f"{name} {'not known' if count is None and name == 'torch' else count or 'not set'}"
                       for name, count in counts.items()) + f", {counted(cores, 'core')} allowed"  # fmt: skip
    if max(torch_threads or 0, asked or 0) > cores:
        return Finding("threads", "threads", "note", f"more than cores: {detail}", f"export OMP_NUM_THREADS={cores}")
    return Finding("threads", "threads", "ok", detail)


def disks() -> list[Finding]:
    """Free space where runs, temporary files and downloaded models go."""
    places: dict[str, tuple[Callable[[], Path], str]] = {
        "current folder": (Path.cwd, "go to a folder that can be used, free space, or set out= to another disk"),
        "temporary files": (lambda: Path(tempfile.gettempdir()), "free space, or export TMPDIR=DIR"),
        "hub cache": (_hub_cache, "free space, or export HF_HOME=DIR"),
    }
    return [_disk(name, place, remedy) for name, (place, remedy) in places.items()]


def _disk(name: str, place: Callable[[], Path], remedy: str) -> Finding:
    try:
        folder = place()
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Finding("disk", name, "broken", f"cannot be used: {error}", remedy)
    detail = f"{free / GIB:.1f} GiB free at {folder}"
    if not os.access(existing, os.W_OK):
        return Finding("disk", name, "note", f"{detail}, which this user cannot write to", remedy)
    if free < LOW_DISK_BYTES:
        return Finding("disk", name, "note", f"only {detail}", remedy)
    return Finding("disk", name, "ok", detail)


def _hub_cache() -> Path:
    """The folder where huggingface_hub caches models, by the same variables."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    home = Path(os.environ.get("HF_HOME", home))
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser().absolute()


def memory() -> Finding:
    """Total and available memory, less where the control group allows less."""
    try:
        import psutil
    except ImportError as error:
        return Finding("memory", "memory", "note", f"not known, psutil does not import: {error}")
    system = psutil.virtual_memory()
    total, available, where = system.total, system.available, ""
    for folder in cgroup_folders("memory"):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes") or 0
        if limit is not None and limit < system.total:
            where = ", limited by the control group"
            total, available = min(total, int(limit)), min(available, max(0, int(limit - used)))
    detail = f"{available / GIB:.1f} of {total / GIB:.1f} GiB available{where}"
    if available < LOW_MEMORY_BYTES:
        return Finding("memory", "memory", "note", f"only {detail}", "end other programs, or lower micro_batch_tokens")
    return Finding("memory", "memory", "ok", detail)


def cgroup_folders(controller: str) -> list[Path]:
    """This process's control group for a controller and those above it, nearest first; version 2, else version 1."""
    chains: dict[str, list[Path]] = {}
    for line in (_read(Path("/proc/self/cgroup")) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = CGROUPS / controllers if controllers else CGROUPS
        group = top / path.lstrip("/")
        chain = [folder for folder in (group, *group.parents) if folder.is_relative_to(top) and folder.is_dir()]
        chains["one" if controllers else "two"] = chain
    has_two = controller in (_read(CGROUPS / "cgroup.controllers") or "").split()
    return chains.get("two", []) if has_two else chains.get("one", [])


def forbidding() -> list[str]:
    """A command for each setting of the kernel that forbids user namespaces."""
    values = {name: _read(Path("/proc/sys") / name.replace(".", "/")) for name in SWITCHES}
    return [f"sudo sysctl -w {name}={good}" for name, (bad, good) in SWITCHES.items() if values[name] == bad]


def counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _cpu_quota() -> float | None:
    """Cores' worth of time that the control groups allow, the smallest of all."""
    quotas = []
    for folder in cgroup_folders("cpu"):
        quota, _, period = (_read(folder / "cpu.max") or "").partition(" ")
        quota = quota or _read(folder / "cpu.cfs_quota_us") or ""
        period = period or _read(folder / "cpu.cfs_period_us") or ""
        if quota.isdecimal() and period.isdecimal() and int(period):  # "max" and -1 are none
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _number(*files: Path) -> float | None:
    """What the first of the files that is there holds; None for "max"."""
    text = next((text for file in files if (text := _read(file))), "")
    return float(text) if text.isdecimal() else None


def _read(path: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").strip()
    return None
