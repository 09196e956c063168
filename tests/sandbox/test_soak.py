import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from r1lab_sandbox.box import Sandbox
from r1lab_sandbox.records import Limits, Program

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
HOSTILE = (
    "while True: pass",
    "x = bytearray(4 << 30)",
    "import os\nwhile True: os.fork()",
    "print('x' * (64 << 20))",
    "import os\nfor i in range(5):\n    if os.fork() == 0:\n        os.setsid()\n        while True: pass",
    "import os\nwhile True: os.mkdir('d'); os.chdir('d')",
    "import ctypes\nctypes.string_at(0)",
    "import socket\nsocket.socket()",
)


@pytest.fixture
def traced():
    """Memory of this process is counted by its own allocations: what other tests left here would drown it."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def held(others: set[int]) -> dict[str, int]:
    """What this process and its children hold, but for `others`: what other tests have left running shares its pages
    with fewer and fewer."""
    children = [child for child in psutil.Process().children(recursive=True) if child.pid not in others]
    family = [psutil.Process(), *children]
    gc.collect()
    return {
        "processes": len(family),
        "descriptors": sum(each.num_fds() for each in family),
        "mounts": sum(Path(f"/proc/{each.pid}/mounts").read_text().count("\n") for each in family),
        "memory": sum(each.memory_full_info().uss for each in children),
        "own": tracemalloc.get_traced_memory()[0],
    }


def test_nothing_grows_over_many_runs_a_tenth_of_them_hostile(traced):
    others = {child.pid for child in psutil.Process().children(recursive=True)}
    with Sandbox(slots=2) as box, ThreadPoolExecutor(2) as threads:

        def one(number: int) -> None:
            if number % 10 == 3:
                box.run(Program(HOSTILE[number // 10 % len(HOSTILE)]), Limits(seconds=0.3, memory_mb=256))
            else:
                assert box.run(Program("print(input())", stdin=b"7\n"), Limits(seconds=10.0)).stdout == b"7\n"

        list(threads.map(one, range(480)))  # each slot has seen each hostile program several times
        before = held(others)
        list(threads.map(one, range(640)))
        after = held(others)
    assert after.pop("memory") - before.pop("memory") < 2 << 20
    assert after.pop("own") - before.pop("own") < 64 << 10
    assert after == before
