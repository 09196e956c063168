"""`objective.aggregate`: multiply mask, mixing weight and 1 / denominator into one scale per token; the
loss is then a plain sum.

Each denominator takes the counted tokens of every sequence of the whole update, int64 [B], and returns Z float64 [B]:
a token of sequence i gets scale = weight x mask / Z[i]. Beside the counts a function gets what its Term `takes`:
`prompts` int64 [B], one number a draw.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from r1lab.objective.mask import TokenMask
from r1lab.objective.term import Term
from r1lab.records import Role, Sample


def token_mean(counts: np.ndarray) -> np.ndarray:
    """Z = all tokens of the update (DAPO, arXiv 2503.14476)."""
    return np.full(len(counts), counts.sum(), np.float64)


def seq_token_mean(counts: np.ndarray) -> np.ndarray:
    """Z_i = N |y_i|: the mean of each sequence, then over sequences (GRPO, arXiv 2402.03300)."""
    return (counts > 0).sum() * counts.astype(np.float64)


def seq_token_sum(counts: np.ndarray) -> np.ndarray:
    """Z = N: a sequence is one action (REINFORCE, RLOO)."""
    return np.full(len(counts), (counts > 0).sum(), np.float64)


def const(counts: np.ndarray, *, length: int = 512) -> np.ndarray:
    """Z = N L with a constant length L, by default `max_new_tokens` (Dr. GRPO, arXiv 2503.20783)."""
    return np.full(len(counts), (counts > 0).sum() * length, np.float64)


def prompt_mean(counts: np.ndarray, *, prompts: np.ndarray) -> np.ndarray:
    """Z_i = P x the tokens of its prompt: the mean of each prompt's tokens, then over prompts (arXiv 2510.13786)."""
    place = np.unique(prompts, return_inverse=True)[1]
    tokens = np.bincount(place, weights=counts)
    return (tokens > 0).sum() * tokens[place]


AGGREGATES = {
    "token_mean": Term(token_mean),
    "seq_token_mean": Term(seq_token_mean),
    "seq_token_sum": Term(seq_token_sum),
    "const": Term(const),
    "prompt_mean": Term(prompt_mean, takes=("prompts",)),
}


def scales(
    samples: Sequence[Sample],
    masks: Sequence[TokenMask],
    *,
    aggregate: Term,
    mix: Callable[[Role, int], float],
    step: int,
    is_joint: bool = True,
) -> list[Sample]:
    """The samples of one update with `scale` [T] set: mixing weight x mask / denominator.

    One denominator counts all roles together, or, where not `is_joint`, each role has its own.
    """
    if not samples:
        return []
    lengths = [len(sample.role) for sample in samples]
    owner, role = np.repeat(np.arange(len(samples)), lengths), np.concatenate([sample.role for sample in samples])
    counted, trained = (np.concatenate([getattr(mask, name) for mask in masks]) for name in ("counted", "trained"))
    weight, scale = np.array([mix(each, step) for each in Role]), np.zeros(len(role))
    for together in [list(Role)] if is_joint else [[each] for each in Role]:
        chosen = np.isin(role, together)
        z = _denominators(samples, np.bincount(owner[counted & chosen], minlength=len(samples)), aggregate)[owner]
        share = np.divide(weight[role], z, out=np.zeros(len(role)), where=z != 0)
        scale += np.where(trained & chosen, share, 0.0)
    parts = np.split(scale.astype(np.float32), np.cumsum(lengths)[:-1])
    return [replace(sample, scale=part) for sample, part in zip(samples, parts, strict=True)]


def _denominators(samples: Sequence[Sample], counts: np.ndarray, aggregate: Term) -> np.ndarray:
    """Z of each sample; the two completions of a pair count as one sequence."""
    names = [
        ("pair", sample.unit) if sample.unit and Role.PAIR.at(sample.role).any() else ("alone", index)
        for index, sample in enumerate(samples)
    ]
    first = dict(zip(reversed(names), reversed(samples), strict=True))
    sequence = {name: place for place, name in enumerate(dict.fromkeys(names))}
    owner = np.array([sequence[name] for name in names])
    given = {"prompts": np.array([first[name].rollout.request.id.draw for name in sequence], np.int64)}
    totals = np.bincount(owner, weights=counts).astype(np.int64)
    return aggregate.fn(totals, **{name: given[name] for name in aggregate.takes})[owner]
