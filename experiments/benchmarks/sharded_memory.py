"""How much memory a sharded model takes beside its parts while it is loaded, sent to an engine, saved and resumed.

    python experiments/benchmarks/sharded_memory.py [--layers 16] [--json FILE]

Two processes over gloo, a Llama of random weights whose embedding is a twelfth of it, parts by FSDP2 on a CPU. A figure
is a process's peak memory (VmHWM) within a phase above what it holds before and after, whichever is more. The bar is
two buckets: a bucket is the largest weight in float32, the most that one gather puts together. Nothing is a time.
"""

import argparse
import ctypes
import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bars import finish, line, machine, row

BUCKETS, MIB = 2, 2**20
PHASES = ("load", "load with a reference", "sync", "sync in bfloat16", "checkpoint", "resume", "hand on")


def make_model(folder: Path, layers: int, width: int, vocabulary: int) -> int:
    """A Hugging Face folder; the bytes of its largest weight."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from r1lab import embedded

    shapes = {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": 3 * width,
              "vocab_size": vocabulary, "num_attention_heads": 8, "num_key_value_heads": 4}  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**shapes, tie_word_embeddings=True, eos_token_id=1, pad_token_id=0))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(embedded.path() / name, folder)
    return max(4 * weight.numel() for weight in model.parameters())


def status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(text for text in lines if text.startswith(key)).split()[1])


def held_bytes() -> int:
    """What this process holds, and not what its allocator keeps for later."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return status_bytes("VmRSS")


def above(phase: Callable[[], Any]) -> tuple[int, Any]:
    """Bytes of the peak within a phase above what is held before and after it; what it returns."""
    before = held_bytes()
    Path("/proc/self/clear_refs").write_text("5")
    value = phase()
    peak = status_bytes("VmHWM")
    return peak - max(before, held_bytes()), value


def measured(model: Path, out: Path) -> dict[str, int]:
    """Bytes above, by phase, on this rank."""
    import torch

    from r1lab.distributed import ranks
    from r1lab.policy.policy import Policy
    from r1lab.recipe import RlStageConfig
    from r1lab.run import checkpoint

    torch.set_num_threads(1)
    # Packed attention is tried by a forward pass, which holds two layers and the embedding whole, as any pass does.
    knobs = {"parallel": "fsdp2", "steps": 1, "data": {"task": "addition"}, "attention": "padded"}

    def loaded(needs_ref: bool = False) -> Policy:
        stage = RlStageConfig(**knobs)
        return Policy(str(model), stage, total_updates=1, temperature=1.0, needs_ref=needs_ref)

    def steps(policy: Policy) -> None:
        """AdamW's moments, of no gradient."""
        for weight in policy.model.parameters():
            weight.grad = torch.zeros_like(weight)
        policy.optimizer.step()
        policy.optimizer.zero_grad()

    def sent(policy: Policy, dtype: torch.dtype) -> None:
        policy.engine_dtype = dtype
        for _ in policy.named_tensors():
            pass

    found: dict[str, int] = {}
    found["load"], policy = above(loaded)
    found["load with a reference"], both = above(lambda: loaded(True))
    del both
    steps(policy)
    found["sync"], _ = above(lambda: sent(policy, torch.float32))
    found["sync in bfloat16"], _ = above(lambda: sent(policy, torch.bfloat16))
    folder = out / "rl-1"
    found["checkpoint"], _ = above(lambda: checkpoint.save(folder, {"policy": policy}, policy.save_beside))
    policy.optimizer.state.clear()
    found["resume"], _ = above(lambda: checkpoint.load(folder, {"policy": policy}))
    found["hand on"], _ = above(lambda: checkpoint.save_model(out / "model", policy.save))
    ranks.gather(lambda: None)
    return found


def process(rank: int, port: int, model: Path, out: Path, answers) -> None:
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}  # fmt: skip
    from r1lab.distributed import ranks

    with ranks.session():
        answers.put((rank, measured(model, out)))


def of_both(model: Path, out: Path) -> list[dict[str, int]]:
    """Of either rank."""
    from r1lab.distributed.launch import free_port

    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # what is freed goes back to the machine
    spawn = multiprocessing.get_context("spawn")
    answers, port = spawn.Queue(), free_port()
    both = [spawn.Process(target=process, args=(rank, port, model, out, answers)) for rank in range(2)]
    for each in both:
        each.start()
    found = dict(answers.get(timeout=900) for _ in both)
    for each in both:
        each.join()
    return [found[rank] for rank in range(2)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--vocabulary", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        bucket = make_model(model, options.layers, options.width, options.vocabulary)
        size = (model / "model.safetensors").stat().st_size
        figures = of_both(model, Path(folder))
    rows = [
        row(f"{phase}, rank {rank}: MiB", figures[rank][phase] / MIB, "<=", BUCKETS * bucket / MIB)
        for phase in PHASES
        for rank in range(2)
    ]
    rows[0] |= {"model_bytes": size, "bucket_bytes": bucket} | machine(("r1lab", "torch", "transformers"))
    print(f"model {size / MIB:.0f} MiB, bucket {bucket / MIB:.1f} MiB")
    for each in rows:
        print(line(each, 34))
    return finish(rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
