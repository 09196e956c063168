"""From a model's name to a model and its tokenizer: the embedded one, a Hugging Face folder, or a hub id."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
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


def load_model(location: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The model in evaluation mode: no dropout, so nothing in it reads a global random stream.

    RecipeError for a head that the loss does not compute (a bias, soft-capped or rescaled logits).
    """
    model = _load(AutoModelForCausalLM.from_pretrained, location, "model", dtype=dtype)
    head, config = model.get_output_embeddings(), model.config
    if head is None or getattr(head, "bias", None) is not None:
        raise RecipeError(f"model: {location!r} needs an output head without bias")
    for key in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(config, key, None) not in (None, 1, 1.0):
            raise RecipeError(f"model: {location!r} has {key} = {getattr(config, key)}, which the loss head lacks")
    return model.eval()


def context_length(config) -> int | None:
    """Tokens of prompt and completion together, where the configuration says."""
    return getattr(config, "max_position_embeddings", None)


def _load(function, location: str, what: str, **options):
    try:
        return function(location, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise RecipeError(f"model: no {what} in {location!r}: {reason}") from None
