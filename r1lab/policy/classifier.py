"""Reward models on disk: sequence classifiers of transformers with one label. How one is trained stands in
`r1lab.policy.reward_model`."""

from typing import cast

import torch
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from r1lab.errors import RecipeError
from r1lab.policy import models
from r1lab.policy.lora import HEAD
from r1lab.seeds import derive

PAD_TOKEN = "<|pad|>"
"""Added to a tokenizer that has no special token but those that may end a text."""


def check(location: str) -> None:
    """RecipeError, before anything is written, for what no reward model can start from."""
    config = models.load_config(location)
    if models.is_classifier(config):
        _refuse_labels(config, location)
        models.check_files(location)
    else:
        models.check(location)
    with torch.device("meta"):
        try:
            head_of(AutoModelForSequenceClassification.from_config(_one_label(config)))
        except ValueError as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise RecipeError(f"model: {config.model_type!r} has no sequence classifier: {reason}") from None


def load_classifier(
    location: str, dtype: torch.dtype = torch.float32, seed: int = 0, *, is_empty: bool = False
) -> PreTrainedModel:
    """The model in evaluation mode: a reward model as it is, of a language model its trunk and a new head (`new_head`).
    An empty one has no memory for its weights."""
    config = models.load_config(location)
    if models.is_classifier(config):
        _refuse_labels(config, location)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it would warn that a new head is new
    try:
        with torch.random.fork_rng(devices=[]):
            classes, options = AutoModelForSequenceClassification, {"dtype": dtype, "config": _one_label(config)}
            model = models.from_pretrained(classes, location, "model", **options, **models.device_of(is_empty))
    finally:
        logging.set_verbosity(verbosity)
    head = head_of(model)
    with torch.no_grad():
        for name, drawn in new_head(model, location, seed).items():
            head.get_parameter(name.removeprefix(f"{HEAD}.")).copy_(drawn)
    return model.eval()


def new_head(model: PreTrainedModel, location: str, seed: int) -> dict[str, torch.Tensor]:
    """The weights of the head that a language model has not, by name: drawn from `seed`, normal with deviation
    1 / sqrt(D + 1) (arXiv 2009.01325), and no bias. None of a model that is a reward model already."""
    if models.is_classifier(models.load_config(location)):
        return {}
    head = head_of(model)
    drawn = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(derive(seed, "score head")))
    weights = {f"{HEAD}.weight": drawn / (head.in_features + 1) ** 0.5}
    return weights if head.bias is None else weights | {f"{HEAD}.bias": torch.zeros(head.bias.shape)}


def check_scorer(location: str, label: str | None) -> PretrainedConfig:
    """The configuration of a sequence classifier that scores. RecipeError for a model that is none, or of several
    labels of which none is named."""
    config = models.load_config(location)
    if not models.is_classifier(config):
        raise RecipeError(
            f"{location!r} is no reward model but {(config.architectures or ['a model without a class'])[0]}; name a "
            "sequence classifier, such as what a reward_model stage makes"
        )
    models.check_files(location)
    label_of(config, label, location)
    return config


def label_of(config: PretrainedConfig, label: str | None, location: str) -> int | None:
    """The index of a label by its name; None where there is one alone, whose logit is the score."""
    labels = cast(dict[int, str], config.id2label)
    names = [str(labels[index]) for index in sorted(labels)]
    if config.num_labels == 1 and label in (None, *names):
        return None
    if label not in names:
        raise RecipeError(
            f"label: {label!r} is none of {location!r}, a classifier of {config.num_labels} labels; name one of "
            f"{', '.join(names)}"
        )
    return names.index(label)


def load_scorer(location: str) -> PreTrainedModel:
    """Any sequence classifier as it is, in evaluation mode."""
    return models.from_pretrained(AutoModelForSequenceClassification, location, "model", dtype=torch.float32).eval()


def head_of(model: PreTrainedModel) -> torch.nn.Linear:
    """The layer from a hidden state to the score. RecipeError for a family whose head is another one."""
    head = getattr(model, HEAD, None)  # so do those call it that read the last token; an encoder has a `classifier`
    if type(head) is not torch.nn.Linear or head.out_features != 1:
        raise RecipeError(
            f"model: the classifier of {model.config.model_type} does not read a linear layer `score` behind the last "
            "token, which is what a reward model does here; take a decoder such as llama, qwen2, gemma or mistral"
        )
    return head


def weights_of_a_token(model: PreTrainedModel) -> int:
    """Weights that a token's forward pass multiplies: all but the embedding."""
    embedding = cast(torch.Tensor, model.get_input_embeddings().weight)
    return sum(weight.numel() for weight in model.parameters()) - embedding.numel()


def set_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, turn_end: int | None) -> None:
    """Give model and tokenizer a padding token that ends no text, a new one where there is none: transformers reads the
    score behind the last token that is not padding, and would pass over an end of text of the same id."""
    ends = {turn_end, cast(int | None, tokenizer.eos_token_id)}
    padding = cast(int | None, tokenizer.pad_token_id)
    if padding is None or padding in ends:
        size = cast(torch.Tensor, model.get_input_embeddings().weight).shape[0]
        beside = {*ends, cast(int | None, tokenizer.bos_token_id)}
        special = [number for number in cast(list[int], tokenizer.all_special_ids) if number not in beside]
        others = [number for number in sorted(tokenizer.added_tokens_decoder) if number not in ends]
        found = next((number for number in (*special, *others) if number < size), None)
        token = PAD_TOKEN if found is None else cast(str, tokenizer.convert_ids_to_tokens(found))
        tokenizer.add_special_tokens({"pad_token": token})
        padding = cast(int, tokenizer.pad_token_id)
        if padding >= size:
            model.resize_token_embeddings(padding + 1, mean_resizing=False)
            with torch.no_grad():
                cast(torch.Tensor, model.get_input_embeddings().weight)[size:] = 0.0  # no other token sees it
    model.config.pad_token_id = padding


def _one_label(config: PretrainedConfig) -> PretrainedConfig:
    config.num_labels = 1
    config.id2label, config.label2id = {0: "reward"}, {"reward": 0}
    return config


def _refuse_labels(config: PretrainedConfig, location: str) -> None:
    if config.num_labels != 1:
        raise RecipeError(
            f"model: {location!r} is a classifier of {config.num_labels} labels, and a reward model has one; start "
            "from a language model"
        )
