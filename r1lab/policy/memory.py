"""Estimate the GPU memory that a stage takes, by purpose and phase, from the model's configuration. Nothing is
measured, and nothing is known of what an allocator loses.

A step has two phases: while completions are sampled the engine is awake, and while the policy learns it sleeps. The
figures of activations are fitted to those of a Qwen2 block under bfloat16 autocast, counted by hand.
"""

import importlib.util
from dataclasses import dataclass

from transformers import PretrainedConfig

from r1lab.kernels.torch_head import GPU_CHUNK_BYTES
from r1lab.policy import models
from r1lab.recipe import TrainStageConfig

GIB = 2**30
CARDS = {
    "t4": 14.6, "l4": 22.0, "a10g": 22.0, "4090": 23.5, "5090": 31.4, "a100-40": 39.4, "l40s": 44.4, "a100": 79.2,
    "h100": 79.1, "h200": 139.8, "b200": 178.3,
}  # fmt: skip
"""Memory in GiB as torch tells it, by the name that --device takes."""
USABLE_SHARE = 0.95
"""Of a card: the rest is lost between blocks of the allocator."""
CONTEXT_BYTES = 2 * GIB
"""CUDA's context, cuBLAS's and NCCL's buffers, compiled kernels."""
ASLEEP_BYTES = GIB
"""What vLLM keeps while it sleeps: buffers, captured graphs."""
NUMBERS_OF_WIDTH, NUMBERS_OF_INNER = 10, 4
"""Of a token that a layer keeps for its backward pass, in its hidden and inner sizes."""
MIXED_BYTES = 2.5
"""Of such a number under autocast: most are bfloat16, norms and rotations float32."""
PROJECTIONS = 7
"""Matrices of a layer that an adapter stands beside: four of attention's, three of the inner size."""


@dataclass(frozen=True)
class Need:
    """Estimated bytes of one process by purpose, in each phase of a step."""

    update: dict[str, float]
    rollout: dict[str, float]

    @property
    def peak(self) -> float:
        return max(sum(self.update.values()), sum(self.rollout.values()))

    def fits(self, card_bytes: float) -> bool:
        return self.peak <= USABLE_SHARE * card_bytes


def activations(config: PretrainedConfig, stage: TrainStageConfig, *, mixed: bool, tokens: int | None = None) -> float:
    """Bytes that a micro-batch keeps for its backward pass: all, or each layer's input and one layer's numbers."""
    text = config.get_text_config()
    tokens, layers, width = tokens or stage.micro_batch_tokens, text.num_hidden_layers, text.hidden_size
    inner = getattr(text, "intermediate_size", 4 * width)
    size = MIXED_BYTES if mixed else 4
    of_layer = size * tokens * (NUMBERS_OF_WIDTH * width + NUMBERS_OF_INNER * inner)
    return 4 * tokens * layers * width + of_layer if stage.activation_checkpointing else layers * of_layer


def need(
    config: PretrainedConfig,
    stage: TrainStageConfig,
    *,
    needs_ref: bool,
    reference: PretrainedConfig | None = None,
    engine: str,
    card_bytes: float,
    keys_bytes: float = 0,
    processes: int = 1,
    tokens: int | None = None,
) -> Need:
    """Of each process on a GPU. `reference` is another model than the policy's start; `engine` is its name, "" where
    nothing samples; `keys_bytes` are its keys and values (vLLM has a share of the card in their place); `processes`
    share the weights where there are several. A micro-batch has `tokens`, at least one sequence, where that is more
    than the recipe's."""
    text, numbers = config.get_text_config(), models.num_parameters(config)
    size = 2 if stage.precision == "pure_bf16" else 4
    is_mixed = stage.precision in ("auto", "bf16_autocast")
    compute = 2 if is_mixed else size
    of_reference = 2 if stage.reference_precision == "bf16" else compute
    trained = numbers if stage.lora is None else adapter_numbers(config, stage.lora.rank)
    states = {
        "weights": size * numbers / processes,
        "moments": 2 * size * trained / processes,
        "reference": of_reference * models.num_parameters(reference or config) / processes if needs_ref else 0,
        "CUDA": CONTEXT_BYTES,
    }
    embedding = text.vocab_size * text.hidden_size
    head = 2 * GPU_CHUNK_BYTES + (4 + compute) * embedding
    update = states | {
        "gradients": size * trained / processes,
        "bfloat16 copies": 2 * numbers / processes if is_mixed else 0,
        "layers gathered": _gathered(config, size) if processes > 1 else 0,
        "activations": activations(config, stage, mixed=compute == 2, tokens=tokens),
        "loss head": head,
        "engine asleep": ASLEEP_BYTES if engine == "vllm" else 0,
    }
    in_vllm = stage.engine.gpu_memory_utilization * card_bytes
    in_local = compute * numbers + keys_bytes if engine == "local" else 0
    rollout = states | {
        "engine": in_vllm if engine == "vllm" else in_local,
        "weights on their way": compute * numbers if processes > 1 and engine else 0,
    }
    return Need(update, rollout)


def adapter_numbers(config: PretrainedConfig, rank: int) -> int:
    """Of an adapter beside every linear layer, at most."""
    text = config.get_text_config()
    width, inner = text.hidden_size, getattr(text, "intermediate_size", 4 * text.hidden_size)
    return text.num_hidden_layers * rank * (4 * 2 * width + (PROJECTIONS - 4) * (width + inner))


def likely_engine(stage: TrainStageConfig) -> str:
    """The engine that has most of the memory, where it is not chosen yet."""
    if stage.engine.kind != "auto":
        return stage.engine.kind
    return "vllm" if importlib.util.find_spec("vllm") else "local"


def _gathered(config: PretrainedConfig, size: int) -> float:
    """Weights that are whole on each process for a while: two layers, embedding and output layer."""
    text, numbers = config.get_text_config(), models.num_parameters(config)
    ends = (1 if config.tie_word_embeddings else 2) * text.vocab_size * text.hidden_size
    return size * (ends + 2 * (numbers - ends) / text.num_hidden_layers)
