r"""The verifier `math` beside math-verify on labelled cases: right, false positives, milliseconds, answers a second.

    R1LAB_SHARED=FOLDER python experiments/benchmarks/verify_math.py [--json FILE]

FOLDER/cases/math.jsonl holds the labelled cases; FOLDER/data, for whole completions, GSM8K's model solutions and MATH's
solutions. Both sides judge the same rows in as many processes, in turns, each
round with fresh processes that have imported what they need. Then the hostile completions, each with its time limits.

The labels of the cases say what is equal, not what is finished (\gcd(6, 4) for 2), so they are judged with
`unevaluated`; whole completions with the defaults.
"""

import argparse
import json
import os
import random
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bars import finish, line, machine, row
from verify_math_hostile import GOLDS, HOSTILE, RIGHT

from r1lab_sandbox.forkserver.forkserver import ForkServer
from r1lab_verifiers import Item, Verdict, resolve
from r1lab_verifiers.pool.pool import Pool
from r1lab_verifiers.pool.slot import VerifierSlot
from r1lab_verifiers.pool.worker import CheckRequest

DEADLINE = 1.0
NUM_RATIONALS = 6000
WARM = (
    "x^2-1",
    r"\frac{\sqrt{3}}{2}",
    r"\{1,2\}",
    r"(-\infty,3]\cup[5,\infty)",
    r"\begin{pmatrix}1\\2\end{pmatrix}",
    "x=5",
)
"""Answers that every worker judges before the clock starts, so that parsers and sympy are loaded on both sides."""


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    """As it is found: a bare answer, or prose."""
    gold: str
    expected: bool
    is_bare: bool

    def completion(self, boxed: bool) -> str:
        return rf"\boxed{{{self.text}}}" if boxed and self.is_bare else self.text


def read_cases(path: Path) -> list[Case]:
    """The undisputed rows."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [
        Case(each["id"], each["prediction"], each["gold"], each["expected"], each["form"] == "bare")
        for each in rows
        if not each.get("disputed")
    ]


def read_completions(data: Path) -> list[Case]:
    """Whole texts as models and people write them: an eighth of GSM8K's model solutions, half of MATH-500."""
    cases = []
    for number, problem in enumerate(_json_lines(data / "gsm8k" / "example_model_solutions.jsonl")[::8]):
        gold = problem["ground_truth"].rpartition("A:")[2].strip()
        solutions = {name: each for name, each in problem.items() if isinstance(each, dict)}
        for name, each in solutions.items():
            cases.append(Case(f"gsm8k/{number}/{name}", each["solution"], gold, each["is_correct"], False))
    problems = _json_lines(data / "math500" / "test.jsonl")[::2]
    return cases + [Case(each["unique_id"], each["solution"], each["answer"], True, False) for each in problems]


def _json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def open_pool(workers: int, lenient: bool = False) -> Pool:
    """A pool whose workers have imported everything; their caches hold nothing but WARM."""
    table = {"math": resolve({"use": "math", "unevaluated": lenient})}
    pool = Pool(table, workers=workers, deadline=DEADLINE)
    for future in [pool.submit(Item(rf"\boxed{{{text}}}", text), "math") for text in WARM * workers * 2]:
        future.result()
    return pool


def ours(cases: list[Case], workers: int, boxed: bool = True, lenient: bool = True) -> tuple[float, list[Verdict]]:
    """Wall seconds for all cases at once, and their verdicts."""
    with open_pool(workers, lenient) as pool:
        start = time.perf_counter()
        futures = [pool.submit(Item(case.completion(boxed), case.gold), "math") for case in cases]
        verdicts = [future.result() for future in futures]
        return time.perf_counter() - start, verdicts


def theirs(cases: list[Case], workers: int) -> tuple[float, list[bool]]:
    """The same with math-verify in worker processes, warm, which take the next case when they are free."""
    with ProcessPoolExecutor(workers, initializer=warm_math_verify) as pool:
        list(pool.map(math_verify, ["1"] * workers * 4, ["1"] * workers * 4))
        start = time.perf_counter()
        verdicts = list(pool.map(math_verify, [case.completion(True) for case in cases], [case.gold for case in cases]))
        return time.perf_counter() - start, verdicts


def warm_math_verify() -> None:
    for text in WARM:
        math_verify(rf"\boxed{{{text}}}", text)


def math_verify(completion: str, gold: str) -> bool:
    from math_verify import parse, verify

    framed = gold if "$" in gold or "boxed" in gold else rf"\boxed{{{gold}}}"
    return bool(verify(parse(framed), parse(completion)))


def accuracy(cases: list[Case], verdicts: list[Verdict]) -> tuple[float, list[str], list[str]]:
    """The share that is right, the ids accepted though wrong, and those refused though right."""
    accepted = [case.id for case, verdict in zip(cases, verdicts) if verdict.score == 1 and not case.expected]
    refused = [case.id for case, verdict in zip(cases, verdicts) if verdict.score != 1 and case.expected]
    return 1 - (len(accepted) + len(refused)) / len(cases), accepted, refused


def rationals(seed: int) -> list[Item]:
    """Numbers as most answers are: integers, decimals, fractions, one in four wrong; no two alike."""
    drawn, items = random.Random(seed), []
    for number in range(NUM_RATIONALS):
        a, b = drawn.randint(1, 10**9), drawn.randint(2, 999)
        gold = (str(a), f"{a}/{b}", f"{a / 1000:.3f}", f"-{a}")[number % 4]
        answer = (f"${a}$", rf"\frac{{{a}}}{{{b}}}", f"{a / 1000:.3f}", str(a))[number % 4]
        items.append(Item(rf"So the answer is \boxed{{{answer}}}.", gold))
    return items


def rationals_per_second(rounds: int) -> list[float]:
    """Through one worker, each round with other numbers."""
    rates = []
    with open_pool(1) as pool:
        for seed in range(rounds):
            items = rationals(seed)
            start = time.perf_counter()
            verdicts = [future.result() for future in [pool.submit(item, "math") for item in items]]
            rates.append(len(items) / (time.perf_counter() - start))
            assert sum(verdict.score for verdict in verdicts) == 0.75 * len(items)
    return rates


def attempts() -> dict[str, float]:
    """Wall seconds of the slowest single check of each hostile completion."""
    table = {"math": resolve("math")}
    server = ForkServer(preload=["r1lab_verifiers.pool.worker", *table["math"].preload])
    seat = VerifierSlot(server, table, deadline=DEADLINE, build_deadline=60, memory_mb=2048)
    list(seat.run([CheckRequest("math", Item("1", "1"))]))
    seconds = dict.fromkeys(HOSTILE, 0.0)
    for name, text in HOSTILE.items():
        for gold in GOLDS:
            start = time.perf_counter()
            list(seat.run([CheckRequest("math", Item(text, gold))]))
            seconds[name] = max(seconds[name], time.perf_counter() - start)
    seat.leave()
    server.close()
    return seconds


def items_alone() -> tuple[dict[str, float], list[str]]:
    """Wall seconds from submission to verdict, retry and witness included; the names that were judged wrongly."""
    seconds, fooled = dict.fromkeys(HOSTILE, 0.0), []
    with open_pool(1) as pool:
        for name, text in HOSTILE.items():
            for gold in GOLDS:
                start = time.perf_counter()
                verdict = pool.submit(Item(text, gold), "math").result()
                seconds[name] = max(seconds[name], time.perf_counter() - start)
                if verdict.score != ((name, gold) in RIGHT):
                    fooled.append(name)
    return seconds, fooled


def slowest(seconds: dict[str, float]) -> dict[str, float]:
    return dict(sorted(seconds.items(), key=lambda pair: -pair[1])[:5])


def labelled_rows(cases: list[Case], workers: int) -> list[dict]:
    rows = []
    for prefix, boxed, least in (("labelled", True, 0.98), ("raw", False, 0.90)):
        _, verdicts = ours(cases, workers, boxed)
        share, accepted, refused = accuracy(cases, verdicts)
        rows.append(row(f"{prefix}_right", share, ">=", least) | {"num_cases": len(cases), "refused": refused})
        rows.append(row(f"{prefix}_false_positives", len(accepted), "<=", 0) | {"accepted": accepted})
    return rows


def speed_rows(cases: list[Case], workers: int, rounds: int, prefix: str, bar: float, lenient: bool) -> list[dict]:
    """In turns, ours first, with new workers each round; the milliseconds are the medians of the rounds'."""
    times, spent, verdicts, right = {"ours": [], "math_verify": []}, [], [], []
    for turn in range(rounds):
        seconds, verdicts = ours(cases, workers, lenient=lenient)
        times["ours"].append(seconds)
        spent.append(sorted(1000 * verdict.seconds for verdict in verdicts))
        seconds, right = theirs(cases, workers)
        times["math_verify"].append(seconds)
        print(f"round {turn + 1}: {times['ours'][-1]:.2f} s, math-verify {seconds:.2f} s", file=sys.stderr, flush=True)
    per_second = {side: len(cases) / statistics.median(each) for side, each in times.items()}
    p50, p99 = (statistics.median(each[int(len(each) * share)] for each in spent) for share in (0.5, 0.99))
    share = sum(got == case.expected for got, case in zip(right, cases)) / len(cases)
    own_share, accepted, _ = accuracy(cases, verdicts)
    figures = {"answers_per_s": per_second, "seconds": times, "workers": workers, "num_cases": len(cases)}
    figures |= {"right": own_share, "accepted": accepted, "math_verify_right": share, "p50_ms": p50, "p99_ms": p99}
    rows = [row(f"{prefix}vs_math_verify", per_second["ours"] / per_second["math_verify"], ">=", bar) | figures]
    if prefix:  # what training judges; short answers are odd ones, whose milliseconds stand among the figures
        rows += [row(f"{prefix}p50_ms", p50, "<=", 0.3), row(f"{prefix}p99_ms", p99, "<=", 5)]
    return rows


def hostile_rows() -> list[dict]:
    single, (whole, fooled) = attempts(), items_alone()
    return [
        row("hostile_attempt_s", max(single.values()), "<=", 1.2) | {"slowest": slowest(single)},
        row("hostile_item_s", max(whole.values()), "<=", 3.5) | {"slowest": slowest(whole)},
        row("hostile_misjudged", len(fooled), "<=", 0) | {"num_completions": len(HOSTILE), "misjudged": fooled},
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes of each side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the rows there")
    given = parser.parse_args()
    if given.workers < 1 or given.rounds < 1:
        parser.error("workers and rounds must be at least 1")
    if find_spec("math_verify") is None:
        parser.error("math-verify is not installed; pip install 'r1lab[benchmark]'")
    shared = os.environ.get("R1LAB_SHARED")
    given.cases = Path(shared or "") / "cases" / "math.jsonl"
    if not shared or not given.cases.is_file():
        parser.error(f"R1LAB_SHARED is {shared!r}; set it to the folder that holds cases/math.jsonl")
    return given


def main() -> int:
    given = arguments()
    cases = read_cases(given.cases)
    rows = labelled_rows(cases, given.workers)
    rows += speed_rows(cases, given.workers, given.rounds, "", 25, lenient=True)
    completions = read_completions(given.cases.parents[1] / "data")
    rows += speed_rows(completions, given.workers, given.rounds, "whole_", 15, lenient=False)
    rates = rationals_per_second(given.rounds)
    rows.append(row("rational_per_s_one_worker", statistics.median(rates), ">=", 3000) | {"rates": rates})
    rows += hostile_rows()
    rows[0] |= machine(("r1lab", "sympy", "math-verify")) | {"load": os.getloadavg()}
    print(*map(line, rows), sep="\n")
    return finish(rows, given.json)


if __name__ == "__main__":
    sys.exit(main())
