"""Which tokens of a packed row see which others, and what a row costs. Not how rows are made (`r1lab.packing`)."""

import torch
from torch import Tensor


def looks_back_only_so_far(config) -> bool:
    """Whether some layer has a window, whose mask only the model itself can make."""
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    return set(kinds) != {"full_attention"} or getattr(config, "sliding_window", None) is not None


def takes_masks(model) -> bool:
    """Whether a transformers model attends by a boolean mask of ours: scaled dot products over the whole row."""
    return model.config._attn_implementation == "sdpa" and not looks_back_only_so_far(model.config)


def columns_per_token(model) -> float:
    """How many columns of attention cost as much as a token's way through the weights.

    A token costs 2 FLOPs a weight, and 4 x layers x heads x head size a column it is compared with.
    """
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    embedding = model.get_input_embeddings().weight
    weights = sum(weight.numel() for weight in model.parameters()) - embedding.numel()
    return weights / (2 * config.num_hidden_layers * width)


def mask(segments: Tensor) -> Tensor:
    """bool [B, 1, S, S] from segments int64 [B, S]: a token sees its own segment and its prompt, up to itself.

    Padding sees itself alone: a row without anything to see would be NaN.
    """
    size = segments.shape[1]
    before = torch.ones(size, size, dtype=torch.bool, device=segments.device).tril()
    query, key = segments[:, :, None], segments[:, None, :]
    itself = torch.eye(size, dtype=torch.bool, device=segments.device)
    return ((before & ((key == 0) | (key == query)) & (query >= 0)) | itself)[:, None]
