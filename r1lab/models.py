"""From a model's name to a model and its tokenizer: the embedded one, a Hugging Face folder, or a hub id."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from r1lab import embedded
from r1lab.errors import RecipeError

logging.disable_progress_bar()


def locate(name: str, base: Path | None = None) -> str:
    """The folder or hub id behind a recipe's `model`. RecipeError for a folder that is none."""
    if name == "embedded":
        return str(embedded.path())
    for folder in (Path(name), (base or Path.cwd()) / name):
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                raise RecipeError(f"model: {name!r} is no Hugging Face folder: it has no config.json")
            return str(folder)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise RecipeError(f"model: {name!r} is neither 'embedded', nor a folder, nor a hub id such as org/name")
    return name


def load_tokenizer(location: str) -> PreTrainedTokenizerBase:
    """RecipeError in one line where there is none."""
    return _load(AutoTokenizer.from_pretrained, location, "tokenizer")


def load_config(location: str):
    return _load(AutoConfig.from_pretrained, location, "configuration")


def check(location: str) -> None:
    """RecipeError, before anything is written, for a model that cannot be trained here or has no weights."""
    folder = Path(location)
    if folder.is_dir() and not any(path.suffix in (".safetensors", ".bin") for path in folder.iterdir()):
        raise RecipeError(f"model: {location!r} has no weights (*.safetensors or *.bin)")
    for path in folder.glob("*.safetensors"):
        _load(_open, path, "readable weights")
    _check_head(_skeleton(load_config(location)), location)


def load_model(location: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The model in evaluation mode: no dropout, so nothing in it reads a global random stream."""
    model = _load(AutoModelForCausalLM.from_pretrained, location, "model", dtype=dtype)
    _check_head(model, location)
    return model.eval()


def num_parameters(config: PretrainedConfig) -> int:
    """Weights of a model of this configuration."""
    return sum(weight.numel() for weight in _skeleton(config).parameters())


def context_length(config: PretrainedConfig) -> int | None:
    """Tokens of prompt and completion together, where the configuration says."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def _open(path: Path) -> None:
    """Read a weight file's header, which says how long the file must be."""
    with safe_open(path, framework="pt"):
        pass


def _skeleton(config: PretrainedConfig) -> PreTrainedModel:
    """A model without memory for its weights. RecipeError for a configuration of no causal language model."""
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except (ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise RecipeError(f"model: {config.model_type!r} is no causal language model: {reason}") from None


def _check_head(model: PreTrainedModel, location: str) -> None:
    """RecipeError for a head that the loss does not compute: a bias, soft-capped or rescaled logits."""
    head, config = model.get_output_embeddings(), model.config
    if head is None or getattr(head, "bias", None) is not None:
        raise RecipeError(f"model: {location!r} needs an output head without bias")
    for key in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(config, key, None) not in (None, 1, 1.0):
            raise RecipeError(f"model: {location!r} has {key} = {getattr(config, key)}, which the loss head lacks")


def _load(function: Callable, location: str | Path, what: str, **options):
    """What the function makes of a place, or RecipeError in one line."""
    try:
        return function(location, **options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise RecipeError(f"model: no {what} in {str(location)!r}: {reason}") from None
