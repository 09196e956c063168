"""Attention over packed rows, in which a prompt stands once before its completions, for any model of transformers
that attends through its attention interface. Not how rows are packed (`r1lab.policy.packing`).

A CPU attends segment by segment (`segments`), a GPU through FlexAttention (`flex`). `use_packed_attention` switches a
model to it where a try shows that it then computes what it computed before; any other is forwarded in padded rows.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from r1lab.attention import segments
from r1lab.attention.parts import row_length, row_positions
from r1lab.errors import RunError
from r1lab.records import Segment

NAME = "r1lab_packed"
TOLERANCE = 1e-3
"""Of the try, relative to the largest hidden state: rounding is far below it in float32, a wrong mask far above."""
LOW_TOLERANCE = 0.1
"""The same for bfloat16 weights."""
KNOWN = {"position_ids", "cache_position", "use_cache", "output_attentions", "is_causal", "softcap"}
"""Further arguments that change nothing here; scaled dot products of transformers ignore them too."""
KINDS = {"full_attention", "sliding_attention"}
TRY = (Segment(4, (3, 2)), Segment(2, (3,)))


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    packed: Sequence[Segment] | None = None,
    windows: set[int | None] | None = None,
    **others,
) -> tuple[Tensor, None]:
    """The attention function of transformers' interface: query [B, H, L, d], key and value [B, H_kv, L, d] to
    [B, L, H, d]. Without `packed` it is transformers' own; with it B is 1 and the row consists of these segments.

    `windows` is told each layer's. TypeError for what it does not compute (attention sinks, position biases, dropout).
    """
    if packed is None:
        others |= {"sliding_window": sliding_window}
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **others
        )
    strange = sorted(name for name, given in others.items() if given is not None and name not in KNOWN)
    if strange or dropout:
        raise TypeError(f"packed attention does not know {', '.join(strange) or 'dropout'}")
    if windows is not None:
        windows.add(sliding_window)
    query, key, value = _alike(query, key, value)
    if query.device.type == "cuda":
        from r1lab.attention import flex  # compiles where it is used only

        return flex.attend(query, key, value, packed, window=sliding_window, scale=scaling), None
    return segments.attend(query, key, value, packed, window=sliding_window, scale=scaling), None


def kinds_of(config) -> set[str]:
    """Kinds of attention of a model's layers."""
    config = config.get_text_config()
    has_window = getattr(config, "sliding_window", None) is not None
    return set(getattr(config, "layer_types", None) or ["sliding_attention" if has_window else "full_attention"])


def has_sliding_window(config) -> bool:
    """Whether some layer has a window, or anything else that is not plain causal attention."""
    config = config.get_text_config()
    return kinds_of(config) != {"full_attention"} or getattr(config, "sliding_window", None) is not None


def _alike(*tensors: Tensor) -> list[Tensor]:
    """In one precision, autocast's where it is on: rotated queries are float32 beside bfloat16 values."""
    device = tensors[0].device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensors[0].dtype
    return [tensor.to(dtype) for tensor in tensors]


def no_mask(*_, **__) -> None:
    """The mask function that belongs to `attend`, which needs no mask beside the segments."""


def forward(
    trunk, input_ids: Tensor, position_ids: Tensor | None, packed: Sequence[Segment] | None, **others
) -> Tensor:
    """Last hidden states [B, L, D] of int64 [B, L] by a model without its head; a packed row where it was switched to
    `attend`, or padded ones."""
    given = {} if packed is None else {"packed": tuple(packed), **others}
    return trunk(
        input_ids=input_ids, attention_mask=None, position_ids=position_ids, use_cache=False, **given
    ).last_hidden_state


def use_packed_attention(model, say: Callable[[str], object] = lambda _: None, trunk: Callable | None = None) -> bool:
    """Switch a model to `attend`; False, and the model as it was, where it does not compute the same through it, and
    `say` is told why. `trunk` runs the model without its output layer, where that is not its base model.

    What is tried is a row of two prompts, one with two completions, against each of these on its own. RunError on a
    GPU for an error other than a model's own way of attending: there padded rows would hide that nothing compiles.
    """
    before = model.config._attn_implementation
    if before != "sdpa" or kinds_of(model.config) - KINDS:
        return False
    model.set_attn_implementation(NAME)
    why = ""
    try:
        why = "" if _same(model, before, trunk or model.base_model) else "it computes otherwise in packed rows"
    except (TypeError, ValueError, RuntimeError, KeyError, IndexError, AttributeError) as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"  # whatever it does, it is not this
        if model.device.type == "cuda" and not isinstance(error, TypeError):
            raise RunError(
                f"attention: packed rows do not run on this GPU: {why}; r1lab doctor looks for what is missing, and "
                "attention: padded goes without them"
            ) from error
    if why:
        model.set_attn_implementation(before)
        say(f"attention in padded rows, which compute a group's prompt for each completion: {why}")
    return not why


@torch.no_grad()
def _same(model, before: str, trunk: Callable) -> bool:
    """Whether the last token of each completion of `TRY` is what it is in a row of its own, and the layers that have
    a window say so."""
    config, windows = model.config.get_text_config(), set()
    weight = model.get_input_embeddings().weight
    tokens = torch.arange(row_length(TRY), device=weight.device) * 7919 % len(weight)
    states = forward(trunk, tokens[None], row_positions(TRY).to(weight.device)[None], TRY, windows=windows)[0].float()
    model.set_attn_implementation(before)
    due = {getattr(config, "sliding_window", None)} if "sliding_attention" in kinds_of(config) else set()
    end, same = 0, windows - {None} == due
    for segment in TRY:
        prompt, end = tokens[end : end + segment.prompt], end + segment.prompt
        for size in segment.completions:
            alone = forward(trunk, torch.cat([prompt, tokens[end : end + size]])[None], None, None)[0, -1].float()
            end += size
            bound = (TOLERANCE if weight.dtype == torch.float32 else LOW_TOLERANCE) * alone.abs().max()
            same &= bool((states[end - 1] - alone).abs().max() <= bound)
    model.set_attn_implementation(NAME)
    return same


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, no_mask)
