"""Samples to micro-batches: what is forwarded together, and which rows of it are trained.

A row of tokens is a prompt and the completions after it: one, or several of the same prompt, which is then forwarded
once (`r1lab.attention` keeps them apart). Rows are right-padded and of similar length. Every number that a trained
token needs is already on it: no denominator exists here.
"""

from collections.abc import Sequence

import numpy as np
import torch

from r1lab.records import PackedBatch, Sample

WORTH = 0.8
"""Completions share a prompt where that takes at most this share of the cost: masks are not free."""
PADDING = -1


def length(sample: Sample) -> int:
    """Tokens of a sample: its prompt and its completion."""
    return len(sample.rollout.request.prompt_ids) + len(sample.rollout.completion_ids)


def pack(
    samples: Sequence[Sample], *, micro_batch_tokens: int, device: torch.device, columns: float | None = None
) -> list[PackedBatch]:
    """Micro-batches of at most `micro_batch_tokens` padded tokens (a longer row stands alone), longest first.

    `columns` is `attention.columns_per_token` of the model, or None where every sample needs a row of its own.
    `sequence` of a trained row is the sample's index in `samples`.
    """
    shared = [] if columns is None else chains(samples, micro_batch_tokens, columns)
    taken = {index for chain in shared for index in chain}
    rows = shared + [[index] for index in range(len(samples)) if index not in taken]
    rows.sort(key=lambda row: (-width(samples, row), row[0]))
    batches: list[PackedBatch] = []
    while rows:
        widest = width(samples, rows[0])
        count = max(1, micro_batch_tokens // widest)
        batches.append(_batch(samples, rows[:count], widest, device))
        rows = rows[count:]
    return batches


def chains(samples: Sequence[Sample], micro_batch_tokens: int, columns: float) -> list[list[int]]:
    """Samples that share a row, in order: of each prompt as many together as cost least, at most a micro-batch."""
    members: dict[tuple[int, ...], list[int]] = {}
    for index, sample in enumerate(samples):
        members.setdefault(sample.rollout.request.prompt_ids, []).append(index)
    found = []
    for prompt, group in members.items():
        longest = max(len(samples[index].rollout.completion_ids) for index in group)
        most = min(len(group), (micro_batch_tokens - len(prompt)) // max(1, longest))
        size = cheapest(len(prompt), [len(samples[index].rollout.completion_ids) for index in group], most, columns)
        if size > 1:
            found += [group[start : start + size] for start in range(0, len(group), size)]
    return found


def cheapest(prompt: int, completions: Sequence[int], most: int, columns: float) -> int:
    """How many completions a row takes, 1 to `most`: the fewest token passes, attention counted in them.

    A token pays for one pass and 1 / columns of one for each column: half of the row on its own, the whole row masked.
    """
    mean = sum(completions) / len(completions)
    alone = (prompt + mean) * (1 + (prompt + mean) / (2 * columns))
    best, least = 1, WORTH * alone
    for size in range(2, most + 1):
        row = prompt + size * mean
        cost = row * (1 + row / columns) / size
        if cost < least:
            best, least = size, cost
    return best


def width(samples: Sequence[Sample], row: Sequence[int]) -> int:
    """Tokens of a row: its prompt once, and its completions."""
    prompt = len(samples[row[0]].rollout.request.prompt_ids)
    return prompt + sum(len(samples[index].rollout.completion_ids) for index in row)


def _batch(samples: Sequence[Sample], rows: list[list[int]], size: int, device: torch.device) -> PackedBatch:
    tokens, positions = np.zeros((2, len(rows), size), np.int64)
    segments = np.full((len(rows), size), PADDING, np.int64)
    chosen, hidden_index = [], []
    for place, row in enumerate(rows):
        prompt = samples[row[0]].rollout.request.prompt_ids
        end = start = len(prompt)
        tokens[place, :start], positions[place, :start], segments[place, :start] = prompt, np.arange(start), 0
        for segment, index in enumerate(row, start=1):
            completion = samples[index].rollout.completion_ids
            begin, end = end, end + len(completion)
            tokens[place, begin:end], segments[place, begin:end] = completion, segment
            positions[place, begin:end] = start + np.arange(len(completion))
            # The prompt's last token predicts every completion's first.
            predictors = np.array([start - 1, *range(begin, end - 1)][: len(completion)])
            hidden_index.append(place * size + predictors)
            chosen.append(index)
    picked = [samples[index] for index in chosen]
    lengths = [len(sample.rollout.completion_ids) for sample in picked]
    is_shared = any(len(row) > 1 for row in rows)

    def column(values, dtype):
        return torch.from_numpy(np.concatenate(values).astype(dtype)).to(device)

    def optional(name: str):
        arrays = [getattr(sample, name) for sample in picked]
        return None if arrays[0] is None else column(arrays, np.float32)

    return PackedBatch(
        input_ids=torch.from_numpy(tokens).to(device),
        position_ids=torch.from_numpy(positions).to(device) if is_shared else None,
        segments=torch.from_numpy(segments).to(device) if is_shared else None,
        hidden_index=column(hidden_index, np.int64),
        sequence=torch.from_numpy(np.repeat(chosen, lengths)).to(device),
        target=column([sample.rollout.completion_ids for sample in picked], np.int64),
        role=column([sample.role for sample in picked], np.int64),
        advantage=column([sample.advantage for sample in picked], np.float32),
        scale=column([sample.scale for sample in picked], np.float32),
        engine=column([sample.rollout.engine_logprobs for sample in picked], np.float32),
        old=optional("old"),
        ref=optional("ref"),
    )
