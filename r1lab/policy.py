"""The model being trained: scoring, updating, its weights by name, its state. The only user of accelerate's devices.

Not the loss (`r1lab.objective`) nor the head (`r1lab.kernels`); no denominator exists here.
"""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from r1lab import attention, kernels, models, ranks, shards
from r1lab.errors import RunError
from r1lab.faults import blame
from r1lab.objective import Objective
from r1lab.objective.schedule import learning_rate
from r1lab.packing import pack
from r1lab.recipe import Stage
from r1lab.records import Learned, PackedBatch, Rollout, Sample, Scores, Update
from r1lab.shares import by_tokens


class Policy:
    """A causal language model with its optimizer; `version` counts updates."""

    def __init__(
        self,
        location: str,
        stage: Stage,
        *,
        total_updates: int,
        temperature: float,
        needs_ref: bool,
        value_rate: float | None = None,
    ):
        """`value_rate` makes a value head, whose learning rate is that multiple of the policy's."""
        has_gpu = torch.cuda.is_available()
        self.autocast = stage.precision == "bf16_autocast" or (stage.precision == "auto" and has_gpu)
        # Its mixed precision is fixed for the process; stages may differ.
        self.accelerator = Accelerator(cpu=not has_gpu, mixed_precision="no")
        self.tokenizer = models.load_tokenizer(location)
        dtype = torch.bfloat16 if stage.precision == "pure_bf16" else torch.float32
        self.model = models.load_model(location, dtype).to(self.accelerator.device)
        self.reference = copy.deepcopy(self.model).requires_grad_(False) if needs_ref else None
        self.temperature, self.stage, self.total_updates = temperature, stage, total_updates
        shares = stage.attention == "auto" and attention.takes_masks(self.model)
        self.columns = attention.columns_per_token(self.model) if shares else None
        self.value_head = None if value_rate is None else self._make_value_head()
        for module in (self.model, self.reference, self.value_head):
            shards.shard(module, stage.parallel)
        self.kept: dict[str, Any] | None = None
        options = stage.optimizer
        groups = [{"params": list(self.model.parameters()), "factor": 1.0}]
        if self.value_head is not None:
            groups.append({"params": list(self.value_head.parameters()), "factor": value_rate})
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=0.0,
            betas=(options.beta1, options.beta2),
            eps=options.epsilon,
            weight_decay=options.weight_decay,
            fused=True,
        )
        self.version = 0

    @property
    def parameters(self) -> int:
        """Weights that a token's forward pass multiplies: all but an untied input embedding."""
        total = sum(weight.numel() for weight in self.model.parameters())
        embedding, head = self.model.get_input_embeddings().weight, self.model.get_output_embeddings().weight
        return total if embedding is head else total - embedding.numel()

    def prompt_text(self, rollout: Rollout) -> str:
        """The prompt for people, as the model reads it."""
        return self.tokenizer.decode(rollout.request.prompt_ids, skip_special_tokens=False)

    def score(self, samples: Sequence[Sample], *, reference: bool = False) -> list[np.ndarray]:
        """Log-probabilities float32 [T] of each sample's completion under the policy or the reference, no gradient."""
        return [scores.logp for scores in self.scores(samples, reference=reference, entropy=False)]

    def scores(self, samples: Sequence[Sample], *, reference: bool = False, entropy: bool = True) -> list[Scores]:
        """Log-probabilities, entropies if asked for, and values of each sample's completion, no gradient."""
        model = self.reference if reference else self.model

        @torch.no_grad()
        def compute(own: list[Sample]) -> list[Scores]:
            return self._scores(own, model, entropy)

        return ranks.shared_out(samples, by_tokens, compute, alone=not shards.is_sharded(model))

    def _scores(self, samples: list[Sample], model, entropy: bool) -> list[Scores]:
        """Of this rank's samples."""
        scored, batches = [Scores(np.empty(0, np.float32), None, None)] * len(samples), self._pack(samples)
        for batch in batches + [None] * shards.missing(model, len(batches)):
            hidden = self._hidden(model, batch)
            values = None if model is self.reference or self.value_head is None else self._values(hidden)
            if batch is None:
                continue
            weight, layer = self._layer(model)
            found = kernels.token_logps(hidden, weight, batch.target, entropy=entropy, **layer)
            columns = [None if each is None else each.cpu().numpy() for each in (*found[:2], values)]
            owner = batch.sequence.cpu().numpy()
            for index in np.unique(owner):
                scored[index] = Scores(*(None if each is None else each[owner == index] for each in columns))
        shards.rest(model)
        return scored

    def update(self, samples: Sequence[Sample], objective: Objective) -> Update:
        """One optimizer step on the plain sum of scale x term over the samples that are not left out.

        RunError, before the weights change, where a loss or gradient is not finite.
        """
        forwarded = [sample for sample in samples if not sample.left_out]
        objective.check(forwarded)
        self.optimizer.zero_grad(set_to_none=True)
        own = [forwarded[index] for index in ranks.own_share(forwarded, by_tokens)]
        found = ranks.gather(lambda: self._learn(own, objective), alone=not shards.is_sharded(self.model))
        parts = [part for of_rank in found for part in of_rank]
        if fault := next((part.fault for part in parts if part.fault), ""):
            raise RunError(fault)
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        shards.sum_gradients(weights)
        norm = shards.clip(weights, self.stage.optimizer.grad_clip or float("inf"))
        if not np.isfinite(norm):
            names = ", ".join(str(sample.rollout.request.id) for sample in forwarded[:3])
            raise RunError(
                f"gradient norm is {norm} in update {self.version} ({names}, ...); the weights are unchanged"
            )
        rate = self._rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimizer.step()
        self.version += 1
        rows = {key: np.concatenate([part.rows[key] for part in parts]) for key in parts[0].rows} if parts else {}
        return Update(sum(part.loss for part in parts), norm, rate, sum(part.tokens for part in parts), rows)

    def _learn(self, samples: list[Sample], objective: Objective) -> list[Learned]:
        """Add the gradient of this rank's samples, a micro-batch at a time."""
        parts, batches = [], self._pack(samples)
        for batch in batches + [None] * shards.missing(self.model, len(batches)):
            if batch is None:
                self._idle()
                continue
            loss, rows = self._accumulate(batch, objective)
            prompts = sum(len(samples[index].rollout.request.prompt_ids) for index in np.unique(batch.sequence.cpu()))
            fault = "" if np.isfinite(loss) else blame(batch, rows, samples)
            parts.append(Learned(loss, rows, prompts + len(batch.target), fault))
        return parts

    def _idle(self) -> None:
        """A pass of scale 0 for a rank without rows: the passes of a sharded model wait for all ranks."""
        hidden, layer = self._hidden(self.model, None), models.output_layer(self.model)
        values = None if self.value_head is None else self._values(hidden)
        used = [each.float().sum() for each in (hidden, layer.weight, layer.bias, values) if each is not None]
        (0.0 * sum(used)).backward()

    def refresh_reference(self) -> None:
        """The reference becomes the policy of now (`kl.ref_refresh_steps`)."""
        self.reference.load_state_dict(self.model.state_dict())

    def whole(self) -> "Policy":
        """What rank 0 can save: itself, or a copy that keeps the parts of all ranks put together (a collective)."""
        if not shards.is_sharded(self.model):
            return self
        copied = copy.copy(self)
        copied.kept = shards.whole({"weights": shards.weights(self.model), "state": self.state_dict()})
        return copied

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Weights for an engine, a tied one once; a collective where they are sharded, which every rank iterates."""
        for name, weight in self.model.named_parameters():
            yield name, shards.full(weight.detach())

    def save(self, folder: Path) -> None:
        """A Hugging Face folder that transformers and vLLM load as it is; sharded, of what `whole` gave."""
        self.model.save_pretrained(folder, state_dict=self.kept and self.kept["weights"], safe_serialization=True)
        self.tokenizer.save_pretrained(folder)

    def restore(self, folder: Path) -> None:
        """Take the weights of a folder that `save` wrote."""
        shards.load(self.model, models.load_model(str(folder), self.model.dtype).state_dict())

    def state_dict(self) -> dict:
        """What a checkpoint holds beside the weights, which stand in its Hugging Face folder."""
        if self.kept:
            return self.kept["state"]
        reference = None if self.reference is None else self.reference.state_dict()
        values = None if self.value_head is None else self.value_head.state_dict()
        return {
            "version": self.version,
            "optimizer": self.optimizer.state_dict(),
            "reference": reference,
            "value_head": values,
        }

    def load_state_dict(self, state: dict) -> None:
        self.version = state["version"]
        shards.load_moments(self.optimizer, state["optimizer"])
        for module, name in ((self.reference, "reference"), (self.value_head, "value_head")):
            if module is not None:
                shards.load(module, state[name])

    def _make_value_head(self) -> torch.nn.Linear:
        """From a hidden state to the reward still to come; zero at first. It is no part of the Hugging Face folder."""
        head = torch.nn.Linear(self.model.get_output_embeddings().weight.shape[1], 1).to(self.accelerator.device)
        for weight in head.parameters():
            torch.nn.init.zeros_(weight)
        return head

    def _values(self, hidden: Tensor) -> Tensor:
        """float32 [N]"""
        return self.value_head(hidden.float()).squeeze(-1)

    def _pack(self, samples: Sequence[Sample]) -> list[PackedBatch]:
        return pack(
            samples,
            micro_batch_tokens=self.stage.micro_batch_tokens,
            device=self.accelerator.device,
            columns=self.columns,
        )

    def _rate(self) -> float:
        options = self.stage.optimizer
        return learning_rate(
            self.version,
            peak=self.stage.learning_rate,
            warmup=options.warmup_updates,
            total=self.total_updates,
            schedule=options.schedule,
        )

    def _hidden(self, model, batch: PackedBatch | None) -> Tensor:
        """Hidden states [N, D] that predict the batch's targets; of one token where there is no batch."""
        if batch is None:
            batch = shards.nothing(self.accelerator.device)
        mask = None if batch.segments is None else attention.mask(batch.segments)
        with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.autocast):
            states = shards.trunk(model)(
                input_ids=batch.input_ids, attention_mask=mask, position_ids=batch.position_ids, use_cache=False
            ).last_hidden_state
        return states.flatten(0, 1)[batch.hidden_index]

    def _layer(self, model) -> tuple[Tensor, dict[str, Any]]:
        """The output layer's weight, and how the loss head computes with it."""
        layer = models.output_layer(model)
        return layer.weight, {
            "bias": layer.bias,
            "softcap": layer.softcap,
            "temperature": self.temperature / layer.scale,
            "mixed": self.autocast,
            "kernel": self.stage.kernel,
        }

    def _accumulate(self, batch: PackedBatch, objective: Objective) -> tuple[float, dict[str, np.ndarray]]:
        """Add a micro-batch's gradient; its loss and rows."""
        hidden = self._hidden(self.model, batch)
        loss, logp, entropy = self._loss(hidden, batch, objective)
        if self.value_head is not None:
            loss = loss + objective.value_loss(batch, self._values(hidden)).sum()
        loss.backward()
        columns = {
            "logp": logp,
            "entropy": entropy,
            "old": logp if batch.old is None else batch.old,
            "engine": batch.engine,
            "ref": torch.full_like(logp, float("nan")) if batch.ref is None else batch.ref,
            "advantage": batch.advantage,
            "scale": batch.scale,
            "role": batch.role,
        }
        return float(loss.detach()), {key: value.cpu().numpy() for key, value in columns.items()}

    def _loss(self, hidden: Tensor, batch: PackedBatch, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
        """The summed loss and, detached, log-probabilities and entropies [N]; one pass where every row stands alone."""
        weight, layer = self._layer(self.model)
        options = {"kappa": objective.kappa, "anchor": batch.engine, **layer}

        def spec(logp: Tensor, entropy: Tensor, *rest) -> Tensor:
            *logq, at = rest
            return objective.row_loss(batch, logp, entropy, at, *logq)

        if objective.is_local:
            loss, logp, entropy, _ = kernels.policy_head(hidden, weight, batch.target, spec, **options)
            return loss, logp, entropy
        logp, entropy, logq = kernels.token_logps(hidden, weight, batch.target, **options)
        loss = objective.row_loss(batch, logp, entropy, slice(0, len(logp)), logq).sum()
        return loss, logp.detach(), entropy.detach()
