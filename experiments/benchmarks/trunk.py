"""Seconds of the trunk's forward and backward pass over groups: packed rows with shared prompts beside padded rows.

    python experiments/benchmarks/trunk.py [--json FILE]

A random Llama of SmolLM2-135M's shape, prompts of 128 tokens, 8 completions of each, lengths lognormal and at most 256.
The padded rows hold prompt and completion, a group at a time, as trainers without packing forward them;
`trunk_vs_sorted` is against rows sorted by length over all groups, our own `attention: padded`. All take turns,
A B C A B C, after a turn of warm-up, and their gradients must agree. Not a benchmark of steps (`step.py`): the loss
head is left out.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bars import finish, line, machine, row
from transformers import LlamaConfig, LlamaForCausalLM

from r1lab import attention
from r1lab.policy.packing import pack, sample_tokens
from r1lab.records import PackedBatch, Request, RequestId, Rollout, Sample, Sampling

SHAPE = {
    "vocab_size": 1024, "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9,
    "num_key_value_heads": 3, "max_position_embeddings": 8192, "tie_word_embeddings": True,
}  # fmt: skip
"""SmolLM2-135M's but for the vocabulary, which the trunk only looks up."""
LONGEST, MEDIAN, SPREAD = 256, 54, 0.75
"""Of the completions, in tokens: their mean is about 72."""
CPU = torch.device("cpu")
LIMIT, ERROR = 3.0, 1e-5


def samples_of(groups: int, members: int, prompt: int) -> list[Sample]:
    """Completions of random ids, groups one after another."""
    random, made = np.random.default_rng(0), []
    for group in range(groups):
        ids = tuple(random.integers(0, SHAPE["vocab_size"], prompt).tolist())
        for index in range(members):
            size = int(np.clip(random.lognormal(np.log(MEDIAN), SPREAD), 1, LONGEST))
            request = Request(RequestId("train/rl", group, index), f"p{group}", ids, 0, Sampling())
            tokens = tuple(random.integers(0, SHAPE["vocab_size"], size).tolist())
            numbers = np.ones(size, np.float32)
            rollout = Rollout(request, tokens, numbers.astype(np.int8), numbers, numbers, "eos", "")
            made.append(Sample(rollout, rollout.role, numbers, numbers))
    return made


def paths(samples: list[Sample], members: int, micro_batch_tokens: int) -> dict[str, list[PackedBatch]]:
    """Micro-batches of each way to forward the same samples."""
    alone = [samples[start : start + members] for start in range(0, len(samples), members)]
    return {
        "packed": pack(samples, micro_batch_tokens=micro_batch_tokens, device=CPU, shared=True),
        "padded": [batch for group in alone for batch in pack(group, micro_batch_tokens=10**9, device=CPU)],
        "sorted": pack(samples, micro_batch_tokens=micro_batch_tokens, device=CPU),
    }


def learner(model, batches: list[PackedBatch]) -> Callable[[], None]:
    """Forward and backward through all micro-batches, of a loss that reads every trained row."""
    direction = torch.randn(SHAPE["hidden_size"], generator=torch.Generator().manual_seed(0))

    def learn() -> None:
        model.set_attn_implementation("sdpa" if batches[0].segments is None else attention.NAME)
        model.zero_grad(set_to_none=True)
        for batch in batches:
            hidden = attention.forward(model.base_model, batch.input_ids, batch.position_ids, batch.segments)
            chosen = hidden.flatten(0, 1)[batch.hidden_index]
            ((chosen @ direction) * (batch.target % 7 - 3)).sum().backward()

    return learn


def gradients(model, learn: Callable[[], None]) -> torch.Tensor:
    learn()
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    counts = {"groups": 2, "members": 8, "prompt": 128, "layers": 30, "micro-batch-tokens": 2048, "repeats": 3}
    for name, default in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--json", type=Path, help="write the rows there")
    given = parser.parse_args()
    if any(getattr(given, name.replace("-", "_")) < 1 for name in counts) or given.threads < 0:
        parser.error(f"{', '.join(counts)} must be at least 1, threads at least 0")
    return given


def main() -> int:
    given = arguments()
    threads = given.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=given.layers, **SHAPE)).eval()
    samples = samples_of(given.groups, given.members, given.prompt)
    batches = paths(samples, given.members, given.micro_batch_tokens)
    learners = {name: learner(model, each) for name, each in batches.items()}
    truth = gradients(model, learners["padded"])
    errors = {
        name: float((gradients(model, learners[name]) - truth).norm() / truth.norm()) for name in ("packed", "sorted")
    }
    seconds: dict[str, list[float]] = {name: [] for name in learners}
    for _ in range(given.repeats):
        for name, learn in learners.items():
            start = time.perf_counter()
            learn()
            seconds[name].append(time.perf_counter() - start)
    tokens = {name: sum(batch.input_ids.numel() for batch in each) for name, each in batches.items()}

    def ratio(name: str) -> float:
        return statistics.median(other / own for other, own in zip(seconds[name], seconds["packed"], strict=True))

    figures = {"seconds": seconds, "tokens": tokens, "own_tokens": sum(map(sample_tokens, samples)), "threads": threads}
    work = {key: value for key, value in vars(given).items() if key not in ("json", "threads")}
    rows = [
        row("trunk_vs_padded", ratio("padded"), ">=", LIMIT) | figures | {"work": work} | machine(("torch",)),
        row("trunk_vs_sorted", ratio("sorted"), ">=", None),
        row("gradient_error", errors["packed"], "<=", ERROR),
        row("sorted_gradient_error", errors["sorted"], "<=", ERROR),
    ]
    for name, times in seconds.items():
        print(f"{name:<22} {tokens[name]:>6} tokens  {statistics.median(times):.3f} s", flush=True)
    print("\n".join(line(each, 22) for each in rows))
    return finish(rows, given.json)


if __name__ == "__main__":
    sys.exit(main())
