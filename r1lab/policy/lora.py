"""LoRA (Hu et al. 2021, arXiv:2106.09685) through peft: small matrices are trained beside weights that stay.

The model remains a transformers model of its class. What leaves it, for a folder and for most engines, has the adapter
merged; the adapter alone goes beside, in peft's form, and a resume reads that, so that no rounding of the merge enters
it. vLLM in this process gets the weights below once and then the adapter's matrices alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from r1lab.errors import RecipeError
from r1lab.recipe import LoraConfig

FOLDER = "adapter"
NAME = "default"
PREFIX = "base_model.model."
"""Of the names in peft's files."""
HEAD = "score"
"""A reward model's layer from a hidden state to its score, which is new: it is trained whole beside an adapter."""


@dataclass(frozen=True)
class Adapter:
    """An adapter's settings: with its matrices all that another engine needs to apply it."""

    rank: int
    alpha: float
    layers: tuple[str, ...]
    """The layers adapted, by the names that they have without an adapter."""


def add_adapter(model, lora: LoraConfig, seed: int) -> None:
    """Put an adapter of no effect beside the chosen weights and train it alone, of a reward model also the head; `seed`
    says how its first matrices are drawn. RecipeError where peft finds nothing to adapt."""
    import peft

    head = getattr(model, HEAD, None)

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    # peft's stub wants whole numbers, its scaling is a division.
    options: dict[str, Any] = {"lora_alpha": lora.alpha, "lora_dropout": 0.0, "bias": "none"}
    options |= {"task_type": "CAUSAL_LM"} if head is None else {"task_type": "SEQ_CLS", "modules_to_save": [HEAD]}
    config = peft.LoraConfig(r=lora.rank, target_modules=targets, **options)
    saved, config.modules_to_save = config.modules_to_save, None  # else peft would put a copy in the head's place
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            peft.inject_adapter_in_model(config, model, adapter_name=NAME)
    except ValueError as error:
        reason = str(error).splitlines()[0][:200]
        raise RecipeError(f"lora.targets: {lora.targets!r} does not fit {model.config.model_type}: {reason}") from None
    config.modules_to_save = saved
    if head is not None:
        head.requires_grad_(True)
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    if hasattr(embedding, "base_layer") and output is not None and embedding.base_layer.weight is output.weight:
        raise RecipeError(
            f"lora.targets: {lora.targets!r} adapts the embedding, which is the output layer's weight too, and merged "
            "it would change both; leave it out"
        )
    model.eval()


def adapter_of(model) -> Adapter | None:
    """The adapter of a model, None where it has none."""
    config = getattr(model, "peft_config", {}).get(NAME)
    if config is None:
        return None
    layers = dict.fromkeys(name.rpartition(".lora_")[0] for name, _ in model.named_parameters() if _is_adapter(name))
    return Adapter(config.r, config.lora_alpha, tuple(layers))


def merged_weights(model) -> Iterator[tuple[str, Tensor]]:
    """Weights by the names that the model has without an adapter, which is merged into them; a tied one once."""
    layers = dict(model.named_modules())
    for name, weight in model.named_parameters():
        if _is_adapter(name):
            continue
        owner, base, kind = name.rpartition(".base_layer.")
        if not base:
            yield name, weight.detach()
            continue
        delta = layers[owner].get_delta_weight(NAME) if kind == "weight" else 0.0
        yield f"{owner}.{kind}", (weight + delta).detach()


def base_weights(model, remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
    """The weights below the adapter, by the names that the model has without one."""
    for name, weight in model.named_parameters(remove_duplicate=remove_duplicate):
        if not _is_adapter(name):
            yield name.replace(".base_layer.", "."), weight


def adapter_matrices(model) -> Iterator[tuple[str, Tensor]]:
    """The adapter alone, of a reward model with the head, by the names in peft's files."""
    for name, weight in model.named_parameters():
        if _is_adapter(name) or name.startswith(f"{HEAD}."):
            yield PREFIX + _plain(name), weight


def save(model, folder: Path) -> None:
    """The adapter in peft's form, in a folder of its own below `folder`."""
    (folder / FOLDER).mkdir(exist_ok=True)
    held = {name: weight.detach().contiguous() for name, weight in adapter_matrices(model)}
    save_file(held, folder / FOLDER / "adapter_model.safetensors", metadata={"format": "pt"})
    model.peft_config[NAME].save_pretrained(folder / FOLDER)


def restore(model, folder: Path) -> None:
    """Take the adapter of a folder that `save` wrote."""
    held = load_file(folder / FOLDER / "adapter_model.safetensors")
    with torch.no_grad():
        for name, weight in adapter_matrices(model):
            weight.copy_(held[name])


def _is_adapter(name: str) -> bool:
    return ".lora_" in name


def _plain(name: str) -> str:
    """Without the adapter's name, as peft writes it."""
    return name.replace(f".{NAME}", "")
