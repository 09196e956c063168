"""Which rank computes what: pure functions of the items and the number of ranks. Not how ranks meet
(`r1lab.distributed.ranks`)."""

from collections.abc import Sequence

from r1lab.records import Request, Sample

PIECES = 4
"""A prompt's samples are cut where they exceed this fraction (1 / PIECES) of a rank's tokens."""


def by_draw(requests: Sequence[Request], count: int) -> list[list[int]]:
    """Give draw number n to rank n mod `count`: a group's completions stay together."""
    return [[i for i, request in enumerate(requests) if request.id.draw % count == own] for own in range(count)]


def by_tokens(samples: Sequence[Sample], count: int) -> list[list[int]]:
    """Give every rank about as many tokens; samples of a prompt or unit stay together, but very many are cut."""
    prompts = [len(sample.rollout.request.prompt_ids) for sample in samples]
    lengths = [len(sample.rollout.completion_ids) for sample in samples]
    most = (sum(prompts) + sum(lengths)) / (PIECES * count)
    pieces: dict[tuple, list[list[int]]] = {}
    for index, sample in enumerate(samples):
        found = pieces.setdefault(_bundle(sample), [[]])
        if found[-1] and not sample.unit and sum(lengths[i] for i in found[-1]) + lengths[index] > most:
            found.append([])
        found[-1].append(index)
    weighed = [
        (prompts[piece[0]] + sum(lengths[i] for i in piece), piece) for each in pieces.values() for piece in each
    ]
    shares, loads = [[] for _ in range(count)], [0] * count
    for weight, piece in sorted(weighed, key=lambda pair: (-pair[0], pair[1])):
        least = loads.index(min(loads))
        shares[least] += piece
        loads[least] += weight
    return [sorted(share) for share in shares]


def _bundle(sample: Sample) -> tuple:
    return ("unit", sample.unit) if sample.unit else ("prompt", sample.rollout.request.prompt_ids)
