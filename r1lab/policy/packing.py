"""Samples to micro-batches: what is forwarded together, and which rows of it are trained.

A micro-batch is one row without padding, in which a prompt stands once before its completions (`r1lab.attention` keeps
them apart); or, for models that cannot read such a row, a row a sample, right-padded and of similar length. Every
number that a trained token needs is already on it: no denominator exists here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from r1lab.attention.parts import row_positions
from r1lab.records import PackedBatch, Role, Sample, Segment


class Stem(NamedTuple):
    """Samples behind one prompt."""

    prompt: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]
    """Indices of the samples of each completion: equal ones are forwarded once."""


def sample_tokens(sample: Sample) -> int:
    """Tokens of a sample: its prompt and its completion."""
    return len(sample.rollout.request.prompt_ids) + len(sample.rollout.completion_ids)


def pack(
    samples: Sequence[Sample], *, micro_batch_tokens: int, device: torch.device, shared: bool = False
) -> list[PackedBatch]:
    """Micro-batches of at most `micro_batch_tokens` forwarded tokens, padding counted (a longer sample or unit stands
    alone), the largest first.

    `shared`: packed rows with prompts shared, balanced; else padded rows. `sequence` of a trained row is the sample's
    index in `samples`.
    """
    if not shared:
        return [_padded(samples, rows, device) for rows in padded_rows(samples, micro_batch_tokens)]
    stems = clusters(samples, micro_batch_tokens)
    sizes = [sum(stem_tokens(samples, stem) for stem in cluster) for cluster in stems]
    return [
        _packed(samples, [stem for index in chosen for stem in stems[index]], device)
        for chosen in balanced_bins(sizes, micro_batch_tokens)
    ]


def clusters(samples: Sequence[Sample], most: int) -> list[list[Stem]]:
    """Stems that stay in one micro-batch: those of a unit; any other alone, cut so that it fits."""
    behind: dict[tuple, dict[tuple[int, ...], list[int]]] = {}
    for index, sample in enumerate(samples):
        stem = behind.setdefault((sample.unit, sample.rollout.request.prompt_ids), {})
        stem.setdefault(sample.rollout.completion_ids, []).append(index)
    units: dict[int, list[Stem]] = {}
    alone: list[list[Stem]] = []
    for (unit, prompt), completions in behind.items():
        members = [tuple(indices) for indices in completions.values()]
        if unit:
            units.setdefault(unit, []).append(Stem(prompt, tuple(members)))
            continue
        sizes = [len(ids) for ids in completions]
        for chosen in balanced_bins(sizes, max(1, most - len(prompt))):
            alone.append([Stem(prompt, tuple(members[place] for place in chosen))])
    return alone + list(units.values())


def stem_tokens(samples: Sequence[Sample], stem: Stem) -> int:
    """Tokens of a stem and its completions."""
    return len(stem.prompt) + sum(len(samples[same[0]].rollout.completion_ids) for same in stem.members)


def padded_rows(samples: Sequence[Sample], most: int) -> list[list[int]]:
    """Samples of each padded micro-batch, the longest first; those of a unit together."""
    bundles: dict[tuple, list[int]] = {}
    for index in sorted(range(len(samples)), key=lambda index: (-sample_tokens(samples[index]), index)):
        unit = samples[index].unit
        bundles.setdefault(("unit", unit) if unit else ("row", index), []).append(index)
    batches: list[list[int]] = []
    for bundle in bundles.values():
        if not batches or (len(batches[-1]) + len(bundle)) * sample_tokens(samples[batches[-1][0]]) > most:
            batches.append([])
        batches[-1] += bundle
    return batches


def _packed(samples: Sequence[Sample], stems: Sequence[Stem], device: torch.device) -> PackedBatch:
    """One row. The last token of a completion is not in it: it predicts nothing, and no other sees it."""
    ids: list[int] = []
    segments, chosen, predictors = [], [], []
    for stem in stems:
        ids += stem.prompt
        last, sizes = len(ids) - 1, []
        for same in stem.members:
            completion = samples[same[0]].rollout.completion_ids
            begin = len(ids)
            ids += completion[:-1]
            sizes.append(len(ids) - begin)
            chosen += same
            # The prompt's last token predicts every completion's first.
            predictors += [np.array([last, *range(begin, len(ids))][: len(completion)], np.int64)] * len(same)
        segments.append(Segment(len(stem.prompt), tuple(sizes)))
    forwarded = torch.tensor([ids], device=device), row_positions(segments)[None].to(device), tuple(segments)
    return _with_rows(forwarded, samples, chosen, predictors)


def _padded(samples: Sequence[Sample], rows: Sequence[int], device: torch.device) -> PackedBatch:
    size = max(sample_tokens(samples[index]) for index in rows)
    ids, predictors = np.zeros((len(rows), size), np.int64), []
    for place, index in enumerate(rows):
        prompt, completion = samples[index].rollout.request.prompt_ids, samples[index].rollout.completion_ids
        ids[place, : sample_tokens(samples[index])] = prompt + completion
        predictors.append(place * size + len(prompt) - 1 + np.arange(len(completion)))
    return _with_rows((torch.from_numpy(ids).to(device), None, None), samples, rows, predictors)


def _with_rows(
    forwarded: tuple[torch.Tensor, torch.Tensor | None, tuple[Segment, ...] | None],
    samples: Sequence[Sample],
    chosen: Sequence[int],
    predictors: Sequence[np.ndarray],
) -> PackedBatch:
    """The batch of what is forwarded (ids, positions, segments) with the trained rows of the chosen samples, in that
    order: one for each token that is not CONTEXT. `predictors` of each index into the hidden states."""
    device = forwarded[0].device
    picked = [samples[index] for index in chosen]
    kept = [~Role.CONTEXT.at(sample.role) for sample in picked]
    lengths = [int(np.count_nonzero(each)) for each in kept]
    units = [sample.unit for sample in picked]

    def column(values, dtype):
        rows = [np.asarray(value)[each] for value, each in zip(values, kept, strict=True)]
        return torch.from_numpy(np.concatenate(rows).astype(dtype)).to(device)

    def optional(name: str, dtype: type = np.float32):
        arrays = [getattr(sample, name) for sample in picked]
        return None if arrays[0] is None else column(arrays, dtype)

    return PackedBatch(
        *forwarded,
        hidden_index=column(predictors, np.int64),
        sequence=torch.from_numpy(np.repeat(chosen, lengths)).to(device),
        target=column([sample.rollout.completion_ids for sample in picked], np.int64),
        role=column([sample.role for sample in picked], np.int64),
        advantage=column([sample.advantage for sample in picked], np.float32),
        scale=column([sample.scale for sample in picked], np.float32),
        engine=column([sample.rollout.engine_logprobs for sample in picked], np.float32),
        unit=torch.from_numpy(np.repeat(units, lengths)).to(device) if any(units) else None,
        **{name: optional(name) for name in ("old", "ref", "returns", "penalty", "margin")},
        counted=optional("counted", np.bool_),
    )


def on_tokens(rows: np.ndarray, role: np.ndarray) -> np.ndarray:
    """Numbers of a sample's rows on all its tokens [T]: NaN where one is CONTEXT and has no row."""
    whole = np.full(len(role), np.nan, rows.dtype)
    whole[~Role.CONTEXT.at(role)] = rows
    return whole


def empty_batch(device: torch.device) -> PackedBatch:
    """One token and no trained row, for a rank that has nothing left where others do."""
    token, none = torch.zeros((1, 1), dtype=torch.int64, device=device), torch.zeros(0, device=device)
    row = token[0]
    whole = dict.fromkeys(("hidden_index", "sequence", "target", "role"), row)
    numbers = dict.fromkeys(("advantage", "scale", "engine"), none)
    return PackedBatch(token, position_ids=None, segments=None, old=None, ref=None, **whole, **numbers)


def balanced_bins(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Indices in bins of at most `most` together (a larger one stands alone), few bins of about the same size.

    As many bins as first-fit of the largest first needs; then each goes, the largest first, where least is, where that
    stays within the limit. The bin of most comes first, indices rise in each.
    """
    largest = sorted(range(len(sizes)), key=lambda index: (-sizes[index], index))
    fitted = _first_fit(sizes, largest, most)
    limit = max([most, *sizes])
    even: list[list[int]] = [[] for _ in fitted]
    totals = [0] * len(fitted)
    for index in largest:
        place = totals.index(min(totals))
        even[place].append(index)
        totals[place] += sizes[index]
    found = even if all(total <= most or len(bin_) == 1 for total, bin_ in zip(totals, even)) else fitted
    assert all(sum(sizes[index] for index in bin_) <= limit for bin_ in found)
    return sorted(map(sorted, found), key=lambda bin_: (-sum(sizes[index] for index in bin_), bin_[0]))


def _first_fit(sizes: Sequence[int], order: Sequence[int], most: int) -> list[list[int]]:
    bins: list[list[int]] = []
    totals: list[int] = []
    for index in order:
        place = next((at for at, total in enumerate(totals) if total + sizes[index] <= most), None)
        if place is None:
            bins.append([])
            totals.append(0)
            place = len(bins) - 1
        bins[place].append(index)
        totals[place] += sizes[index]
    return bins
