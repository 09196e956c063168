"""Ten thousand calls of tools: do memory, processes or descriptors grow?

    python experiments/benchmarks/tool_soak.py [--calls 10000] [--json FILE]

Episodes of four turns with two calls each, a program of the Python tool and a function in a worker; every tenth episode
is hostile (programs that hang, fork, flood or end their process; functions that raise or die). What this process and
its children hold is noted after every tenth of the calls. Not a measurement of speed.
"""

import argparse
import gc
import itertools
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from bars import finish, line, machine, row

from r1lab.environments.host import Host
from r1lab.environments.resolve import ResolvedEnvironment, resolve
from r1lab_data import Problem

GROWING, MOST_GROWTH = ("processes", "descriptors", "threads", "MiB", "own MiB"), 1.1
TURNS, CALLS_OF_A_TURN, WORKERS = 4, 2, 2
FUNCTION = "r1lab.environments.arithmetic:multiply"
HOSTILE = (
    "while True: pass",
    "x = bytearray(4 << 30)",
    "import os\nwhile True: os.fork()",
    "print('x' * (64 << 20))",
    "import os\nos._exit(0)",
    "import os\nfor i in range(5):\n    if os.fork() == 0:\n        os.setsid()\n        while True: pass",
    "import socket\nsocket.socket()",
    "raise SystemExit(3)",
)
CALL = '<tool>{{"name": "multiply", "arguments": {{"a": {a}, "b": {b}}}}}</tool>'
BAD_CALL = '<tool>{"name": "multiply", "arguments": {"a": "x"}}</tool>'


def turns_of(number: int) -> Iterator[str]:
    """What the model would write in an episode."""
    for turn in range(TURNS):
        is_hostile = number % 10 == 3 and turn == 1
        program = HOSTILE[number // 10 % len(HOSTILE)] if is_hostile else f"x{turn} = {number}\nprint(x0 + {turn})"
        call = BAD_CALL if is_hostile else CALL.format(a=number, b=turn)
        yield f"<tool>\n{program}\n</tool>{call}"


def played(host: Host, environment: ResolvedEnvironment, number: int) -> int:
    """Calls of one episode, all answered."""
    world, calls = host.world(environment, Problem(str(number), "?", "0"), number, str(number), number), 0
    world.start().result()
    for turn, text in enumerate(turns_of(number)):
        answer: Any = world.step(text).result()
        calls += answer["info"]["calls"]
        if number % 10 != 3:
            assert answer["observation"] == f"{number + turn}\n{number * turn}", answer
    world.end().result()
    return calls


def held() -> dict[str, float]:
    """What this process and its children hold."""
    gc.collect()
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return {
        "processes": len(family),
        "descriptors": sum(each.num_fds() for each in family),
        "threads": psutil.Process().num_threads(),
        "MiB": round(sum(each.memory_full_info().uss for each in family) / 2**20, 1),
        "own MiB": round(psutil.Process().memory_full_info().uss / 2**20, 1),
    }


def soak(calls: int, parts: int = 10) -> list[dict[str, float]]:
    """What is held before and after each part of the calls."""
    settings = {"tools": ["python", FUNCTION], "call_seconds": 1.0, "memory_mb": 256}
    environment, numbers, rows = resolve("tools", settings), itertools.count(), []
    host = Host(workers=WORKERS, deadline=5.0)
    try:
        with ThreadPoolExecutor(WORKERS) as threads:
            for part in range(parts + 1):  # the first warms up: every slot and worker has started
                each = range(calls // parts // TURNS // CALLS_OF_A_TURN)
                began, todo = time.perf_counter(), [next(numbers) for _ in each]
                made = sum(threads.map(lambda number: played(host, environment, number), todo))
                rows.append({"calls": made, "seconds": round(time.perf_counter() - began, 1), **held()})
                told = ", ".join(f"{name} {value:g}" for name, value in rows[-1].items())
                print(f"part {part} of {parts}: {told}", flush=True)
    finally:
        host.close()
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = soak(asked.calls)
    first, last = rows[1], rows[-1]
    figures = [row("calls", sum(each["calls"] for each in rows), ">=", asked.calls, held=rows, **machine(["psutil"]))]
    for name in GROWING:
        figures.append(row(f"{name}, end over beginning", last[name] / first[name], "<=", MOST_GROWTH))
    print("\n".join(map(line, figures)))
    return finish(figures, asked.json)


if __name__ == "__main__":
    sys.exit(main())
