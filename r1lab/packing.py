"""Samples to micro-batches: what is forwarded together, and which rows of it are trained.

Right-padded rows of similar length; causal attention never reads the padding, so no mask is built. Every number that a
row needs is already on it: no denominator exists here.
"""

from collections.abc import Sequence

import numpy as np
import torch

from r1lab.records import PackedBatch, Sample


def length(sample: Sample) -> int:
    """Tokens forwarded for a sample: its prompt and its completion."""
    return len(sample.rollout.request.prompt_ids) + len(sample.rollout.completion_ids)


def pack(samples: Sequence[Sample], *, micro_batch_tokens: int, device: torch.device) -> list[PackedBatch]:
    """Micro-batches of at most `micro_batch_tokens` padded tokens (a longer sample stands alone), longest first.

    `sequence` of a row is the sample's index in `samples`.
    """
    order = sorted(range(len(samples)), key=lambda index: (-length(samples[index]), index))
    batches: list[PackedBatch] = []
    while order:
        width = length(samples[order[0]])
        rows = max(1, micro_batch_tokens // width)
        batches.append(_batch(samples, order[:rows], width, device))
        order = order[rows:]
    return batches


def _batch(samples: Sequence[Sample], chosen: list[int], width: int, device: torch.device) -> PackedBatch:
    input_ids = np.zeros((len(chosen), width), np.int64)
    hidden_index = []
    for row, index in enumerate(chosen):
        request, completion = samples[index].rollout.request, samples[index].rollout.completion_ids
        prompt = len(request.prompt_ids)
        input_ids[row, : prompt + len(completion)] = request.prompt_ids + completion
        hidden_index.append(row * width + prompt - 1 + np.arange(len(completion)))
    picked = [samples[index] for index in chosen]
    lengths = [len(sample.rollout.completion_ids) for sample in picked]

    def column(values, dtype):
        return torch.from_numpy(np.concatenate(values).astype(dtype)).to(device)

    def optional(name: str):
        arrays = [getattr(sample, name) for sample in picked]
        return None if arrays[0] is None else column(arrays, np.float32)

    return PackedBatch(
        input_ids=torch.from_numpy(input_ids).to(device),
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
