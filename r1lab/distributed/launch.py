"""Start the processes of a run on this machine, hand signals on to them, end them together. Not how they communicate
(`r1lab.distributed.ranks`); any launcher that sets RANK and WORLD_SIZE may start them as well (torchrun, accelerate on
GPUs).

`accelerate launch --cpu --num_processes N` starts one process only, without a word (accelerate 1.15): that one becomes
the launcher of the N that were asked for. Standard library alone, so that it is there at once.

Not torch's elastic launcher either: importing it costs what importing torch does (1.6 s of CPU beside 0.05), at a
signal it kills after 30 s a step that takes longer, at a failure it asks the others to end before they have said why,
and it ends with 1 and thirty lines where a process of the run has ended with 2 or 143 and one.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from r1lab.errors import RecipeError

GRACE_SECONDS = 20.0
"""Seconds that the others have to end by themselves after one has failed."""
POLL_SECONDS = 0.05
AT_ONCE_SECONDS = 1.0
PR_SET_PDEATHSIG = 1


def session() -> AbstractContextManager:
    """The context of a command: several processes fail together; nothing where there is one."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return nullcontext()
    from r1lab.distributed import ranks

    return ranks.session()


def num_processes(processes: int | None) -> int:
    """How many processes to start here: what the command line says or accelerate was asked for; 1 where this is one."""
    if "WORLD_SIZE" in os.environ:
        if processes is not None and processes != int(os.environ["WORLD_SIZE"]):
            raise RecipeError(
                f"--processes: {processes}, but a launcher started {os.environ['WORLD_SIZE']}; say it to one of them"
            )
        return 1
    if processes is not None and processes < 1:
        raise RecipeError(f"--processes: {processes} must be at least 1")
    if processes is None and os.environ.get("ACCELERATE_USE_CPU") == "True" and "MASTER_PORT" in os.environ:
        return _of_accelerate()
    return processes or 1


def _of_accelerate() -> int:
    """The number on the parent's command line. RecipeError where it stands elsewhere."""
    import psutil

    words = [part for word in psutil.Process(os.getppid()).cmdline() for part in word.replace("_", "-").split("=", 1)]
    at = words.index("--num-processes") + 1 if "--num-processes" in words else len(words)
    if not words[at : at + 1] or not words[at].isdigit():
        raise RecipeError(
            "accelerate launch --cpu starts one process, however many its configuration names; "
            "use r1lab train RECIPE --processes N"
        )
    _end_with_parent()
    return int(words[at])


def run(processes: int, arguments: Sequence[str]) -> int:
    """The exit code of `python -m r1lab ARGUMENTS` on so many processes: that of the first that failed, or 0."""
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    shared = {"OMP_NUM_THREADS": str(threads), **os.environ}
    shared |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes))
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [sys.executable, "-m", "r1lab", *arguments]
    # Ctrl-C comes from here, once; the hook is safe: no library has started a thread here.
    apart = {"start_new_session": True, "preexec_fn": _end_with_parent}
    children: list[subprocess.Popen] = []
    with forwarded(children):
        for rank in range(processes):
            place = dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank))
            children.append(subprocess.Popen(command, env=shared | place, **apart))
        try:
            return _wait(children)
        finally:
            for child in children:
                child.kill()
                child.wait()


def _wait(children: list[subprocess.Popen]) -> int:
    failed, since = 0, None
    while None in [child.poll() for child in children]:  # all are asked: the first may wait for one that has ended
        for child in children:
            if child.returncode and since is None:
                failed, since = child.returncode, time.monotonic()
        if since is not None and time.monotonic() - since > GRACE_SECONDS:
            return _code(failed)
        time.sleep(POLL_SECONDS)
    codes = [child.returncode for child in children]
    if all(code < 0 for code in codes):
        print(f"r1lab: all {len(codes)} processes were killed ({signal.Signals(-codes[0]).name})", file=sys.stderr)
    return _code(failed or next(filter(None, codes), 0))


def _code(code: int) -> int:
    """An exit code for the command: 1 for a process that a signal ended."""
    return 1 if code < 0 else code


@contextmanager
def forwarded(children: Sequence[Any]) -> Iterator[None]:
    """SIGTERM and Ctrl-C go on to every child that still runs (`poll`): the first asks, the second ends. What comes at
    once is one signal: a parent that ends may be told by itself and by the kernel. One that is ignored stays so (Ctrl-C
    under `nohup`)."""
    last = -AT_ONCE_SECONDS

    def forward(number: int, _frame) -> None:
        nonlocal last
        if time.monotonic() - last < AT_ONCE_SECONDS:
            return
        last = time.monotonic()
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    heeded = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM to this process when its parent ends; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
