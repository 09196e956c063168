"""Memory by part of an update of a 1.5B and a 7B model, computed on the meta device. Nothing is measured.

python experiments/benchmarks/loss_head_memory.py
"""

import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from r1lab.kernels import triton_head

ROWS = 16384
"""Trained tokens of a micro-batch."""
GIB = 2**30
SHARED = {"num_hidden_layers": 28, "max_position_embeddings": 32768}
MODELS = {
    "Qwen2.5-1.5B": SHARED | {
        "hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12, "num_key_value_heads": 2,
        "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "Qwen2.5-7B": SHARED | {
        "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4,
        "vocab_size": 152064, "tie_word_embeddings": False,
    },
}  # fmt: skip


def parts(name: str) -> dict[str, int]:
    """Bytes by part: float32 weights under bf16 autocast, AdamW, the Triton head's one pass."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **MODELS[name]), dtype=torch.float32)
    weights = 4 * sum(weight.numel() for weight in model.parameters())
    vocabulary, dimension = model.get_output_embeddings().weight.shape
    chunk = triton_head.chunk_rows(ROWS, vocabulary)
    return {
        "weights": weights,
        "gradients": weights,
        "AdamW's moments": 2 * weights,
        "the engine's copy, bfloat16": weights // 2,
        "head: exponentials": 2 * chunk * vocabulary,
        "head: gradient of its weight": 4 * vocabulary * dimension,
        "head: bfloat16 weight": 2 * vocabulary * dimension,
        "head: gradient of hidden states": 4 * ROWS * dimension,
        "full logits, three float32 copies": 3 * 4 * ROWS * vocabulary,
    }


def main() -> int:
    columns = [parts(name) for name in MODELS]
    print(f"| GiB, {ROWS} trained tokens at once | {' | '.join(MODELS)} |\n|---|{'---|' * len(MODELS)}")
    for key in columns[0]:
        print(f"| {key} | {' | '.join(f'{column[key] / GIB:.2f}' for column in columns)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
