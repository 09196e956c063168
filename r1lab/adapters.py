"""LoRA (Hu et al. 2021, arXiv:2106.09685) through peft: small matrices are trained beside weights that stay.

The model remains a transformers model of its class. What leaves it, for an engine or a folder, has the adapter merged;
the adapter alone goes beside, in peft's form, and a resume reads that, so that no rounding of the merge enters it.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from r1lab.errors import RecipeError
from r1lab.recipe import Lora

FOLDER = "adapter"
NAME = "default"
PREFIX = "base_model.model."
"""Of the names in peft's files."""


def add(model, lora: Lora, seed: int) -> None:
    """Put an adapter of no effect beside the chosen weights and train it alone; `seed` says how its first matrices
    are drawn. RecipeError where peft finds nothing to adapt."""
    from peft import LoraConfig, inject_adapter_in_model

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM"
    )
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, model, adapter_name=NAME)
    except ValueError as error:
        reason = str(error).splitlines()[0][:200]
        raise RecipeError(f"lora.targets: {lora.targets!r} does not fit {model.config.model_type}: {reason}") from None
    model.eval()


def merged(model) -> Iterator[tuple[str, Tensor]]:
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


def save(model, folder: Path) -> None:
    """The adapter in peft's form, in a folder of its own below `folder`."""
    (folder / FOLDER).mkdir(exist_ok=True)
    held = {PREFIX + _plain(name): weight.detach().contiguous() for name, weight in _adapter(model)}
    save_file(held, folder / FOLDER / "adapter_model.safetensors", metadata={"format": "pt"})
    model.peft_config[NAME].save_pretrained(folder / FOLDER)


def restore(model, folder: Path) -> None:
    """Take the adapter of a folder that `save` wrote."""
    held = load_file(folder / FOLDER / "adapter_model.safetensors")
    with torch.no_grad():
        for name, weight in _adapter(model):
            weight.copy_(held[PREFIX + _plain(name)])


def _adapter(model) -> Iterator[tuple[str, Tensor]]:
    return ((name, weight) for name, weight in model.named_parameters() if _is_adapter(name))


def _is_adapter(name: str) -> bool:
    return ".lora_" in name


def _plain(name: str) -> str:
    """Without the adapter's name, as peft writes it."""
    return name.replace(f".{NAME}", "")
