"""Decode one batch from its prompts to the last finished sequence. Knows no queue; it is told the weights' version.

Every row has sampled the same number of tokens, so a step is one forward of [rows, 1]; rows that end leave the batch
and the last rows take their places.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from r1lab.attention import has_sliding_window
from r1lab.engines.local.cache import SlotCache
from r1lab.engines.local.sampling import RowSampling, StopStrings, draw, uniforms
from r1lab.engines.rollouts import name_of, rollout
from r1lab.engines.text import TextOf
from r1lab.errors import RunError
from r1lab.records import Finish, Request, Rollout

PREFILL_TOKENS = 16384
"""Padded prompt tokens of one prefill forward."""

FINISHES: tuple[Finish, ...] = ("eos", "stop", "length")

WORTH_SHARING_TOKENS = 16
"""Tokens that all prompts must begin with, so that these are computed once: worked examples, a system prompt."""


class Wave:
    """Requests being decoded together, each with at least one token to sample."""

    def __init__(
        self, model, requests: Sequence[Request], *, version: int, is_eos: Tensor, stops: StopStrings, text_of: TextOf
    ):
        """`version` is that of the weights now in `model`; `is_eos` is bool [V]."""
        self.model, self.requests, self.is_eos, self.stops, self.text_of = model, requests, is_eos, stops, text_of
        self.device = is_eos.device
        self.prefixes = [request.prompt_ids + request.forced_ids for request in requests]
        rooms = [request.sampling.max_new_tokens - len(request.forced_ids) for request in requests]
        self.columns = max(map(len, self.prefixes))
        self.lengths = torch.tensor([len(prefix) for prefix in self.prefixes], device=self.device)
        self.room = torch.tensor(rooms, device=self.device)
        self.has_stops = any(request.sampling.all_stops for request in requests)
        self.has_windows = has_sliding_window(model.config)
        self.shared = 0 if self.has_windows else shared_length(set(self.prefixes))
        self.uniforms = self.streams(max(rooms))
        self.all_sampling = RowSampling.of_requests(requests, self.device)
        self.tokens = torch.empty(max(rooms), len(requests), dtype=torch.int64, device=self.device)
        self.logprobs = torch.empty(max(rooms), len(requests), device=self.device)
        self.versions: list[int] = []
        self.rows = torch.arange(len(requests), device=self.device)
        """int64 [B]: the request at each place of the batch."""
        self.cache = SlotCache(
            num_layers=model.config.get_text_config().num_hidden_layers,
            num_rows=len(requests),
            prompt_columns=self.columns,
            max_columns=self.columns + max(rooms),
        )
        self.settle_rows()
        self.logits, self.logits_version = self.prefill(), version

    def streams(self, length: int) -> Tensor:
        """Uniform numbers, float64 [length, requests]; those of forced tokens are passed over."""
        table = np.zeros((length, len(self.requests)))
        for row, request in enumerate(self.requests):
            stream = uniforms(request.seed, len(request.forced_ids), request.sampling.max_new_tokens)
            table[: len(stream), row] = stream
        return torch.from_numpy(table).to(self.device)

    def settle_rows(self) -> None:
        """Rebuild what depends on which request has which place in the batch."""
        self.sampling = self.all_sampling.select(self.rows)
        self.positions = self.lengths[self.rows][:, None]
        self.row_room = self.room[self.rows]
        column = torch.arange(self.cache.max_columns, device=self.device)
        seen = (column >= self.columns - self.positions + self.shared) | (column < self.shared)
        self.mask = self.additive(seen[:, None, None]) if self.columns > min(map(len, self.prefixes)) else None
        if self.has_windows:
            self.mask = seen

    def additive(self, seen: Tensor) -> Tensor:
        """0 where seen, the least number elsewhere (-inf would make NaN of a row that sees nothing)."""
        dtype = self.model.dtype
        return torch.zeros(seen.shape, dtype=dtype, device=self.device).masked_fill_(~seen, torch.finfo(dtype).min)

    def prefill(self) -> Tensor:
        """Every distinct prefix once, its keys given to all its rows. Returns logits float32 [B, V].

        What all of them begin with comes first, alone; in the cache it stands in the leftmost columns.
        """
        members: dict[tuple[int, ...], list[int]] = {}
        for row, prefix in enumerate(self.prefixes):
            members.setdefault(prefix, []).append(row)
        logits = None
        if self.shared:
            self.cache.aim_prefix(self.shared)
            ids = torch.tensor([self.prefixes[0][: self.shared]], device=self.device)
            self.forward(ids, torch.arange(self.shared, device=self.device)[None], None)
        for prefixes in chunks(sorted(members, key=len), self.shared):
            rows = torch.tensor([row for prefix in prefixes for row in members[prefix]], device=self.device)
            counts = torch.tensor([len(members[prefix]) for prefix in prefixes], device=self.device)
            source = torch.arange(len(prefixes), device=self.device).repeat_interleave(counts)
            self.cache.aim(rows, source)
            last = self.forward(*self.padded(prefixes))
            logits = last.new_empty(len(self.prefixes), last.shape[-1]) if logits is None else logits
            logits[rows] = last[source]
        self.cache.begin()
        assert logits is not None  # a batch has a request
        return logits

    def padded(self, prefixes: list[tuple[int, ...]]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Ids and positions int64 [n, P] without what is shared, left-padded, and their mask."""
        own = [prefix[self.shared :] for prefix in prefixes]
        width = max(map(len, own))
        ids = torch.tensor([(0,) * (width - len(each)) + each for each in own], device=self.device)
        padding = torch.tensor([width - len(each) for each in own], device=self.device)[:, None]
        column = torch.arange(width, device=self.device)
        positions = (column - padding).clamp_(min=0) + self.shared
        seen = column >= padding
        if self.has_windows:
            return ids, positions, seen
        if seen.all() and not self.shared:
            return ids, positions, None
        causal = column[:, None] >= column
        itself = column[:, None] == column
        looks = ((causal & seen[:, None]) | itself)[:, None]
        return ids, positions, self.additive(torch.nn.functional.pad(looks, (self.shared, 0), value=True))

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Logits float32 [n, V] after the last of ids [n, P]."""
        cache = {"past_key_values": self.cache, "use_cache": True, "logits_to_keep": 1}
        output = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, **cache)
        return output.logits[:, -1].float()

    def step(self, version: int, aborted: set) -> list[Rollout]:
        """Draw one token for every row, then run the model, now at `version`; what ended, in request order."""
        ended = self.drop_aborted(aborted) if aborted else []
        if not len(self.rows):
            return ended
        now = len(self.versions)
        tokens, logprobs = draw(self.logits, self.uniforms[now, self.rows], self.sampling)
        self.tokens[now, self.rows] = tokens
        self.logprobs[now, self.rows] = logprobs
        self.versions.append(self.logits_version)
        is_eos, is_bad = self.is_eos[tokens], ~torch.isfinite(logprobs)
        is_over = is_eos | is_bad | (self.row_room == now + 1)
        is_stop = self.stopped(tokens) if self.has_stops else is_bad
        is_over |= is_stop
        if is_over.any():
            self.refuse(is_bad)
            ended += self.finished(is_over, is_eos, is_stop)
            tokens = self.drop(is_over, tokens)
        if len(self.rows):
            self.logits, self.logits_version = self.decode(tokens), version
        return ended

    def decode(self, tokens: Tensor) -> Tensor:
        """Logits float32 [B, V] after `tokens` int64 [B]."""
        self.cache.reserve()
        end = self.cache.used + 1
        mask = None if self.mask is None else self.mask[..., :end]
        logits = self.forward(tokens[:, None], self.positions + (len(self.versions) - 1), mask)
        self.cache.used = end
        return logits

    def stopped(self, tokens: Tensor) -> Tensor:
        """bool [B]: the sampled text now holds one of the request's stop strings."""
        flags = torch.zeros(len(tokens), dtype=torch.bool)
        for place, (row, token) in enumerate(zip(self.rows.tolist(), tokens.tolist())):
            stop = self.requests[row].sampling.all_stops
            if stop and self.stops.may_end(token, stop):
                tail = self.tokens[max(0, len(self.versions) - self.stops.window(stop)) : len(self.versions), row]
                flags[place] = self.stops.holds(tail.tolist(), stop)
        return flags.to(self.device)

    def refuse(self, is_bad: Tensor) -> None:
        """RunError that names the first request whose logits are not finite."""
        if is_bad.any():
            request = self.requests[int(self.rows[is_bad].min())]
            raise RunError(
                f"{name_of(request)}: the logits of token {len(self.versions)} "
                f"are not finite at policy version {self.versions[-1]}; the weights diverged or dtype is too narrow"
            )

    def drop_aborted(self, aborted: set) -> list[Rollout]:
        """End the rows of these ids without another token."""
        flags = torch.tensor([self.requests[row].id in aborted for row in self.rows.tolist()], device=self.device)
        if not flags.any():
            return []
        ended = self.finished(flags, None, None)
        self.logits = self.drop(flags, self.logits)
        return ended

    def drop(self, is_over: Tensor, values: Tensor) -> Tensor:
        """Take rows out of the batch; `values` [B, ...] of those that stay, in their new places."""
        kept = ~is_over
        count = int(kept.sum())
        holes, movers = is_over[:count].nonzero()[:, 0], kept[count:].nonzero()[:, 0] + count
        self.cache.move(movers, holes, count)
        for array in (self.rows, values):
            array[holes] = array[movers]
        self.rows = self.rows[:count]
        self.settle_rows()
        return values[:count]

    def finished(self, is_over: Tensor, is_eos: Tensor | None, is_stop: Tensor | None) -> list[Rollout]:
        """Rollouts of the rows flagged, in request order; aborted ones where no other flags are given."""
        rows, order = self.rows[is_over].sort()
        now, version = len(self.versions), np.array(self.versions, dtype=np.int32)
        tokens_KT = self.tokens[:now, rows].T.tolist()
        logprobs_KT = self.logprobs[:now, rows].T.cpu().numpy()
        finishes: list[Finish]
        if is_eos is None or is_stop is None:
            finishes = ["abort"] * len(rows)
        else:
            ends = torch.where(is_eos, 0, torch.where(is_stop, 1, 2))[is_over][order]
            finishes = [FINISHES[end] for end in ends.tolist()]
        return [
            rollout(self.requests[row], tokens, logprobs, version, finish, self.text_of)
            for row, tokens, logprobs, finish in zip(rows.tolist(), tokens_KT, logprobs_KT, finishes)
        ]


def shared_length(prefixes: set[tuple[int, ...]]) -> int:
    """Tokens that several prefixes all begin with, at least one being left of each; 0 where that is not worth it."""
    first, last = min(prefixes), max(prefixes)  # whatever these share, those between share
    most = min(map(len, prefixes)) - 1
    length = next((place for place in range(most) if first[place] != last[place]), most)
    return length if len(prefixes) > 1 and length >= WORTH_SHARING_TOKENS else 0


def chunks(prefixes: list[tuple[int, ...]], shared: int = 0) -> list[list[tuple[int, ...]]]:
    """Prefixes, shortest first, in chunks of at most PREFILL_TOKENS when padded to the longest (or of one prefix);
    the first `shared` tokens of each do not count."""
    cut: list[list[tuple[int, ...]]] = []
    for prefix in prefixes:
        if cut and (len(cut[-1]) + 1) * (len(prefix) - shared) <= PREFILL_TOKENS:
            cut[-1].append(prefix)
        else:
            cut.append([prefix])
    return cut
