"""Every check and benchmark of the loss head that needs a GPU, in one run of at most eight minutes.

    python experiments/benchmarks/loss_head_gpu.py [--out experiments/results/loss_head]

Compiled kernels against float64 first (values, gradients, confident tokens, drift of the anchor, two equal runs), then
`loss_head.py --device cuda` on the shape of a 1.5B model's head and on SmolLM2's. Writes gpu.json and gpu.md with the
machine's name after every part, and what the benchmarks say on stderr. Exit code 1 where a check or a limit is missed.
Needs torch and Triton alone, and no installation. The tests run the same kernels in Triton's interpreter.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TRITON_INTERPRET", "0")  # read where Triton is imported

import torch
from bars import finish, row
from loss_head_paths import Given, make

from r1lab import kernels

DEVICE = "cuda"
SHAPES = {"1.5B": (), "smollm2": ("--rows", "16384", "--dimension", "576", "--vocabulary", "49152")}
"""Arguments of `loss_head.py`."""
GRIDS = [(40, 64, 64), (300, 1000, 576), (130, 257, 896), (64, 49152, 576), (64, 151936, 896)]
"""Rows, vocabulary, dimension."""
SHAPE = 64, 576, 1000
"""Rows, dimension, vocabulary where the grid is not what is checked."""


def reference(given: Given, weight_of: tuple[float, float]) -> tuple[torch.Tensor, ...]:
    """logp, entropy and both gradients in float64 of a loss a logp + u entropy."""
    h, w = (each.double().requires_grad_() for each in (given.hidden, given.weight))
    logps = (h @ w.t()).log_softmax(-1)
    logp, entropy = logps.gather(1, given.target[:, None])[:, 0], -(logps.exp() * logps).sum(-1)
    loss = (given.advantage * (weight_of[0] * logp + weight_of[1] * entropy)).sum()
    return logp.detach(), entropy.detach(), *torch.autograd.grad(loss, (h, w))


def ours(given: Given, weight_of: tuple[float, float], anchor: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    def spec(logp, entropy, at):
        loss = weight_of[0] * logp
        return given.advantage[at] * (loss + weight_of[1] * entropy if weight_of[1] else loss)

    hidden, weight = given.leaves()
    head = kernels.policy_head(hidden, weight, given.target, spec, anchor=anchor, kernel="triton")
    head.loss.backward()
    return head.logp, head.entropy, hidden.grad, weight.grad


def confident(given: Given, p: float) -> Given:
    """The same with hidden states along the target's weights until its probability is p, by bisection."""
    low, high = (torch.full((len(given.target), 1), end, device=DEVICE) for end in (0.0, 300.0))
    own, weight = given.weight[given.target].double(), given.weight.double()
    for _ in range(60):
        middle = (low + high) / 2
        logits = (0.3 * given.hidden.double() + middle * own) @ weight.t()
        above = logits.softmax(-1).gather(1, given.target[:, None]) > p
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    hidden = (0.3 * given.hidden.double() + high * own).to(given.hidden.dtype)
    return Given(hidden, given.weight, given.target, given.old, given.advantage)


def differences(given: Given, weight_of: tuple[float, float], anchor: torch.Tensor | None) -> dict[str, float]:
    found, truth = ours(given, weight_of, anchor), reference(given, weight_of)
    made = {name: (a - b).abs().max().item() for name, a, b in zip(("logp", "entropy"), found, truth)}
    for name, a, b in zip(("hidden", "weight"), found[2:], truth[2:]):
        made[name] = ((a.double() - b).norm() / b.norm().clamp(min=1e-30)).item()
    return made


def attempted(name: str, rows: Iterator[dict]) -> Iterator[dict]:
    """The rows, and one more that does not hold where making them ends in an error: the next part still runs."""
    try:
        yield from rows
    except Exception as error:  # out of memory, or whatever a compiler says
        yield row(f"{name}: {type(error).__name__} {' '.join(str(error).split())[:200]}", None, "<=", 0)
        if DEVICE == "cuda":
            torch.cuda.empty_cache()


def checks() -> Iterator[dict]:
    """Rows of what was compared, the largest difference, the limit."""
    for dtype, limit in ((torch.float32, 1e-5), (torch.bfloat16, 4e-3)):
        for grid in GRIDS:
            name = f"{str(dtype).removeprefix('torch.')} {grid[0]}x{grid[2]}x{grid[1]}"
            yield from attempted(name, _on_grid(name, dtype, limit, *grid))
    yield from attempted("anchor and confidence", _by_anchor())


def _on_grid(name: str, dtype: torch.dtype, limit: float, rows: int, vocabulary: int, dimension: int) -> Iterator[dict]:
    given = make(rows, dimension, vocabulary, DEVICE, dtype)
    for slopes in ((1.0, 0.0), (1.0, 0.3)):
        found = differences(given, slopes, given.old)
        yield row(f"{name} slopes {slopes} logp", found["logp"], "<=", 2e-5)
        yield row(f"{name} slopes {slopes} entropy", found["entropy"], "<=", 5e-5)
        yield row(f"{name} slopes {slopes} gradients", max(found["hidden"], found["weight"]), "<=", limit)


def _by_anchor() -> Iterator[dict]:
    given = make(*SHAPE, DEVICE, torch.bfloat16)
    for drift in (0.0, 5.0, 40.0, 200.0):
        yield row(f"anchor off by {drift}: logp", differences(given, (1.0, 0.0), given.old - drift)["logp"], "<=", 2e-5)
    for p in (0.9, 0.99, 0.999, 0.9999):
        found = differences(confident(given, p), (1.0, 0.0), None)
        yield row(f"confident {p}: gradients", max(found["hidden"], found["weight"]), "<=", 5e-3)
    runs = [ours(given, (1.0, 0.3), given.old) for _ in range(2)]
    yield row("two runs differ", float(not all(torch.equal(a, b) for a, b in zip(*runs))), "<=", 0.0)


def benchmark(folder: Path, name: str, seconds: float) -> list[dict]:
    """The rows of `loss_head.py` on a shape, as far as it came; one more where it did not come to its end."""
    file, said = folder / f"gpu-{name}.json", folder / f"gpu-{name}.stderr"
    file.unlink(missing_ok=True)
    script = str(Path(__file__).with_name("loss_head.py"))
    command = [sys.executable, script, "--device", "cuda", "--json", str(file), *SHAPES[name]]
    fault = ""
    try:
        with said.open("w", encoding="utf-8") as stderr:
            subprocess.run(command, timeout=seconds, stderr=stderr)
    except (subprocess.TimeoutExpired, OSError) as error:
        fault = str(error)
    rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    if not rows or fault:
        lines = said.read_text(encoding="utf-8").splitlines() if said.exists() else []
        print(f"{name}: {fault or 'failed'}; {said} ends:", *lines[-5:], sep="\n  ", file=sys.stderr, flush=True)
        rows.append(row("benchmark to its end", None, "<=", 0))
    return [each | {"name": f"{name} {each['name']}"} for each in rows]


def page(rows: list[dict], seconds: float) -> str:
    """The table in Markdown."""
    lines = [f"# The loss head on one {torch.cuda.get_device_name()}", "", f"{seconds:.0f} s in all.", ""]
    lines += ["| what | value | limit | holds |", "|---|---|---|---|"]
    for each in rows:
        value = "not run" if each["value"] is None else f"{each['value']:.4g}"
        limit = "" if each["limit"] is None else f"<= {each['limit']}"
        lines.append(f"| {each['name']} | {value} | {limit} | {'yes' if each['holds'] else 'NO'} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("experiments/results/loss_head"))
    parser.add_argument("--seconds", type=float, default=200, help="deadline of the benchmark on each shape")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("torch sees no GPU here; the kernels are tested without one by pytest tests/kernels")
    given.out.mkdir(parents=True, exist_ok=True)
    start, rows = time.monotonic(), []

    def keep() -> int:
        (given.out / "gpu.md").write_text(page(rows, time.monotonic() - start), encoding="utf-8")
        return finish(rows, given.out / "gpu.json")

    for each in checks():
        value = "not run" if each["value"] is None else f"{each['value']:.3g}"
        print(f"{'ok    ' if each['holds'] else 'MISSED'} {each['name']}: {value}", flush=True)
        rows.append(each)
        keep()
    for name in SHAPES:
        rows += benchmark(given.out, name, given.seconds)
        keep()
    print(page(rows, time.monotonic() - start))
    return keep()


if __name__ == "__main__":
    sys.exit(main())
