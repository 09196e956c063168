"""From a model's name to a model and its tokenizer: the embedded one, a Hugging Face folder, or a hub id."""

import copy
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, logging

from r1lab.errors import RecipeError
from r1lab.policy.location import code_of, is_remote_code_trusted, model_hint
from r1lab.records import Rollout
from r1lab_data.files import probe
from r1lab_data.problem import DataError

logging.disable_progress_bar()

SCALES = {"logit_scale": (("cohere",), 1), "logits_scaling": (("granite",), -1)}
"""Keys of a configuration that multiply the logits (1) or divide them (-1), and the families where they do so."""


_COUNTED: dict[str, int] = {}
"""Weights by configuration."""
_READ: dict[tuple[str, bytes], PretrainedConfig] = {}
"""Configurations by their folder and file."""


@dataclass(frozen=True, eq=False)
class OutputLayer:
    """logits = scale (hidden weight^T + bias), soft-capped where `softcap` is set: then scale is 1."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    softcap: float | None
    scale: float


def load_tokenizer(location: str) -> PreTrainedTokenizerBase:
    """RecipeError in one line where there is none."""
    return from_pretrained(AutoTokenizer, location, "tokenizer")


def load_config(location: str):
    """A run asks for it in several places: what transformers makes of a folder's file is kept while that is the same.
    Code that the model brings along runs each time."""
    file = Path(location) / CONFIG_NAME
    if is_remote_code_trusted() or not (file.is_file() and os.access(file, os.R_OK)):
        return from_pretrained(AutoConfig, location, "configuration")
    key = location, file.read_bytes()
    if key not in _READ:
        _READ[key] = from_pretrained(AutoConfig, location, "configuration")
    return copy.deepcopy(_READ[key])


def check(location: str) -> None:
    """RecipeError, before anything is written, for a model that cannot be trained here or has no weights."""
    check_files(location)
    config = load_config(location)
    refuse_classifier(config, location)
    check_shape(config)


def check_files(location: str) -> None:
    """RecipeError for a folder without weights that can be read."""
    folder = Path(location)
    if folder.is_dir() and not any(path.suffix in (".safetensors", ".bin") for path in folder.iterdir()):
        raise RecipeError(f"model: {location!r} has no weights (*.safetensors or *.bin)")
    for path in folder.glob("*.safetensors"):
        _load(_open, path, "readable weights")


def is_classifier(config: PretrainedConfig) -> bool:
    """Whether its weights are those of a sequence classifier, such as a reward model."""
    return any("ForSequenceClassification" in name for name in getattr(config, "architectures", None) or ())


def refuse_classifier(config: PretrainedConfig, location: str) -> None:
    """RecipeError for a reward model where a language model is needed: its output layer would be made up."""
    if is_classifier(config):
        raise RecipeError(
            f"model: {location!r} is a reward model ({(config.architectures or [''])[0]}), which scores text and "
            "writes none; name the policy that it was trained from, or another language model"
        )


def check_shape(config: PretrainedConfig) -> None:
    """RecipeError for a model whose last layer the loss head does not compute, by its configuration alone."""
    output_layer(_skeleton(config))


def load_model(location: str, dtype: torch.dtype = torch.float32, *, is_empty: bool = False) -> PreTrainedModel:
    """The model in evaluation mode: no dropout, so nothing in it reads a global random stream. An empty one has no
    memory for its weights."""
    refuse_classifier(load_config(location), location)
    model = from_pretrained(AutoModelForCausalLM, location, "model", dtype=dtype, **device_of(is_empty))
    output_layer(model)
    return model.eval()


def device_of(is_empty: bool) -> dict[str, str]:
    """What `from_pretrained` is told for a model without memory for its weights."""
    return {"device_map": "meta"} if is_empty else {}


def weight_files(location: str) -> list[Path]:
    """The safetensors files that a model is read from, in a folder or the hub's cache; none where there are none."""
    folder = Path(location)
    if not folder.is_dir():
        cached = try_to_load_from_cache(location, "config.json")
        if not isinstance(cached, str):
            return []
        folder = Path(cached).parent
    if (folder / SAFE_WEIGHTS_NAME).is_file():
        return [folder / SAFE_WEIGHTS_NAME]
    try:
        index = json.loads((folder / SAFE_WEIGHTS_INDEX_NAME).read_text(encoding="utf-8"))
        return sorted({folder / name for name in index["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def is_as_stored(model: PreTrainedModel) -> bool:
    """Whether a model that was read has the weights of its files, not what transformers makes of them on the way in
    and undoes on the way out (experts stacked, parts renamed)."""
    return getattr(model, "_weight_conversions", None) == []


def num_parameters(config: PretrainedConfig) -> int:
    """Weights of a model of this configuration; counted once, which takes a second for a large one."""
    key = f"{type(config).__name__} {config.to_json_string()}"
    if key not in _COUNTED:
        _COUNTED[key] = sum(weight.numel() for weight in _skeleton(config).parameters())
    return _COUNTED[key]


def weights_of_a_token(model: PreTrainedModel) -> int:
    """Weights that a token's forward pass multiplies: all but an untied input embedding."""
    total = sum(weight.numel() for weight in model.parameters())
    embedding = cast(torch.Tensor, model.get_input_embeddings().weight)
    return total if embedding is output_layer(model).weight else total - embedding.numel()


def weights_by_config(config: PretrainedConfig) -> int:
    """The same of a model of this configuration."""
    return weights_of_a_token(_skeleton(config))


def context_length(config: PretrainedConfig) -> int | None:
    """Tokens of prompt and completion together, where the configuration says."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def stops_at(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, turn_end: int | None) -> None:
    """Have the model end a completion at `turn_end` too, here and in the folder that is saved of it."""
    config = model.generation_config
    listed = getattr(config, "eos_token_id", None)
    listed = [] if listed is None else [listed] if isinstance(listed, int) else list(listed)
    if config is not None and turn_end is not None and turn_end not in (*listed, tokenizer.eos_token_id):
        config.eos_token_id = [*listed, turn_end]


def text_of_prompt(tokenizer: PreTrainedTokenizerBase, rollout: Rollout) -> str:
    """The prompt for people, as the model reads it."""
    return cast(str, tokenizer.decode(list(rollout.request.prompt_ids), skip_special_tokens=False))


def weights_digest(location: str) -> str:
    """A digest of every file that decides what a folder's model writes; of a hub id, the commit of its
    configuration."""
    folder = Path(location)
    if not folder.is_dir():
        return str(getattr(load_config(location), "_commit_hash", None))
    state = hashlib.blake2b(digest_size=12)
    for path in sorted(_weighty(folder)):
        state.update(f"{path.name}\n".encode())
        with path.open("rb") as file:
            while part := file.read(1 << 22):
                state.update(part)
    return state.hexdigest()


def _weighty(folder: Path) -> Sequence[Path]:
    kinds = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")
    return [path for path in folder.iterdir() if path.suffix in kinds and path.is_file()]


def _open(path: Path) -> None:
    """Read a weight file's header, which says how long the file must be."""
    with safe_open(path, framework="pt"):
        pass


def _skeleton(config: PretrainedConfig) -> PreTrainedModel:
    """A model without memory for its weights. RecipeError for a configuration of no causal language model."""
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=is_remote_code_trusted())
    except (ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise RecipeError(f"model: {config.model_type!r} is no causal language model: {reason}") from None


def output_layer(model: PreTrainedModel) -> OutputLayer:
    """What the loss head must know of the model's last layer. RecipeError for one that it does not compute."""
    head, config = model.get_output_embeddings(), model.config.get_text_config()
    if type(head) is not torch.nn.Linear:
        raise RecipeError(
            f"model: its output layer is {type(head).__name__}, and the loss head computes a plain Linear; "
            "merge an adapter on it, or leave lm_head out of its target modules"
        )
    scale = 1.0
    for key, (families, power) in SCALES.items():
        value = getattr(config, key, None) or 1.0
        if value != 1.0 and not config.model_type.startswith(families):
            raise RecipeError(f"model: {config.model_type} has {key} = {value}, which the loss head does not compute")
        scale *= value**power
    softcap = getattr(config, "final_logit_softcapping", None)
    if softcap and not config.model_type.startswith("gemma"):
        raise RecipeError(f"model: {config.model_type} has final_logit_softcapping = {softcap}, which is not computed")
    return OutputLayer(head.weight, head.bias, softcap, scale)


def from_pretrained(auto_class: Any, location: str, what: str, **options):
    """The same of transformers' classes. Code that the model brings along runs only where somebody vouched for it."""
    options["trust_remote_code"] = is_remote_code_trusted()  # None would be a question at the terminal
    try:
        return _load(auto_class.from_pretrained, location, what, **options)
    except RecipeError as error:
        if not isinstance(error.__context__, ValueError) or "trust_remote_code" not in str(error.__context__):
            raise
        files = ", ".join(str(Path(location) / name) for name in code_of(location)) or "its repository"
        raise RecipeError(
            f"model: {location!r} brings code of its own ({files}), which is not run; if you have read it and trust "
            "it, set trust_remote_code: true in the recipe, or give --trust-remote-code"
        ) from None


@cache
def _hub_is_gone() -> bool:
    """Whether the hub does not answer; asked once, since transformers asks again and again for half a minute."""
    if os.environ.get("HF_HUB_OFFLINE"):
        return False  # it does not ask either
    try:
        probe("hub")
    except DataError:
        return True
    return False


def _load(function: Callable, location: str | Path, what: str, **options):
    """What the function makes of a place, or RecipeError in one line."""
    if isinstance(location, str) and not Path(location).is_dir() and _hub_is_gone():
        try:
            return function(location, local_files_only=True, **options)
        except (OSError, ValueError):
            raise RecipeError(
                f"model: {location!r} is no folder here and not in the cache, and the hub cannot be reached; name a "
                f"folder{model_hint(location)}"
            ) from None
    try:
        return function(location, **options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        hint = "" if Path(location).exists() else model_hint(str(location))
        raise RecipeError(f"model: no {what} in {str(location)!r}: {reason}{hint}") from None
