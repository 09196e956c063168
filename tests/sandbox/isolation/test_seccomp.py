import errno
import struct

import pytest

from r1lab_sandbox.isolation import kernel, seccomp

X86, ARM = 0xC000003E, 0xC00000B7


def answer(code: bytes, number: int, *arguments: int, arch: int = X86) -> int:
    """What the filter returns: an interpreter of the six operations that it is made of."""
    words = {seccomp.NUMBER: number, seccomp.ARCH: arch}
    words |= {seccomp.FIRST_ARGUMENT + 8 * place: value for place, value in enumerate((*arguments, 0, 0, 0, 0)[:5])}
    at, accumulator = 0, 0
    while True:
        operation, if_true, if_false, value = struct.unpack_from("HBBI", code, 8 * at)
        if operation == seccomp.RETURN:
            return value
        if operation == seccomp.LOAD:
            accumulator = words[value]
            at += 1
            continue
        if operation == seccomp.JUMP:
            at += 1 + value
            continue
        is_true = {
            seccomp.JUMP_EQUAL: accumulator == value,
            seccomp.JUMP_GREATER_EQUAL: accumulator >= value,
            seccomp.JUMP_ANY_BIT: bool(accumulator & value),
        }[operation]
        at += 1 + (if_true if is_true else if_false)


REFUSED, DONE = seccomp.ERRNO | errno.EPERM, seccomp.ERRNO


@pytest.mark.parametrize("is_alone", [True, False])
def test_the_filter_refuses_what_is_listed_and_lets_the_rest_through(is_alone):
    code = seccomp.program("x86_64", is_alone=is_alone)
    for name, (number, _) in seccomp.DENIED.items():
        assert answer(code, number) == REFUSED, name
    for number in (0, 1, 9, 59, 231):  # read, write, mmap, execve, exit_group
        assert answer(code, number) == seccomp.ALLOW
    assert answer(code, 435) == seccomp.ERRNO | errno.ENOSYS  # clone3


def test_clone_makes_threads_and_processes_but_no_namespace():
    code = seccomp.program("x86_64")
    assert answer(code, 56, 17) == answer(code, 56, kernel.CLONE_THREAD) == seccomp.ALLOW
    for flag in (kernel.CLONE_NEWUSER, kernel.CLONE_NEWNS, kernel.CLONE_NEWPID, kernel.CLONE_NEWNET):
        assert answer(code, 56, flag | 17) == answer(code, 56, flag | kernel.CLONE_THREAD) == REFUSED


def test_without_a_pid_namespace_there_are_threads_only_and_no_signals():
    code = seccomp.program("x86_64", is_alone=False)
    assert answer(code, 56, kernel.CLONE_THREAD | 0xF00) == seccomp.ALLOW
    assert answer(code, 56, 17) == answer(code, 57) == answer(code, 58) == REFUSED  # clone, fork, vfork
    assert answer(code, 62) == answer(code, 234) == answer(code, 424) == REFUSED  # kill, tgkill, pidfd_send_signal
    assert answer(code, 56, kernel.CLONE_THREAD | kernel.CLONE_NEWUSER) == REFUSED
    assert answer(seccomp.program("x86_64"), 62) == seccomp.ALLOW


@pytest.mark.parametrize(("machine", "arch", "column"), [("x86_64", X86, 0), ("aarch64", ARM, 1)])
@pytest.mark.parametrize("is_alone", [True, False])
def test_of_some_calls_an_argument_decides(machine, arch, column, is_alone):
    code = seccomp.program(machine, is_alone=is_alone)

    def of(name: str, *arguments: int) -> int:
        return answer(code, seccomp.CHECKED[name][0][column], *arguments, arch=arch)

    assert of("sendto", 4, 0, 9, 1) == of("recvmsg", 4, 0, 0x41) == of("recvmmsg", 4, 0, 1, 1) == REFUSED  # MSG_OOB
    assert of("sendto", 4, 0, 9, 0x4000) == of("recvmsg", 4, 0, 0x40) == of("sendmsg", 4, 1, 0) == seccomp.ALLOW
    assert of("socketpair", 1) == seccomp.ALLOW and of("socketpair", 2) == of("socketpair", 38) == REFUSED
    assert of("getsockopt", 4, 1, 3) == seccomp.ALLOW and of("getsockopt", 4, 1, 77) == REFUSED  # SO_TYPE, SO_PEERPIDFD
    assert of("fcntl", 3, 4) == of("fcntl", 3, 1030) == of("fcntl", 3, 5) == seccomp.ALLOW  # F_SETFL, F_DUPFD_CLOEXEC
    assert of("fcntl", 3, 1024) == of("fcntl", 3, 1026) == of("fcntl", 3, 1031) == REFUSED  # lease, news, pipe's size
    assert {of("fcntl", 3, command) for command in (6, 7, 37, 38)} == {DONE}
    assert answer(code, seccomp.FLOCK[column], 3, 2, arch=arch) == DONE


def test_another_architecture_is_killed():
    code = seccomp.program("x86_64")
    assert answer(code, 1, arch=0x40000003) == answer(code, 1, arch=ARM) == seccomp.KILL_PROCESS
    assert answer(code, seccomp.X32_BIT | 1) == seccomp.KILL_PROCESS
    assert answer(seccomp.program("aarch64"), 198, arch=ARM) == REFUSED  # socket
    with pytest.raises(OSError, match="no system-call filter for riscv64; there is one for x86_64, aarch64"):
        seccomp.program("riscv64")
