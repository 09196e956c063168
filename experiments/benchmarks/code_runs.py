"""How fast the sandbox runs programs, and whether the code verifier's verdicts are right.

    R1LAB_SHARED=FOLDER python experiments/benchmarks/code_runs.py [--json FILE] [--soak RUNS] [--only PART]

Rates are of a trivial program that reads standard input, over all slots; the bare one is `python -I -S` in a
subprocess, as many at once. Labelled programs and references need the folder (data/ and cases/); without it their rows
are left out. With --soak, so many runs in a row, a tenth of them hostile, after which nothing may have grown. Not a
benchmark of models.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from bars import finish, line, row
from code_host import Listeners, state
from code_sets import Case, programs, references, shared

from r1lab_sandbox.box import Sandbox
from r1lab_sandbox.records import Limits, Program
from r1lab_verifiers import resolve
from r1lab_verifiers.pool.pool import Pool

TRIVIAL = "a, b = map(int, input().split())\nprint(a + b)\n"
STDIN = b"3 4\n"
BROKEN_UPSTREAM = {"367", "927"}
LIMITS = Limits(seconds=5.0)
REFERENCE_SECONDS = 20.0
"""For a reference: MBPP's 123 takes 3 to 4.3 s of a processor, and the verifier's own limit is 4."""
PORTION = 200
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


def spread(count: int, slots: int, do: Callable[[int], object]) -> tuple[float, list[float]]:
    """(seconds in all, seconds of each) of `count` calls, `slots` at a time."""

    def timed(number: int) -> float:
        start = time.perf_counter()
        do(number)
        return time.perf_counter() - start

    start = time.perf_counter()
    with ThreadPoolExecutor(slots) as threads:
        each = list(threads.map(timed, range(count)))
    return time.perf_counter() - start, each


def rates(count: int, slots: int) -> list[dict]:
    """Isolated runs beside bare ones, taking turns three times; the best of each, since a neighbour only slows."""

    def bare(_: int) -> None:
        command = [os.path.realpath(sys.executable), "-I", "-S", "-c", TRIVIAL]
        assert subprocess.run(command, input=STDIN, capture_output=True, check=True).stdout == b"7\n"

    start = time.perf_counter()
    with Sandbox(slots=slots) as box:

        def jailed(_: int) -> None:
            assert box.run(Program(TRIVIAL, stdin=STDIN), LIMITS).stdout == b"7\n"

        jailed(0)
        cold = time.perf_counter() - start
        spread(2 * slots, slots, jailed)
        runs = []
        for _ in range(3):
            runs.append((*spread(count, slots, jailed), spread(count // 4, slots, bare)[0]))
        backend = box.backend
    fastest = min(seconds for seconds, _, _ in runs)
    ours = [count / seconds for seconds, _, _ in runs]
    theirs = [count // 4 / seconds for _, _, seconds in runs]
    each = sorted(min((each for _, each, _ in runs), key=sum))
    return [
        row("runs_per_s", count / fastest, ">=", 300.0, slots=slots, backend=backend, repeats=ours),
        row("vs_bare_python_same_slots", max(a / b for a, b in zip(ours, theirs)), ">=", 2.0, bare_per_s=theirs),
        row("p99_ms", each[int(0.99 * len(each))] * 1000, "<=", 25.0, p50_ms=each[len(each) // 2] * 1000),
        row("cold_start_s", cold, "<=", 1.5),
    ]


def judged(cases: Iterable[Case], **settings: object) -> tuple[float, list]:
    """(seconds, verdicts) of cases in a pool that is already warm."""
    with Pool({"code": resolve({"use": "code", **settings})}, workers=len(os.sched_getaffinity(0))) as pool:
        start = time.perf_counter()
        futures = [pool.submit(case.item, "code") for case in cases]
        verdicts = [future.result() for future in futures]
        return time.perf_counter() - start, verdicts


def labelled(folder: Path) -> list[dict]:
    """Each program by itself, the machine compared before and after."""
    wrong, left = [], []
    cases = programs(folder)
    with Listeners() as listeners, Pool({"code": resolve({"use": "code", "time_limit": 2.0})}) as pool:
        pool.submit(cases[0].item, "code").result()
        for case in cases:
            before = state()
            verdict = pool.submit(case.item, "code").result()
            after = state()
            if not case.agrees(verdict):
                wrong.append(f"{case.name}: {verdict.status} {verdict.score} {verdict.reason}")
            left += [f"{case.name}: {name}" for name in before if before[name] != after[name]]
        heard = list(listeners.heard)
    return [
        row("programs_as_labelled", len(cases) - len(wrong), ">=", len(cases), wrong=wrong),
        row("host_changes", len(left) + len(heard), "<=", 0, left=left, heard=heard),
    ]


def reference_rows(folder: Path, repeats: int = 3) -> list[dict]:
    """repeats: of MBPP's references, whose seconds are the best of them, as the rates are."""
    made = []
    for name in ("mbpp", "humaneval"):
        cases = references(folder, name)
        runs = [judged(cases, time_limit=REFERENCE_SECONDS) for _ in range(repeats if name == "mbpp" else 1)]
        verdicts = runs[0][1]
        failed = [case.name for case, verdict in zip(cases, verdicts) if verdict.status != "correct"]
        unexpected = sorted(set(failed) - BROKEN_UPSTREAM)
        made.append(row(f"{name}_failed", len(unexpected), "<=", 0, failed=failed, unexpected=unexpected))
        if name == "mbpp":
            each = [seconds for seconds, _ in runs]
            made.append(row("mbpp_s", min(each), "<=", 6.0, repeats=each))
        cases = references(folder, name, is_wrapped=True)
        passed = [case.name for case, verdict in zip(cases, judged(cases)[1]) if verdict.score]
        made.append(row(f"{name}_sentinel_passed", len(passed), "<=", 0, passed=passed))
    return made


def soak(count: int, slots: int) -> list[dict]:
    """Nothing grows: measured after a tenth of the runs and at the end."""

    def measured() -> dict[str, int]:
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        return {
            "memory_mb": sum(each.memory_full_info().uss for each in family) >> 20,
            "descriptors": sum(each.num_fds() for each in family),
            "processes": len(family),
            "mounts": sum(Path(f"/proc/{each.pid}/mounts").read_text().count("\n") for each in family),
        }

    with Sandbox(slots=slots) as box:

        def one(number: int) -> None:
            if number % 10 == 3:
                box.run(Program(HOSTILE[number // 10 % len(HOSTILE)]), Limits(seconds=0.5, memory_mb=256))
            else:
                assert box.run(Program(TRIVIAL, stdin=STDIN), LIMITS).stdout == b"7\n"

        def many(first: int, last: int) -> float:
            """In portions: a thread pool holds an object for each call that waits."""
            portions = (range(start, min(start + PORTION, last)) for start in range(first, last, PORTION))
            return sum(spread(len(each), slots, lambda number, each=each: one(each[number]))[0] for each in portions)

        many(0, count // 10)
        before = measured()
        seconds = many(count // 10, count)
        after = measured()
    grown = {name: after[name] - before[name] for name in before}
    allowed = {"memory_mb": 8, "descriptors": 0, "processes": 0, "mounts": 0}
    return [row(f"soak_{name}_grown", grown[name], "<=", allowed[name], runs=count, seconds=seconds) for name in grown]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--runs", type=int, default=1200, help="isolated runs of one repeat")
    parser.add_argument("--soak", type=int, default=0, metavar="RUNS", help="runs in a row, a tenth of them hostile")
    parser.add_argument("--only", choices=("rates", "programs", "references", "soak"), help="these rows alone")
    given = parser.parse_args()
    slots = len(os.sched_getaffinity(0))
    folder = shared()
    parts = {"rates": lambda: rates(given.runs, slots)}
    if folder is None:
        print("R1LAB_SHARED is not set: labelled programs and references are left out", file=sys.stderr)
    else:
        parts |= {"programs": lambda: labelled(folder), "references": lambda: reference_rows(folder)}
    if given.soak:
        parts["soak"] = lambda: soak(given.soak, slots)
    rows = [each for name, made in parts.items() if given.only in (None, name) for each in made()]
    load = os.getloadavg()[0]
    for each in rows:
        each |= {"load": load, "cores": slots, "python": platform.python_version(), "kernel": platform.release()}
        print(line(each))
    return finish(rows, given.json)


if __name__ == "__main__":
    sys.exit(main())
