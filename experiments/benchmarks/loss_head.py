"""Time, memory and error of the loss head beside the bare matrix products, full logits, TRL, liger-kernel and torch.

    python experiments/benchmarks/loss_head.py --device cpu|cuda [--json FILE]

All paths take turns in one process, A B C A B C, after a turn of warm-up; a ratio is the median over the turns of both
sides' seconds in the same turn. Peak memory is that of a process which does nothing else. Errors are against float64 on
fewer rows. A path whose package is not installed is said to be not run. The rows are written after every part, so that
one that is ended keeps what it had. Not a benchmark of whole steps (`step.py`).
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from bars import finish, line, machine, row
from loss_head_paths import PATHS, Absent, Given, make

from r1lab import kernels
from r1lab.kernels import products

SHAPES = {"cpu": (4096, 576, 49152), "cuda": (16384, 2048, 151936)}
"""Rows, dimension, vocabulary: SmolLM2-135M's head, that of a model of 1.5 billion weights."""
REPEATS = {"cpu": 5, "cuda": 20}
ERROR_ROWS = 128
NOT_RUN = Absent, torch.OutOfMemoryError
"""What a path is not run for: the others still are."""
RATIOS = {
    "cpu": {
        "vs_three_matmuls": ("one_pass", "three_matmuls", 1.15),
        "vs_trl": ("one_pass", "trl", 0.75),
        "mixed_vs_three_matmuls": ("mixed", "three_matmuls", 0.70),
    },
    "cuda": {
        "vs_three_matmuls": ("one_pass", "three_matmuls", 1.15),
        "scoring_vs_one_matmul": ("scoring", "one_matmul", 1.15),
        "recompute_vs_three_matmuls": ("recompute", "three_matmuls", 1.45),
    },
}
"""Row: the path, what it is compared with, the limit."""
SHOWN = {
    "vs_full": ("one_pass", "full"),
    "vs_trl": ("one_pass", "trl"),
    "vs_trl_chunked": ("one_pass", "trl_chunked"),
    "vs_liger": ("one_pass", "liger"),
    "vs_torch": ("one_pass", "torch_own"),
    "mixed_vs_trl": ("mixed", "trl"),
    "recompute_vs_three_matmuls": ("recompute", "three_matmuls"),
    "scoring_vs_one_matmul": ("scoring", "one_matmul"),
}
"""Ratios without a limit."""
PEAKS = {
    "cpu": {"peak_vs_full": ("one_pass", 0.125), "mixed_peak_vs_full": ("mixed", 0.2)},
    "cuda": {"peak_vs_full": ("one_pass", None), "peak_gb": ("one_pass", 2.8)},
}


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def measure(
    given: Given, names: list[str], repeats: int, keep: Callable[[dict[str, list[float]]], object] = lambda _: None
) -> dict[str, list[float]]:
    """Seconds of each path in each turn; one whose package is absent is left out and said to be not run. `keep` is
    told after each turn what there is so far."""
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats + 1):
        for name in list(seconds):
            try:
                taken = _seconds(lambda name=name: PATHS[name](given), given.hidden.device)
            except NOT_RUN as error:
                print(f"{name}: not run ({first_line(error)})", file=sys.stderr, flush=True)
                del seconds[name]
                continue
            print(f"{'warm-up' if not turn else f'turn {turn}'} {name}: {taken:.4f} s", file=sys.stderr, flush=True)
            if turn:
                seconds[name].append(taken)
        if turn:
            keep(seconds)
    return seconds


def _seconds(run, device: torch.device) -> float:
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def peak(name: str, given: Given) -> float:
    """Most bytes that one run of the path holds beyond its inputs. On a CPU only true in a process of its own."""
    if given.hidden.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        PATHS[name](given)
        return torch.cuda.max_memory_allocated() - before
    products.bfloat16_pays()
    few = Given(*(getattr(given, field)[:8] for field in ("hidden",)), given.weight[:64], given.target[:8] % 64,
                given.old[:8], given.advantage[:8])  # fmt: skip
    PATHS[name](few)  # libraries and their threads
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again
    before = _status("VmRSS")
    PATHS[name](given)
    return _status("VmHWM") - before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def peaks(given: argparse.Namespace, inputs: Given | None) -> dict[str, float]:
    """Bytes by path; on a CPU each in a process of its own."""
    found = {}
    for name in ("one_pass", "mixed", "recompute", "scoring", "full", "trl"):
        if inputs is not None:
            try:
                found[name] = peak(name, inputs)
            except NOT_RUN as error:
                print(f"peak of {name}: not run ({first_line(error)})", file=sys.stderr, flush=True)
            continue
        command = [sys.executable, __file__, *sys.argv[1:], "--peak", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode == 0:
            found[name] = float(done.stdout)
    return found


def errors(rows: int, dimension: int, vocabulary: int, device: str, dtype: torch.dtype) -> dict[str, float]:
    """Largest errors of log-probability and entropy, relative ones of gradients; one pass and mixed mode."""
    inputs = make(rows, dimension, vocabulary, device, dtype)
    h, w = (each.double().requires_grad_() for each in (inputs.hidden, inputs.weight))
    logps = (h @ w.t()).log_softmax(-1)
    entropy, logp = -(logps.exp() * logps).sum(-1), logps.gather(1, inputs.target[:, None])[:, 0]
    truth = torch.autograd.grad((inputs.advantage * logp).sum(), (h, w))
    found = {}
    for prefix, mixed in (("", False), ("mixed_", True)):
        hidden, weight = inputs.leaves()
        head = kernels.policy_head(
            hidden, weight, inputs.target, lambda logp, _, at: inputs.advantage[at] * logp, mixed=mixed
        )
        head.loss.backward()
        found[f"{prefix}logprob_error"] = (head.logp - logp).abs().max().item()
        found[f"{prefix}entropy_error"] = (head.entropy - entropy).abs().max().item()
        for name, leaf, exact in (("hidden", hidden, truth[0]), ("weight", weight, truth[1])):
            found[f"{prefix}{name}_gradient_error"] = ((leaf.grad - exact).norm() / exact.norm()).item()
    return found


def rows_of(device: str, seconds: dict, memory: dict, wrong: dict, extra: dict) -> list[dict]:
    """The rows: ratios and errors, smaller is better."""
    rows = []
    for name, (path, other, limit) in (RATIOS[device] | {
        key: (*pair, None) for key, pair in SHOWN.items() if key not in RATIOS[device]
    }).items():  # fmt: skip
        if seconds.get(path) and seconds.get(other):
            rows.append(row(name, statistics.median(a / b for a, b in zip(seconds[path], seconds[other])), "<=", limit))
        else:
            rows.append(row(name, None, "<=", limit))
    for name, (path, limit) in PEAKS[device].items():
        against = 1e9 if name == "peak_gb" else memory.get("full")
        rows.append(row(name, memory[path] / against if path in memory and against else None, "<=", limit))
    gradient = 1e-5 if device == "cpu" else 4e-3
    limits = {"logprob_error": 2e-5, "entropy_error": 5e-5}
    limits["mixed_logprob_error"] = 1e-5 if device == "cpu" else 2e-5  # a GPU's product truncates its float32 sums
    limits |= {f"{name}_gradient_error": gradient for name in ("hidden", "weight")}
    limits |= {f"mixed_{name}_gradient_error": 4e-3 for name in ("hidden", "weight")}
    rows += [row(name, value, "<=", limits.get(name)) for name, value in (dict.fromkeys(limits) | wrong).items()]
    rows[0] |= {
        "seconds": {name: statistics.median(each) for name, each in seconds.items() if each},
        "peak_bytes": memory,
    }
    rows[0] |= extra
    return rows


def table(rows: list[dict]) -> str:
    lines = [f"{name:<16} {seconds:9.4f} s" + (f", peak {rows[0]['peak_bytes'][name] / 1e6:8.0f} MB"
             if name in rows[0]["peak_bytes"] else "") for name, seconds in rows[0]["seconds"].items()]  # fmt: skip
    for each in rows:
        lines.append(line(each))
    return "\n".join(lines)


def conditions(given: argparse.Namespace) -> dict:
    """What the figures were taken on, and with what."""
    made = machine(("torch", "triton", "trl", "liger-kernel"))
    made["machine"] |= {
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "gpu": torch.cuda.get_device_name() if given.device == "cuda" else None,
        "bfloat16_pays": products.bfloat16_pays() if given.device == "cpu" else None,
    }
    return made | {"shape": {key: getattr(given, key) for key in ("rows", "dimension", "vocabulary")}}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=SHAPES, default="cpu")
    for name in ("rows", "dimension", "vocabulary", "repeats", "threads"):
        parser.add_argument(f"--{name}", type=int, help="default: by device" if name != "threads" else "default: 1")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--peak", choices=PATHS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if any(number is not None and number < 1 for number in vars(given).values() if isinstance(number, int)):
        parser.error("rows, dimension, vocabulary, repeats and threads must be at least 1")
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here; run it where there is one, or take --device cpu")
    defaults = zip(("rows", "dimension", "vocabulary"), SHAPES[given.device])
    for name, value in (*defaults, ("repeats", REPEATS[given.device]), ("threads", 1)):
        setattr(given, name, getattr(given, name) or value)
    return given


def main() -> int:
    given = arguments()
    torch.set_num_threads(given.threads)
    dtype = torch.float32 if given.device == "cpu" else torch.bfloat16
    shape = (given.dimension, given.vocabulary, given.device, dtype)
    inputs = make(given.rows, *shape)
    if given.peak:
        print(peak(given.peak, inputs))
        return 0
    measured: dict[str, dict] = {"seconds": {}, "memory": {}, "wrong": {}}

    def keep(part: str, figures: dict) -> list[dict]:
        measured[part] = figures
        rows = rows_of(given.device, *measured.values(), conditions(given))
        finish(rows, given.json)
        return rows

    try:
        keep("wrong", errors(min(given.rows, ERROR_ROWS), *shape))
    except NOT_RUN as error:
        print(f"errors: not run ({first_line(error)})", file=sys.stderr, flush=True)
    keep("memory", peaks(given, inputs if given.device == "cuda" else None))
    rows = keep("seconds", measure(inputs, list(PATHS), given.repeats, lambda seconds: keep("seconds", seconds)))
    print(table(rows))
    return finish(rows, given.json)


if __name__ == "__main__":
    sys.exit(main())
