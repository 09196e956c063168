"""The file tree that a jailed program sees: read-only, the interpreter, system libraries and allowed packages.

Not its one writable folder, /tmp, which each run gets afresh (`r1lab_sandbox.isolation.jail`). There is no /proc and no
/etc.
"""

import glob
import importlib.util
import os
import stat
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from r1lab_sandbox.isolation import kernel

PACKAGES = "/packages"
"""Where allowed packages lie in the jail."""
WORK = "/tmp"
SHARED_PREFIXES = ("/", "/usr", "/usr/local")
"""Prefixes that hold more than an interpreter: only its standard library is shown of these."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
LINKS = {"/dev/shm": WORK, "/dev/stdin": f"{WORK}/.stdin", "/dev/random": "/dev/urandom"}
STAGES = ("/mnt", "/media", "/srv", "/run", "/var/tmp", "/tmp")
KEPT = (
    (os.ST_NOSUID, kernel.MS_NOSUID), (os.ST_NODEV, kernel.MS_NODEV), (os.ST_NOEXEC, kernel.MS_NOEXEC),
    (os.ST_NOATIME, kernel.MS_NOATIME), (os.ST_NODIRATIME, kernel.MS_NODIRATIME), (os.ST_RELATIME, kernel.MS_RELATIME),
)  # fmt: skip
"""Flags of a mount that an ordinary user may not take away when remounting it."""


@dataclass(frozen=True)
class View:
    """What is shown, and where."""

    binds: tuple[tuple[str, str], ...]
    """(path outside, path inside)"""
    links: tuple[tuple[str, str], ...]
    """(path inside, what it points to)"""
    hidden: tuple[str, ...]
    """Folders inside that are shown empty."""
    path: tuple[str, ...]
    """sys.path of a program."""


def view(packages: Iterable[str] = ()) -> View:
    """Of this interpreter, with the given top-level packages. One that is not installed is left out."""
    stdlib = sysconfig.get_path("stdlib")
    prefix = os.path.realpath(sys.base_prefix)
    # of a prefix of its own also what extension modules are linked with; not other environments that lie below it
    own = [] if prefix in SHARED_PREFIXES else [f"{prefix}/lib", f"{prefix}/share/zoneinfo"]
    shown = [*own, stdlib, os.path.realpath(sys.executable)]
    binds = {path: path for path in shown}
    links = {}
    for folder in _library_folders():
        real = os.path.realpath(folder)
        binds.setdefault(real, real)
        links |= _links_towards(folder)
    for package in packages:
        binds |= {path: f"{PACKAGES}/{os.path.basename(path)}" for path in _parts(package)}
    libraries = [stdlib, *(glob.glob(f"{prefix}/lib/python*") if own else ())]
    hidden = [f"{folder}/{name}" for folder in dict.fromkeys(libraries) for name in ("site-packages", "dist-packages")]
    dynamic = [path for path in sys.path if path.endswith("lib-dynload")]
    return View(
        binds=tuple((outside, inside) for outside, inside in binds.items() if os.path.exists(outside)),
        links=tuple(links.items()),
        hidden=tuple(path for path in hidden if os.path.isdir(path)),
        path=(stdlib, *dynamic, PACKAGES, WORK),
    )


def build(shown: View) -> None:
    """Make the tree and move into it; needs a mount namespace of one's own. Raises OSError.

    Sources are held open first: the tree is put together on a mount over some folder, which may hold a source.
    """
    os.umask(0o022)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    sources = _opened([*shown.binds, *((path, path) for path in DEVICES)])
    base = next(path for path in ("/tmp", "/var/tmp", "/mnt", "/run", "/") if os.path.isdir(path))
    kernel.mount("tmpfs", base, "tmpfs", kernel.MS_NOSUID, "size=1m,nr_inodes=4096,mode=755")
    os.chdir(base)
    for fd, inside in sources:
        _bind(fd, f".{inside}")
    os.makedirs(f".{WORK}", exist_ok=True)
    os.makedirs("./.empty")
    for folder in shown.hidden:
        kernel.mount("./.empty", f".{folder}", None, kernel.MS_BIND)
    for inside, target in (*shown.links, *LINKS.items()):
        os.makedirs(os.path.dirname(f".{inside}"), exist_ok=True)
        if not os.path.lexists(f".{inside}"):
            os.symlink(target, f".{inside}")
    kernel.pivot_root(".", ".")
    kernel.detach(".")
    os.chdir("/")
    kernel.mount("none", "/", None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID)


def stage(outsides: Iterable[str]) -> str:
    """A folder below which each of these paths can be reached, read-only, by a user who may not enter the folders above
    it. Needs a mount namespace of one's own. Raises OSError."""
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    paths = list(outsides)
    # what is mounted on hides what is below: of that nothing is needed later
    base = next(path for path in STAGES if os.path.isdir(path) and not any(_is_below(each, path) for each in paths))
    sources = _opened((path, base + path) for path in paths)
    kernel.mount("tmpfs", base, "tmpfs", kernel.MS_NOSUID, "size=1m,nr_inodes=4096,mode=755")
    for fd, target in sources:
        _bind(fd, target)
    return base


def _is_below(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def _opened(binds: Iterable[tuple[str, str]]) -> list[tuple[int, str]]:
    return [(os.open(outside, os.O_PATH | os.O_CLOEXEC), inside) for outside, inside in binds]


def _bind(fd: int, target: str) -> None:
    """Read-only. A device on a read-only mount is written to as ever; only its mode, owner and times cannot change."""
    is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
    is_device = stat.S_ISCHR(os.fstat(fd).st_mode)
    os.makedirs(target if is_folder else os.path.dirname(target), exist_ok=True)
    if not is_folder and not os.path.exists(target):
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    source = f"/proc/self/fd/{fd}"
    kernel.mount(source, target, None, kernel.MS_BIND)
    held = os.statvfs(target).f_flag
    flags = sum(flag for bit, flag in KEPT if held & bit) | kernel.MS_NOSUID | kernel.MS_RDONLY
    flags |= 0 if is_device else kernel.MS_NODEV
    kernel.mount("none", target, None, kernel.MS_REMOUNT | kernel.MS_BIND | flags)
    os.close(fd)


def _library_folders() -> list[str]:
    """Where shared libraries lie that extension modules are linked with."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or "none"
    exact = [f"{root}/{multiarch}" for root in ("/lib", "/usr/lib")]
    found = [path for path in exact if os.path.isdir(path)] or [path for path in ("/usr/lib",) if os.path.isdir(path)]
    return [*found, *(path for path in ("/lib64", "/usr/lib64", "/usr/share/zoneinfo") if os.path.isdir(path))]


def _links_towards(folder: str) -> dict[str, str]:
    """The top-level links on the way, such as /lib -> usr/lib."""
    top = "/" + folder.split("/")[1]
    return {top: os.readlink(top)} if os.path.islink(top) else {}


def _parts(package: str) -> list[str]:
    """Its folder or file, and the libraries that its wheel brought."""
    spec = importlib.util.find_spec(package)
    location = spec and next(iter(spec.submodule_search_locations or []), spec.origin)
    if not location:
        return []
    place = Path(location)
    return [str(path) for path in (place, place.parent / f"{package}.libs") if path.exists()]
