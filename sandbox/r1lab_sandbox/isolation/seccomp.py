"""The system-call filter of the jail: classic BPF, assembled here, so that no library is needed.

A deny list: what a program needs is open-ended, what reaches past a jail is not. Refused calls fail with EPERM (clone3
with ENOSYS, so that libc falls back to clone, whose flags can be read); of some calls an argument is looked at; calls
of another architecture (32-bit, x32) kill the process. Not the only wall: namespaces, dropped capabilities and an empty
network stand behind it.
Sources: the kernel's Documentation/userspace-api/seccomp_filter.rst, asm/unistd_64.h and asm-generic/unistd.h.
"""

import ctypes
import errno
import struct
from collections.abc import Sequence
from typing import NamedTuple

from r1lab_sandbox.isolation import kernel

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, JUMP, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_ANY_BIT, RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCH, FIRST_ARGUMENT, ARGUMENT_BYTES = 0, 4, 16, 8
AF_UNIX, MSG_OOB, SO_PEERPIDFD = 1, 1, 77
F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ, F_SETLOCKS = 1024, 1026, 1031, (6, 7, 37, 38)
NAMESPACES = (
    kernel.CLONE_NEWNS | kernel.CLONE_NEWCGROUP | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET
)  # fmt: skip
CLONE, CLONE3 = (56, 220), (435, 435)
DENIED: dict[str, tuple[int | None, int | None]] = {
    # the network: the namespace is empty as well; socketpair stays, event loops need it
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "setsockopt": (54, 208),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "pidfd_getfd": (438, 438),
    # mounts and namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "open_tree": (428, 428), "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    # parts of the kernel with a history of holes
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "userfaultfd": (323, 282), "bpf": (321, 280), "perf_event_open": (298, 241), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "fanotify_init": (300, 262), "personality": (135, 92),
    "modify_ldt": (154, None), "iopl": (172, None), "ioperm": (173, None), "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42), "uselib": (134, None), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "mbind": (237, 235), "set_mempolicy": (238, 237), "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # what other runs, or the host, could see or be told by: who opens which file, what is in the page cache
    "fanotify_mark": (301, 263), "inotify_init": (253, None), "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27), "fadvise64": (221, 223), "readahead": (187, 213),
    "mincore": (27, 232), "cachestat": (451, 451), "preadv2": (327, 286), "pwritev2": (328, 287),
    # counted for the whole machine
    "io_setup": (206, 0),
    # the machine
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116), "vhangup": (153, 58),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162),
    # memory that no limit of a process counts
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "shmctl": (31, 195), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
}  # fmt: skip
"""name: (number on x86_64, on aarch64)"""
OUT_OF_BAND = ((JUMP_ANY_BIT, MSG_OOB, "EPERM", "allow"),)
"""Urgent data of UNIX sockets has a history of holes."""
CHECKED: dict[str, tuple[tuple[int, int], int, tuple[tuple[int, int, str, str], ...]]] = {
    "sendto": ((44, 206), 3, OUT_OF_BAND), "sendmsg": ((46, 211), 2, OUT_OF_BAND),
    "sendmmsg": ((307, 269), 3, OUT_OF_BAND), "recvfrom": ((45, 207), 3, OUT_OF_BAND),
    "recvmsg": ((47, 212), 2, OUT_OF_BAND), "recvmmsg": ((299, 243), 3, OUT_OF_BAND),
    # a handle on the driver
    "getsockopt": ((55, 209), 2, ((JUMP_EQUAL, SO_PEERPIDFD, "EPERM", "allow"),)),
    # for another family the kernel would load a module
    "socketpair": ((53, 199), 0, ((JUMP_EQUAL, AF_UNIX, "allow", "EPERM"),)),
    "fcntl": ((72, 25), 1, (*((JUMP_EQUAL, command, "done", "") for command in F_SETLOCKS),
                            (JUMP_EQUAL, F_SETLEASE, "EPERM", ""), (JUMP_EQUAL, F_NOTIFY, "EPERM", ""),
                            (JUMP_EQUAL, F_SETPIPE_SZ, "EPERM", "allow"))),
}  # fmt: skip
"""name: ((number on x86_64, on aarch64), argument, rules in order: operation, value, where to, where else: to the next
rule)"""
FLOCK = (73, 32)
"""Locks on a shared file are seen by other runs, and by the host. They are granted and not made: a run's own files are
no other's, and SQLite wants some."""
TIMES = ((280, 88), (132, None), (235, None), (261, None))
"""utimensat, utime, utimes, futimesat"""
ENDS = {"EPERM": ERRNO | errno.EPERM, "ENOSYS": ERRNO | errno.ENOSYS, "done": ERRNO, "allow": ALLOW}
"""`done`: the call returns 0 and nothing has happened."""
PROCESSES: dict[str, tuple[int | None, int | None]] = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434),
    "fork": (57, None), "vfork": (58, None), "setpriority": (141, 140), "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
}  # fmt: skip
"""Refused besides where no PID namespace holds the processes that a program starts or signals."""


def program(machine: str = kernel.MACHINE, *, is_alone: bool = True, keeps_times: bool = False) -> bytes:
    """The filter as an array of `struct sock_filter`. OSError for a machine whose numbers are not known.

    is_alone: the program has a PID namespace of its own; else it may start threads, but neither processes nor signals.
    keeps_times: no file's times change, though the call succeeds: where devices do not lie on read-only mounts.
    """
    if machine not in AUDIT_ARCH:
        raise OSError(f"no system-call filter for {machine}; there is one for {', '.join(AUDIT_ARCH)}")
    column = list(AUDIT_ARCH).index(machine)
    refused = (*DENIED.values(), *(() if is_alone else PROCESSES.values()))
    target = {number: "EPERM" for each in refused if (number := each[column]) is not None}
    target |= {CLONE3[column]: "ENOSYS", CLONE[column]: "clone"}
    undone = (FLOCK, *(TIMES if keeps_times else ()))
    target |= {number: "done" for each in undone if (number := each[column]) is not None}
    target |= {numbers[column]: name for name, (numbers, *_) in CHECKED.items()}
    numbers = sorted(target)
    middle = len(numbers) // 2
    return _assemble([
        _Step(LOAD, ARCH), _Step(JUMP_EQUAL, AUDIT_ARCH[machine], "number", "kill"),
        "number", _Step(LOAD, NUMBER), _Step(JUMP_GREATER_EQUAL, X32_BIT, "kill", "search"),
        "kill", _Step(RETURN, KILL_PROCESS),
        # in two parts, each with its own ends: a jump on a condition goes over 255 instructions at most
        "search", _Step(JUMP_GREATER_EQUAL, numbers[middle], "far", "low"),
        "far", _Step(JUMP, 0, "high"),
        "low", *_part(numbers[:middle], target, is_alone), "high", *_part(numbers[middle:], target, is_alone),
    ])  # fmt: skip


def _part(numbers: Sequence[int], target: dict[int, str], is_alone: bool) -> list["_Step | str"]:
    """The search through these numbers, the arguments that are looked at, and where it ends. A name that stands twice
    in the filter is the next one."""
    steps = _search(numbers, target)
    for name in (target[number] for number in numbers if target[number] not in ENDS):
        if name == "clone":
            threads = () if is_alone else (_Step(JUMP_ANY_BIT, kernel.CLONE_THREAD, "", "EPERM"),)
            steps += [name, _Step(LOAD, FIRST_ARGUMENT), *threads, _Step(JUMP_ANY_BIT, NAMESPACES, "EPERM", "allow")]
        else:
            _, argument, rules = CHECKED[name]
            *others, (operation, value, then, otherwise) = rules
            steps += [name, _Step(LOAD, FIRST_ARGUMENT + ARGUMENT_BYTES * argument)]
            steps += [*(_Step(*rule[:3]) for rule in others), _Step(operation, value, then, otherwise)]
    return [*steps, *(step for name, value in ENDS.items() for step in (name, _Step(RETURN, value)))]


class Filter:
    """The filter, ready to be put on: a run's fork makes nothing anew."""

    def __init__(self, code: bytes):
        self.held = _Program(len(code) // 8, code)
        self.address = ctypes.addressof(self.held)

    def install(self) -> None:
        """On this process and all it starts, for good; no-new-privs must be set. Raises OSError."""
        kernel.prctl(kernel.PR_SET_SECCOMP, 2, self.address)


class _Program(ctypes.Structure):
    """`struct sock_fprog`"""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


class _Step(NamedTuple):
    """An instruction; a jump names where it goes."""

    operation: int
    value: int
    if_true: str = ""
    if_false: str = ""


def _search(numbers: Sequence[int], target: dict[int, str]) -> list[_Step | str]:
    """Halving: the kernel walks through the filter once for every call there is when it takes it."""
    if len(numbers) == 1:
        return [_Step(JUMP_EQUAL, numbers[0], target[numbers[0]], "allow")]
    middle = len(numbers) // 2
    low, high = f"below {numbers[middle]}", f"from {numbers[middle]}"
    return [
        _Step(JUMP_GREATER_EQUAL, numbers[middle], high, low),
        low, *_search(numbers[:middle], target), high, *_search(numbers[middle:], target),
    ]  # fmt: skip


def _assemble(steps: Sequence[_Step | str]) -> bytes:
    """Names replaced by distances to the next place of that name, counted from the next instruction: jumps go forward
    only."""
    places: dict[str, int] = {"": 0}
    code: list[bytes] = []
    at = sum(isinstance(each, _Step) for each in steps)
    for each in reversed(steps):
        if isinstance(each, str):
            places[each] = at
            continue
        distances = [places[name] - at if name else 0 for name in each[2:]]
        if each.operation == JUMP:
            code.append(struct.pack("HBBI", JUMP, 0, 0, distances[0]))
        else:
            code.append(struct.pack("HBBI", each.operation, *distances, each.value))
        at -= 1
    return b"".join(reversed(code))
