"""Score completions for the check of a sync (`r1lab.engines.sync.ScorerProtocol`): one plain forward a completion.

Not how training scores (`Policy.score`): a server that comes back in the middle of a step is checked without the
trainer.
"""

from collections.abc import Sequence

import numpy as np
import torch

from r1lab.records import Sample


class Scorer:
    """A transformers causal LM at temperature 1."""

    temperature = 1.0

    def __init__(self, model):
        self.model, self.compute_dtype = model, model.dtype

    def score(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        """Log-probabilities float32 [T] of each sample's completion."""
        return [self._one(each.rollout.request.prompt_ids, each.rollout.completion_ids) for each in samples]

    @torch.no_grad()
    def _one(self, prompt: tuple[int, ...], completion: tuple[int, ...]) -> np.ndarray:
        ids = torch.tensor([prompt + completion], device=self.model.device)
        logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=len(completion) + 1).logits[0, :-1].float()
        return logits.log_softmax(-1).gather(-1, ids[0, len(prompt) :, None])[:, 0].cpu().numpy()
