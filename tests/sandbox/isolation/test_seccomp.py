import errno
import struct

import pytest

from r1lab_sandbox.isolation import kernel, seccomp

X86, ARM = 0xC000003E, 0xC00000B7


def answer(code: bytes, number: int, first: int = 0, arch: int = X86) -> int:
    """What the filter returns: an interpreter of the five operations that it is made of."""
    at, accumulator = 0, 0
    while True:
        operation, if_true, if_false, value = struct.unpack_from("HBBI", code, 8 * at)
        if operation == seccomp.RETURN:
            return value
        if operation == seccomp.LOAD:
            accumulator = {seccomp.NUMBER: number, seccomp.ARCH: arch, seccomp.FIRST_ARGUMENT: first}[value]
            at += 1
            continue
        is_true = {
            seccomp.JUMP_EQUAL: accumulator == value,
            seccomp.JUMP_GREATER_EQUAL: accumulator >= value,
            seccomp.JUMP_ANY_BIT: bool(accumulator & value),
        }[operation]
        at += 1 + (if_true if is_true else if_false)


REFUSED = seccomp.ERRNO | errno.EPERM


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


def test_another_architecture_is_killed():
    code = seccomp.program("x86_64")
    assert answer(code, 1, arch=0x40000003) == answer(code, 1, arch=ARM) == seccomp.KILL_PROCESS
    assert answer(code, seccomp.X32_BIT | 1) == seccomp.KILL_PROCESS
    assert answer(seccomp.program("aarch64"), 198, arch=ARM) == REFUSED  # socket
    with pytest.raises(OSError, match="no system-call filter for riscv64; there is one for x86_64, aarch64"):
        seccomp.program("riscv64")
