"""What both sides of the step benchmark agree on: sizes, rewards, and how a worker is spoken to.

Imports nothing heavy, so that neither worker's memory holds what only the other side needs.
"""

import hashlib
import json
import os
import resource
import sys
from dataclasses import dataclass

SEED = 0
LEARNING_RATE = 1e-6
BETAS, EPSILON = (0.9, 0.95), 1e-8
CLIP_LOW, CLIP_HIGH = 0.2, 0.28


@dataclass(frozen=True)
class Work:
    """One side's task; the same on all but for `micro_batch` (TRL's, in sequences), `engine` and `precision` (ours)."""

    model: str
    """embedded or smollm2."""
    folder: str
    """Hugging Face folder; empty: the side `ours` finds it."""
    num_problems: int
    group_size: int
    max_new_tokens: int
    steps: int
    """Steps that the worker is asked for at most."""
    threads: int
    grad_clip: float
    micro_batch_tokens: int
    """Ours."""
    micro_batch: int
    prompts: tuple[str, ...] = ()
    """Rendered, in the order in which `ours` draws them; TRL's data."""
    engine: str = "auto"
    """What samples on our side."""
    precision: str = "float32"
    """Of our side; bf16_autocast: trunk, loss head and, where the engine can, rollouts in bfloat16."""

    @property
    def num_sequences(self) -> int:
        return self.num_problems * self.group_size


def reward(step: int, index: int) -> float:
    """Reward in [0, 1) of sequence `index` of a step, the same on both sides; no two members of a group are equal, so
    that no group is dropped and no sequence is without a gradient."""
    digest = hashlib.blake2b(f"{SEED}/reward/{step}/{index}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32


class Line:
    """JSON objects, one a line, over a worker's own stdin and stdout; what libraries print goes to stderr."""

    def __init__(self):
        self.out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        os.dup2(2, 1)

    def read(self) -> dict | None:
        """The next message; None where the other end is closed."""
        text = sys.stdin.readline()
        return json.loads(text) if text else None

    def write(self, **message) -> None:
        self.out.write(json.dumps(message) + "\n")


def peak_memory_gib() -> float:
    """Of this process, since its start."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
