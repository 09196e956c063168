"""From logits to tokens: one stream of random numbers a request, inverse-CDF sampling, truncation, stop strings.

Token t of a request depends on its seed, t and its own logits; on nothing else in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from r1lab.records import Request


def uniforms(seed: int, start: int, stop: int) -> np.ndarray:
    """float64 [stop - start]: numbers `start` to `stop` of the stream of `seed`, each in [0, 1)."""
    # The factor keeps u * total below total in float64, so that no draw falls past the last token.
    return np.random.Generator(np.random.PCG64(seed)).random(stop)[start:] * (1 - 2**-50)


@dataclass(frozen=True, eq=False)
class RowSampling:
    """How each of B rows is sampled. None where no row needs it."""

    temperature: Tensor | None
    """float32 [B, 1]; 1 where greedy."""
    greedy: Tensor | None
    """bool [B]"""
    top_k: Tensor | None
    """int64 [B, 1]; 0 is off."""
    top_p: Tensor | None
    """float32 [B, 1]"""
    min_p: Tensor | None
    """float32 [B, 1]"""

    @classmethod
    def of_requests(cls, requests: Sequence[Request], device: torch.device) -> "RowSampling":
        def column(values, off):
            values = list(values)
            return None if all(value == off for value in values) else torch.tensor(values, device=device)[:, None]

        settings = [request.sampling for request in requests]
        greedy = column((s.temperature == 0 for s in settings), False)
        return cls(
            temperature=column((float(s.temperature or 1) for s in settings), 1.0),
            greedy=None if greedy is None else greedy[:, 0],
            top_k=column((s.top_k for s in settings), 0),
            top_p=column((float(s.top_p) for s in settings), 1.0),
            min_p=column((float(s.min_p) for s in settings), 0.0),
        )

    def select(self, rows: Tensor) -> "RowSampling":
        """How `rows`, int64, are sampled."""
        return RowSampling(**{name: None if x is None else x[rows] for name, x in vars(self).items()})

    @property
    def truncates(self) -> bool:
        return any(x is not None for x in (self.top_k, self.top_p, self.min_p))


def draw(logits: Tensor, uniform: Tensor, how: RowSampling) -> tuple[Tensor, Tensor]:
    """One token a row from logits [B, V] and uniform float64 [B].

    Returns tokens int64 [B] and their log-probabilities float32 [B] under the temperature-scaled, untruncated
    distribution (temperature 1 where greedy). Logits that are not finite give a log-probability that is not.
    """
    logits = logits.float()
    if how.temperature is not None:
        logits = logits / how.temperature
    logprobs = torch.log_softmax(logits, dim=-1)
    probabilities = logprobs.exp()
    if how.truncates:
        probabilities = truncated(probabilities, how)
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    tokens = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True)[:, 0]
    tokens = tokens.clamp_(max=logits.shape[-1] - 1)  # only NaN gets there
    if how.greedy is not None:
        tokens = torch.where(how.greedy, logits.argmax(-1), tokens)
    return tokens, logprobs.gather(-1, tokens[:, None])[:, 0]


def truncated(probabilities: Tensor, how: RowSampling) -> Tensor:
    """Zero what top_k, top_p (of what top_k left) and min_p (of the greatest) cut off; [B, V], not renormalised."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if how.top_k is not None:
        rank = torch.arange(ordered.shape[-1], device=ordered.device)
        keep &= (rank < how.top_k) | (how.top_k <= 0)
    if how.top_p is not None:
        left = ordered * keep
        cumulative = left.cumsum(-1, dtype=torch.float64)
        keep &= (cumulative - left < how.top_p * cumulative[:, -1:]) | (how.top_p >= 1)
    if how.min_p is not None:
        keep &= ordered >= how.min_p * ordered[:, :1]
    keep[:, 0] = True
    return torch.zeros_like(probabilities).scatter_(-1, order, ordered * keep)


class StopStrings:
    """Whether the newest token completes a stop string. Text is decoded only where that token could."""

    MARGIN = 8

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.known: dict[tuple[int, tuple[str, ...]], bool] = {}

    def may_end(self, token: int, stop: tuple[str, ...]) -> bool:
        """False only where `token` cannot hold the last character of any of `stop`."""
        key = (token, stop)
        if key not in self.known:
            piece = self.decode([token])
            # A lone token may lose its space, or be a part of a character.
            self.known[key] = "\ufffd" in piece or any(s[-1] in piece or s[-1].isspace() for s in stop)
        return self.known[key]

    def window(self, stop: tuple[str, ...]) -> int:
        """Tokens at the end that are enough to see a stop string: one a byte at most."""
        return max(len(s.encode()) for s in stop) + self.MARGIN

    def holds(self, tail: list[int], stop: tuple[str, ...]) -> bool:
        text = self.decode(tail)
        return any(s in text for s in stop)

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
