"""A model that is sampled and never trained: what a `reject` stage and an evaluation give to an engine.

To feed and engine it is what `r1lab.policy.policy.Policy` is: weights by name, and scores by which a sync is checked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r1lab.policy import models
from r1lab.records import Rollout, Sample


class LogprobScorer:
    """Scores completions by one plain forward each, as the check of a sync asks. Not how training scores
    (`Policy.score`)."""

    temperature: float = 1.0

    def __init__(self, model):
        self.model = model

    @property
    def compute_dtype(self) -> torch.dtype:
        return self.model.dtype

    def score(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        """As the policy's: log-probabilities float32 [T] of each completion."""
        return [self.logprobs(sample.rollout.request.prompt_ids, sample.rollout.completion_ids) for sample in samples]

    @torch.no_grad()
    def logprobs(self, prompt: tuple[int, ...], completion: tuple[int, ...]) -> np.ndarray:
        """float32 [T] of one completion."""
        ids = torch.tensor([prompt + completion], device=self.model.device)
        logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=len(completion) + 1).logits[0, :-1].float()
        logps = (logits / self.temperature).log_softmax(-1)
        return logps.gather(-1, ids[0, len(prompt) :, None])[:, 0].cpu().numpy()


@dataclass(frozen=True)
class FrozenModel(LogprobScorer):
    """A model in evaluation mode, loaded when it is first used."""

    location: str
    precision: str
    temperature: float = 1.0
    version: int = 0

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self._tokenizer

    @property
    def model(self) -> PreTrainedModel:
        return self._model

    # A type checker takes no `cached_property` for the property of a protocol.
    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return models.load_tokenizer(self.location)

    @cached_property
    def _model(self) -> PreTrainedModel:
        dtype = torch.bfloat16 if self.precision == "pure_bf16" else torch.float32
        model, device = models.load_model(self.location, dtype), "cuda" if torch.cuda.is_available() else "cpu"
        return model.to(device)  # pyright: ignore[reportArgumentType]  # transformers' decorator hides `self`

    @property
    def parameters(self) -> int:
        return models.weights_of_a_token(self.model)

    def named_parts(self, with_base: bool) -> Iterator[tuple[str, torch.Tensor]]:
        """It has no adapter: its weights or nothing."""
        return self.named_tensors() if with_base else iter(())

    def named_tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        return ((name, weight.detach()) for name, weight in self.model.named_parameters())

    def prompt_text(self, rollout: Rollout) -> str:
        return models.text_of_prompt(self.tokenizer, rollout)
