"""Measure a step: seconds by phase, and the FLOPs of its update as a share of what this machine multiplies at best.

All of it goes into keys under `time/`. Measures; decides nothing.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a recipe is checked without torch
    import torch

PHASES = (
    "rollout", "verify", "score", "pack", "forward", "backward", "optimizer", "quiet", "sync", "record", "evaluate",
)  # fmt: skip
"""Of a step; together they are its time. `update` is what from pack to optimizer takes."""
CPU_SIZE, GPU_SIZE, TRIES = 1024, 8192, 24
"""Of the matrices that are multiplied, and how often: about half a second, since a busy machine only slows."""


class Watch:
    """Seconds by phase and FLOPs, added up until they are taken."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.flops = 0

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add what the block takes; on a GPU its work is waited for."""
        start = time.perf_counter()
        try:
            yield
        finally:
            torch = sys.modules.get("torch")
            if torch is not None and torch.cuda.is_initialized():
                torch.cuda.synchronize()
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start

    def take(self) -> tuple[dict[str, float], int]:
        """What was added since the last time."""
        taken = self.seconds, self.flops
        self.seconds, self.flops = {}, 0
        return taken


def details(seconds: Mapping[str, float], learning: Watch, sampling: Watch, *, peak: float) -> dict[str, float | None]:
    """Metrics beside the loop's own phases (`seconds`): those of the update, and what of the rollout was sampling and
    what was waiting for verdicts; for how long nothing sampled; tokens' FLOPs of the update as a share of `peak` (FLOPs
    a second). What was sampled beside the step is not waited for, and no phase of it."""
    learned, flops = learning.take()
    (sampled, _), update = sampling.take(), seconds.get("update", 0.0)
    rollout = seconds.get("rollout", 0.0)
    values = {f"time/{phase}": learned.get(phase, 0.0) for phase in ("pack", "forward", "backward", "optimizer")}
    sampled_seconds = min(rollout, sampled.get("rollout", rollout))
    idle = sum(seconds.values()) - sampled["rollout"] if "rollout" in sampled else None
    waited = {"time/tools": sampled["tools"]} if "tools" in sampled else {}
    return (
        values
        | waited
        | {
            "time/rollout": max(0.0, sampled_seconds - sampled.get("tools", 0.0)),
            "time/rollout_idle": idle,
            "time/verify": max(0.0, rollout - sampled_seconds),
            "time/mfu": flops / peak / update if flops and update else None,
            "time/matmul_tflops": peak / 1e12,
        }
    )


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs a second of a large square product with the threads of now; tried once in a process."""
    import torch

    return _rate(device.type, dtype, torch.get_num_threads())


@functools.cache
def _rate(device: str, dtype: torch.dtype, threads: int) -> float:
    import torch

    size = GPU_SIZE if device == "cuda" else CPU_SIZE
    random = torch.Generator(device).manual_seed(0)  # constants cost a GPU less power, and so run faster than data
    matrix = torch.randn(size, size, generator=random, device=device).to(dtype)
    tries, product = [], torch.empty_like(matrix)
    for _ in range(TRIES):
        start = time.perf_counter()
        torch.mm(matrix, matrix, out=product)
        if device == "cuda":
            torch.cuda.synchronize()
        tries.append(time.perf_counter() - start)
    return 2 * size**3 / min(tries)
