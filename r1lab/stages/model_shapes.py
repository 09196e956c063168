"""Shapes of published models, so that a dry run can count weights and memory where the hub cannot be reached.

The numbers are those of each model's `config.json` on the hub (Qwen2.5: arXiv 2412.15115, table 1). Not weights, and no
tokenizer: nothing here can be trained.
"""

from typing import Any

from transformers import AutoConfig, PretrainedConfig

from r1lab.policy import models

KEYS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")


def _qwen2(*sizes: int, **more: Any) -> dict:
    """The sizes of KEYS, then the context."""
    shape = dict(zip((*KEYS, "max_position_embeddings"), sizes, strict=True))
    return {"model_type": "qwen2", **shape, "vocab_size": 151936, "tie_word_embeddings": True, **more}


LARGE = {"vocab_size": 152064, "tie_word_embeddings": False}
SHAPES = {
    "Qwen/Qwen2.5-0.5B": _qwen2(896, 4864, 24, 14, 2, 32768),
    "Qwen/Qwen2.5-1.5B": _qwen2(1536, 8960, 28, 12, 2, 131072),
    "Qwen/Qwen2.5-3B": _qwen2(2048, 11008, 36, 16, 2, 32768),
    "Qwen/Qwen2.5-7B": _qwen2(3584, 18944, 28, 28, 4, 131072, **LARGE),
    "Qwen/Qwen2.5-32B": _qwen2(5120, 27648, 64, 40, 8, 131072, **LARGE),
    "Qwen/Qwen2.5-Math-1.5B": _qwen2(1536, 8960, 28, 12, 2, 4096),
    "Qwen/Qwen2.5-Math-7B": _qwen2(3584, 18944, 28, 28, 4, 4096, **LARGE),
}
"""Hub id -> what its configuration says of size; what is left out (activations, rotary base) changes no count."""


def config_of(location: str) -> PretrainedConfig:
    """The configuration of a known shape, else of a folder or hub id."""
    shape = dict(SHAPES.get(location, {}))
    return AutoConfig.for_model(shape.pop("model_type"), **shape) if shape else models.load_config(location)
