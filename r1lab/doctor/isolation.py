"""Report how programs can be isolated on this machine: the jail as probed from inside (`r1lab_sandbox.probe`), and what
its kernel offers.

Not the jail itself: it says what held, what could be had, and what to enable. `tried` and `probed` run in a child of
the doctor (`r1lab.doctor.probes`): what enters a namespace or a filter does not come out again.
"""

import ctypes
import errno
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from r1lab.doctor import hardware, versions
from r1lab.doctor.finding import Finding, ProbeAnswer
from r1lab_sandbox import probe
from r1lab_sandbox.box import Sandbox
from r1lab_sandbox.isolation import kernel

NAMESPACES = {"mount": kernel.CLONE_NEWNS, "pid": kernel.CLONE_NEWPID, "network": kernel.CLONE_NEWNET}
SECCOMP_MODE_FILTER = 2
LANDLOCK_CREATE_RULESET, LANDLOCK_VERSION = 444, 1


def findings(answer: ProbeAnswer) -> list[Finding]:
    """What the child found out, first the level of isolation that it amounts to."""
    if sys.platform != "linux":
        return [Finding("isolation", "level", "note", f"none: {sys.platform} has no such walls", "use Linux")]
    reasons = {name: answer.facts.get(name, answer.problem) for name in ("user", *NAMESPACES, "seccomp")}
    closed = {name: reason for name, reason in reasons.items() if reason}
    seccomp = closed.pop("seccomp", None)
    has_groups = all(map(_writable, ("memory", "pids")))
    jail = answer.facts.get("jail", {})
    if jail.get("broken"):
        detail = f"{jail['backend']}: these walls did not hold: {', '.join(jail['broken'])}"
        level = Finding("isolation", "level", "broken", detail, _enable(closed, seccomp))
    elif jail.get("held"):
        memory = "limited as a whole" if jail["has_groups"] else "watched"
        detail = f"full: {jail['backend']}, probed inside the jail: {', '.join(jail['held'])}; memory is {memory}"
        level = Finding("isolation", "level", "ok", detail)
    elif closed or seccomp:
        missing = ", ".join([f"{name} namespace" for name in closed] + ["seccomp"] * bool(seccomp))
        remedy = f"{_enable(closed, seccomp)}; or, where bubblewrap may: {versions.install('sandbox')}"
        level = Finding("isolation", "level", "missing", f"not full: without {missing}", remedy)
    elif "problem" in jail:
        level = Finding("isolation", "level", "broken", f"none: {jail['problem']}", _enable(closed, seccomp))
    else:
        limits = "memory and processes limited as a whole" if has_groups else "limits for each process alone"
        level = Finding("isolation", "level", "ok", f"full: namespaces and seccomp, {limits}")
    results = [
        level,
        _wall("namespaces", closed, ", ".join(("user", *NAMESPACES)), _enable(closed, None)),
        _wall("seccomp", {"filter": seccomp} if seccomp else {}, "filters can be installed", _enable({}, seccomp)),
    ]
    abi = answer.facts.get("landlock", 0)
    results.append(Finding("isolation", "landlock", "ok" if abi else "note", f"ABI {abi}" if abi else "not there"))
    if has_groups:
        return [*results, Finding("isolation", "cgroup", "ok", "memory and pids can be limited")]
    remedy = "start r1lab under systemd-run --user --scope -p Delegate=yes"
    return [*results, Finding("isolation", "cgroup", "note", "memory and pids of a whole program are not ours", remedy)]


def tried() -> dict[str, Any]:
    """For each wall None, or the kernel's reason against it; Landlock's version. Children of this process try them."""
    facts: dict[str, Any] = {"user": _try(_enter_user), "seccomp": _try(_filter)}
    for name, flag in NAMESPACES.items():  # root may do without a user namespace
        facts[name] = _try(partial(_enter, flag, True)) and _try(partial(_enter, flag, False))
    version = ctypes.CDLL(None).syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), LANDLOCK_VERSION)
    return facts | {"landlock": max(0, version)}


def probed() -> dict[str, Any]:
    """What held in a jail, or why there is none."""
    try:
        with Sandbox(slots=1) as box:
            jail = probe.report(box)
    except OSError as error:
        return {"jail": {"problem": str(error)}}
    held = [name for name, has_held in jail.walls.items() if has_held]
    told = {"backend": jail.backend, "held": held, "broken": jail.broken, "has_groups": jail.has_groups}
    return {"jail": told}


def _wall(name: str, closed: dict[str, str], detail: str, remedy: str) -> Finding:
    if not closed:
        return Finding("isolation", name, "ok", detail)
    reasons = "; ".join(f"{key}: {reason}" for key, reason in closed.items())
    return Finding("isolation", name, "missing", reasons, remedy)


def _enable(closed: dict[str, str], seccomp: str | None) -> str:
    """The kernel's own switches where one of them is why, else what a container needs."""
    switches = hardware.forbidding() if closed else []
    container = "in a container: docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined ..."
    filters = ["use a kernel with CONFIG_SECCOMP_FILTER"] if seccomp else []
    return "; ".join(switches or [container, *filters])


def _writable(controller: str) -> bool:
    own = hardware.cgroup_folders(controller)[:1]
    return bool(own) and os.access(own[0], os.W_OK)


def _try(attempt: Callable[[], None]) -> str | None:
    """Try something in a forked child: None where the attempt passes, else the name of its error."""
    child = os.fork()
    if not child:
        code = errno.EIO
        try:
            attempt()
            code = 0
        except OSError as error:
            code = error.errno or errno.EIO
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if code == 0 else os.strerror(code) if code > 0 else signal.Signals(-code).name


def _enter_user() -> None:
    """A user namespace whose root is this user: AppArmor may allow the namespace and refuse the map."""
    user, group = os.getuid(), os.getgid()
    kernel.unshare(kernel.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _enter(flag: int, in_user: bool) -> None:
    if in_user:
        _enter_user()
    kernel.unshare(flag)
    if flag == kernel.CLONE_NEWNS:
        kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)


def _filter() -> None:
    """Ask for a seccomp filter without giving one: a kernel that could install it answers EFAULT."""
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    try:
        kernel.prctl(kernel.PR_SET_SECCOMP, SECCOMP_MODE_FILTER)
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise
