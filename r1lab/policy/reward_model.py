"""The reward model being trained: a scalar head on a trunk, read after some tokens of a completion.

To the loop it is what `r1lab.policy.policy.Policy` is: optimizer, micro-batches, ranks, checkpoints. Not its losses
(`r1lab.objective.labelled`), nor how the folder is made and read (`r1lab.policy.classifier`).
"""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor

from r1lab.distributed import sharding
from r1lab.objective import Objective
from r1lab.objective.loss import row_loss
from r1lab.objective.segments import Segments
from r1lab.policy import classifier
from r1lab.policy.policy import Policy
from r1lab.recipe import TrainStageConfig
from r1lab.records import PackedBatch, Role, Sample, Scores

UNKNOWN = ("logp", "entropy", "old", "ref")
"""What a row of a policy has and a score has not."""


class RewardModel(Policy):
    """A sequence classifier with one label; a score is read where a sample's role is PAIR, after that token."""

    def __init__(self, location: str, stage: TrainStageConfig, *, total_updates: int, turn_end: int | None, seed: int):
        """`turn_end` ends what is scored, and pads nothing."""
        self.turn_end = turn_end  # `_load` reads it
        super().__init__(location, stage, total_updates=total_updates, temperature=1.0, needs_ref=False, seed=seed)

    def _load(self, location: str, dtype: torch.dtype, seed: int, *, is_empty: bool = False):
        model = classifier.load_classifier(location, dtype, seed, is_empty=is_empty)
        classifier.set_padding(model, self.tokenizer, self.turn_end)
        return model

    def _new_weights(self, model, location: str, seed: int) -> dict[str, Tensor]:
        return classifier.new_head(model, location, seed)

    @property
    def parameters(self) -> int:
        """Weights that a token's forward pass multiplies: all but the embedding."""
        return classifier.weights_of_a_token(self.model)

    def _flops(self, batch: PackedBatch) -> int:
        return (6 if self.stage.lora is None else 4) * self.parameters * batch.input_ids.numel()

    def _pack(self, samples: Sequence[Sample]) -> list[PackedBatch]:
        """Micro-batches whose rows are the scored tokens, all others being CONTEXT, each with the hidden state behind
        its token."""
        if not self.shares_prompts:
            return [replace(batch, hidden_index=batch.hidden_index + 1) for batch in super()._pack(samples)]
        return super()._pack([_with_end(sample) for sample in samples])

    def _scores(self, samples: list[Sample], model, entropy: bool) -> list[Scores]:
        """Of this rank's samples: `logp` holds the scores float32 [S] of a sample's scored tokens."""
        scored, batches = [Scores(np.empty(0, np.float32), None, None)] * len(samples), self._pack(samples)
        for batch in batches + [None] * sharding.missing_passes(model, len(batches)):
            scores = self._read(self._hidden(model, batch))
            if batch is None:
                continue
            values, owner = scores.cpu().numpy(), batch.sequence.cpu().numpy()
            for index in np.unique(owner):
                scored[index] = Scores(values[owner == index], None, None)
        sharding.reshard(model)
        return scored

    def _accumulate(self, batch: PackedBatch, objective: Objective) -> tuple[float, dict[str, np.ndarray]]:
        """Add a micro-batch's gradient; its loss and rows."""
        with self.watch("forward"):
            scores = self._read(self._hidden(self.model, batch))
            loss = row_loss(objective, batch, scores, torch.zeros_like(scores), slice(0, len(scores))).sum()
        with self.watch("backward"):
            loss.backward()
        self.watch.flops += self._flops(batch)
        scores = scores.detach()
        columns = {
            **dict.fromkeys(UNKNOWN, torch.full_like(scores, float("nan"))),
            "score": scores,
            "lead": lead(scores, batch, objective),
            **{name: getattr(batch, name) for name in ("engine", "advantage", "scale", "role", "sequence")},
        }
        return float(loss.detach()), {key: value.cpu().numpy() for key, value in columns.items()}

    def _idle(self) -> None:
        (0.0 * self._read(self._hidden(self.model, None)).sum()).backward()

    def _read(self, hidden: Tensor) -> Tensor:
        """Scores float32 [N] of hidden states [N, D]."""
        head = classifier.head_of(self.model)
        bias = None if head.bias is None else head.bias.float()
        return torch.nn.functional.linear(hidden.float(), head.weight.float(), bias).squeeze(-1)


def lead(scores: Tensor, batch: PackedBatch, objective: Objective) -> Tensor:
    """By how much each row [N] is on the right side: A score, or, of a pair, chosen score - rejected score."""
    signed = batch.advantage * scores
    if objective.is_local or batch.unit is None:
        return signed
    return Segments(batch.unit, torch.ones_like(signed, dtype=torch.bool)).total(signed)


def _with_end(sample: Sample) -> Sample:
    """The sample with one more token, and every token's numbers one place later: in a packed row the state behind a
    token is that which predicts the next, and a completion's last token is left out."""
    rollout = sample.rollout
    moved = {
        each.name: np.concatenate([value[:1] * 0, value])
        for each in fields(sample)
        if isinstance(value := getattr(sample, each.name), np.ndarray) and each.name != "role"
    }
    role = np.concatenate([np.full(1, Role.CONTEXT, np.int8), sample.role])
    ended = replace(
        rollout,
        completion_ids=(*rollout.completion_ids, rollout.completion_ids[-1]),
        engine_logprobs=np.concatenate([rollout.engine_logprobs, rollout.engine_logprobs[-1:]]),
    )
    return replace(sample, rollout=ended, role=role, **moved)
