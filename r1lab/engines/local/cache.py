"""The key-value cache of one batch: written in place, read as views, rows moved when sequences end.

All rows share their columns: prompts are left-padded to column `used`, and every decoding step adds one. Unlike
transformers' StaticCache it costs no masks over unused columns, unlike its DynamicCache no concatenation a step.
"""

import weakref

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "r1lab_grouped"
HEADROOM_COLUMNS, GROWTH_FACTOR = 64, 1.5


class SlotCache(Cache):
    """Layers of keys and values [rows, heads, capacity, head size], allocated when the first prompt arrives."""

    def __init__(self, *, num_layers: int, num_rows: int, prompt_columns: int, max_columns: int):
        self.num_rows = num_rows
        self.used = 0
        """Columns that hold keys; 0 while prompts are being written."""
        self.capacity = min(max_columns, prompt_columns + HEADROOM_COLUMNS)
        self.prompt_columns = prompt_columns
        self.max_columns = max_columns
        self.rows: Tensor | None = None
        self.source: Tensor | None = None
        self.shared = 0
        """Columns at the left that hold the same keys in every row: a prefix of all prompts."""
        self.is_prefix = False
        self.slot_layers = [SlotLayer(self) for _ in range(num_layers)]
        super().__init__(layers=list(self.slot_layers))

    def aim_prefix(self, length: int) -> None:
        """What comes next are the first `length` tokens, the same in all prompts, once."""
        self.shared, self.is_prefix = length, True

    def aim(self, rows: Tensor, source: Tensor) -> None:
        """Prompts come next: prompt `source[i]` of the forward goes to row `rows[i]` (int64, both), right-aligned.

        After `aim_prefix` the prompts come without what they share.
        """
        self.rows, self.source, self.is_prefix = rows, source, False

    def begin(self) -> None:
        """All prompts are written: decoding starts."""
        self.rows = self.source = None
        self.used = self.prompt_columns
        for layer in self.slot_layers:
            layer.prefix = None

    def reserve(self) -> None:
        """Make room for one more column."""
        if self.used < self.capacity:
            return
        self.capacity = min(self.max_columns, int(self.capacity * GROWTH_FACTOR) + 1)
        for layer in self.slot_layers:
            layer.grow()

    def move(self, movers: Tensor, holes: Tensor, num_rows: int) -> None:
        """Copy rows `movers` over rows `holes` (int64, equally many) and keep the first `num_rows`."""
        self.num_rows = num_rows
        if len(holes):
            for layer in self.slot_layers:
                layer.move(movers, holes)


class SlotLayer(CacheLayerMixin):
    """One layer of a SlotCache."""

    is_sliding = False
    is_compileable = False
    keys: Tensor
    values: Tensor

    def __init__(self, slots: SlotCache):
        super().__init__()
        # Weak: a cycle would keep a whole wave's keys until the next full garbage collection.
        self.slots = weakref.proxy(slots)
        self.prefix: tuple[Tensor, Tensor] | None = None
        """Keys and values [1, heads, shared, head size] while prompts are being written."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = self.empty(key_states), self.empty(value_states)
        self.is_initialized = True

    def empty(self, like: Tensor) -> Tensor:
        return like.new_empty(self.slots.num_rows, like.shape[1], self.slots.capacity, like.shape[3])

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """Write [n, heads, columns, head size]; returns what the queries may look at."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        slots = self.slots
        if slots.is_prefix:
            self.prefix = key_states, value_states
            return key_states, value_states
        if slots.rows is not None:
            self.write_prompts(self.keys, key_states)
            self.write_prompts(self.values, value_states)
            if self.prefix is None:
                return key_states, value_states
            return behind(self.prefix[0], key_states), behind(self.prefix[1], value_states)
        end = slots.used + 1
        keys, values = self.keys[: slots.num_rows, :, :end], self.values[: slots.num_rows, :, :end]
        keys[:, :, -1:], values[:, :, -1:] = key_states, value_states
        return keys, values

    def write_prompts(self, store: Tensor, states: Tensor) -> None:
        shared, end = self.slots.shared, self.slots.prompt_columns
        start = end - states.shape[2]
        if start > shared:
            store[self.slots.rows, :, shared:start] = 0  # masked, but 0 x garbage could be NaN
        if self.prefix is not None:
            store[self.slots.rows, :, :shared] = self.prefix[store is self.values]
        store[self.slots.rows, :, start:end] = states[self.slots.source]

    def grow(self) -> None:
        if self.is_initialized:
            used, num_rows = self.slots.used, self.slots.num_rows
            for name in ("keys", "values"):
                old = getattr(self, name)
                new = self.empty(old)
                new[:, :, :used] = old[:num_rows, :, :used]
                setattr(self, name, new)

    def move(self, movers: Tensor, holes: Tensor) -> None:
        if self.is_initialized:
            used = self.slots.used
            for store in (self.keys, self.values):
                store[holes, :, :used] = store[movers, :, :used]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.slots.used + query_length, 0

    def get_seq_length(self) -> int:
        return self.slots.used

    def get_max_length(self) -> int:
        return -1


def behind(prefix: Tensor, states: Tensor) -> Tensor:
    """[n, heads, columns, head size] with the prefix that its rows share in front."""
    return torch.cat([prefix.expand(len(states), -1, -1, -1), states], dim=2)


def grouped_attention(module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs):
    """Transformers' SDPA; where one token is decoded, the query heads of a key head are its rows: no key is repeated.

    query [B, heads, Q, d], key and value [B, key heads, L, d], mask [B, 1, Q, L]; returns [B, Q, heads, d].
    """
    batch, heads, length, size = query.shape
    if length > 1 or key.shape[1] == heads or kwargs.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    grouped = query.reshape(batch, key.shape[1], heads // key.shape[1], size)
    output = torch.nn.functional.scaled_dot_product_attention(
        grouped, key, value, attn_mask=attention_mask, scale=kwargs.get("scaling")
    )
    return output.reshape(batch, 1, heads, value.shape[3]), None


AttentionInterface.register(ATTENTION, grouped_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
