"""The model being trained: scoring, updating, and weights and state as engines, folders and checkpoints take them.

Not the loss (`r1lab.objective`) nor the loss head (`r1lab.kernels`): no denominator exists here. Where processes hold
parts of the weights (`r1lab.distributed.sharding`) each gives and takes its own.
"""

import copy
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from r1lab import attention, kernels
from r1lab.distributed import ranks, sharding
from r1lab.distributed.partition import by_tokens
from r1lab.errors import RunError
from r1lab.objective import Objective
from r1lab.objective.loss import row_loss, value_loss
from r1lab.objective.samples import check_update
from r1lab.objective.schedule import learning_rate
from r1lab.policy import lora, models, portable
from r1lab.policy.compute import prepare_compute
from r1lab.policy.packing import empty_batch, on_tokens, pack, sample_tokens
from r1lab.policy.placing import asks_for_parts, read_parts, stays_exact, value_head
from r1lab.policy.refusals import nonfinite_reason, refuse_other_reference
from r1lab.recipe import TrainStageConfig
from r1lab.records import Learned, PackedBatch, Rollout, Sample, Scores, Update
from r1lab.seeds import derive
from r1lab.timing import Watch, matmul_rate


class Policy:
    """A causal language model with its optimizer; `version` counts updates."""

    def __init__(
        self,
        location: str,
        stage: TrainStageConfig,
        *,
        total_updates: int,
        temperature: float,
        needs_ref: bool,
        reference: str | None = None,
        value_rate: float | None = None,
        seed: int = 0,
    ):
        """`reference` is where that model is, if it is not the policy's start. `value_rate` makes a value head, whose
        learning rate is that multiple of the policy's. `seed`: the run's."""
        has_gpu = torch.cuda.is_available()
        self.autocast = stage.precision == "bf16_autocast" or (stage.precision == "auto" and has_gpu)
        # Its mixed precision is fixed for the process; stages may differ.
        self.accelerator = Accelerator(cpu=not has_gpu, mixed_precision="no")
        self.tokenizer = models.load_tokenizer(location)
        self.stage, self.dtype = stage, torch.bfloat16 if stage.precision == "pure_bf16" else torch.float32
        self.is_split = asks_for_parts(stage, location, (reference or location) if needs_ref else None)
        self.notes: list[str] = []
        """For the manifest and the console."""
        self.shares_prompts = stage.attention == "auto"
        self.model = self._place(location, self.dtype, seed)
        self.reference = self._make_reference(location, reference, seed) if needs_ref else None
        self.is_refreshed = False
        prepare_compute(self.model, stage)
        if stage.lora is not None:
            lora.add_adapter(self.model, stage.lora, derive(seed, "lora"))
        self.temperature, self.total_updates, self.version, self.watch = temperature, total_updates, 0, Watch()
        self.value_head = None if value_rate is None else value_head(self.model, self.accelerator.device, self.is_split)
        options = stage.optimizer
        groups = [{"params": [each for each in self.model.parameters() if each.requires_grad], "factor": 1.0}]
        if self.value_head is not None:
            groups.append({"params": list(self.value_head.parameters()), "factor": value_rate})
        decay: dict[str, Any] = {"eps": options.epsilon, "weight_decay": options.weight_decay}
        # Fused: one pass over each weight, on a CPU too; other implementations round otherwise.
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(options.beta1, options.beta2), fused=True, **decay)
        self.engine_dtype: torch.dtype | None = None
        """What an engine holds weights in, to which sharded ones are cast before they are gathered."""

    def _place(self, location: str, dtype: torch.dtype, seed: int, *, is_tried: bool = True):
        """The model on this process's device: whole, or this process's part of it. Prompts are shared no more where it
        is tried and cannot read them."""
        load, device = partial(self._load, location, dtype, seed), self.accelerator.device
        new = partial(self._new_weights, location=location, seed=seed)
        place = partial(read_parts, load, location, device, new) if self.is_split else lambda: load().to(device)
        model = place()
        if is_tried and self.shares_prompts:
            self.shares_prompts = attention.use_packed_attention(model, self.notes.append, sharding.trunk(model))
            sharding.reshard(model)
            if self.is_split and not self.shares_prompts:
                model = place()  # the try may have ended amid a pass, where weights are whole
        return model

    def _load(self, location: str, dtype: torch.dtype, seed: int, *, is_empty: bool = False):
        return models.load_model(location, dtype, is_empty=is_empty)

    def _new_weights(self, model, location: str, seed: int) -> dict[str, Tensor]:
        """Weights that the files at the location have not."""
        return {}

    def _make_reference(self, location: str, named: str | None, seed: int):
        """A copy of the policy as it is, or the model that is named; on a GPU in what it computes in anyway, at half
        the memory."""
        dtype = self.compute_dtype if torch.cuda.is_available() else self.dtype
        dtype = torch.bfloat16 if self.stage.reference_precision == "bf16" else dtype
        if named is None and not self.is_split:
            model = copy.deepcopy(self.model)
        else:
            first_dtype = dtype if self.is_split else self.dtype
            model = self._place(named or location, first_dtype, seed, is_tried=named is not None)  # of one packing
        if named is None and self.shares_prompts:
            model.set_attn_implementation(attention.NAME)
        if not self.is_split:
            for weight in model.parameters():
                weight.data = weight.data.to(dtype)  # not the model: angles of rotation stay in float32
        return model.requires_grad_(False)

    @cached_property
    def reference_digest(self) -> str:
        """Of the frozen reference's weights: what a checkpoint holds in their place (a collective where sharded)."""
        assert self.reference is not None  # nobody else asks
        return sharding.digest_of(self.reference)

    @property
    def reference_parameters(self) -> int:
        """The same of the reference, 0 without one."""
        return models.weights_of_a_token(self.reference) if self.reference is not None else 0

    @property
    def parameters(self) -> int:
        """Weights that a token's forward pass multiplies."""
        return models.weights_of_a_token(self.model)

    @property
    def compute_dtype(self) -> torch.dtype:
        """What the trunk computes in."""
        return torch.bfloat16 if self.autocast else self.dtype

    def prompt_text(self, rollout: Rollout) -> str:
        """The prompt for people, as the model reads it."""
        return models.text_of_prompt(self.tokenizer, rollout)

    def score(self, samples: Sequence[Sample], *, reference: bool = False) -> list[np.ndarray]:
        """Log-probabilities float32 [T] of each sample's completion under the policy or the reference, no gradient."""
        return [scores.logp for scores in self.scores(samples, reference=reference, entropy=False)]

    def scores(self, samples: Sequence[Sample], *, reference: bool = False, entropy: bool = True) -> list[Scores]:
        """Log-probabilities, entropies if asked for, and values of each sample's completion, no gradient."""
        model = self.reference if reference else self.model
        assert model is not None  # a reference is read where the objective needs one, and only there

        @torch.no_grad()
        def compute(own_samples: list[Sample]) -> list[Scores]:
            return self._scores(own_samples, model, entropy)

        return ranks.shared_out(samples, by_tokens, compute, alone=not sharding.is_sharded(model))

    def _scores(self, samples: list[Sample], model, entropy: bool) -> list[Scores]:
        """Of this rank's samples."""
        scored, batches = [self._unscored(sample, entropy) for sample in samples], self._pack(samples)
        for batch in batches + [None] * sharding.missing_passes(model, len(batches)):
            hidden = self._hidden(model, batch)
            values = None if model is self.reference else self._values(hidden)
            if batch is None:
                continue
            weight, layer = self._layer(model)
            scores = kernels.token_logps(hidden, weight, batch.target, entropy=entropy, **layer)
            logp, owner = scores.logp.cpu().numpy(), batch.sequence.cpu().numpy()
            others = [None if column is None else column.cpu().numpy() for column in (scores.entropy, values)]
            for index in np.unique(owner):
                mine, role = owner == index, samples[index].role
                parts = (None if column is None else on_tokens(column[mine], role) for column in others)
                scored[index] = Scores(on_tokens(logp[mine], role), *parts)
        sharding.reshard(model)
        return scored

    def _unscored(self, sample: Sample, entropy: bool) -> Scores:
        """Of a completion without a trained token, a greedy baseline's."""
        unknown = np.full(len(sample.role), np.nan, np.float32)
        return Scores(unknown, unknown if entropy else None, None if self.value_head is None else unknown)

    def update(self, samples: Sequence[Sample], objective: Objective) -> Update:
        """One optimizer step on the plain sum of scale x term over the samples that are not left out.

        RunError, before the weights change, where a loss or gradient is not finite.
        """
        forwarded = [sample for sample in samples if not sample.left_out]
        check_update(objective, forwarded)
        self.optimizer.zero_grad(set_to_none=True)
        indices = np.array(ranks.own_share(forwarded, by_tokens), np.int64)
        is_alone = not sharding.is_sharded(self.model)
        of_ranks, whole = ranks.gather_outcomes(
            lambda: self._learn(forwarded, indices, objective),
            lambda own: [part.outcome for part in own],
            alone=is_alone,
        )
        parts = list(chain.from_iterable(of_ranks))
        if fault := next((part.fault for part in parts if part.fault), ""):
            raise RunError(fault)
        with self.watch("optimizer"):
            norm, rate = self._step(forwarded)
        every = [part.rows for part in chain.from_iterable(whole)]
        rows = {key: np.concatenate([rows[key] for rows in every]) for key in every[0]} if every else {}
        return Update(sum(part.loss for part in parts), norm, rate, sum(part.tokens for part in parts), rows)

    def _learn(self, samples: Sequence[Sample], own_samples: np.ndarray, objective: Objective) -> list[Learned]:
        """Add the gradient of this rank's `own_samples` samples, a micro-batch at a time."""
        with self.watch("pack"):
            parts, mine = [], [samples[index] for index in own_samples]
            batches = self._pack(mine)
        for batch in batches + [None] * sharding.missing_passes(self.model, len(batches)):
            if batch is None:
                self._idle()
                continue
            loss, rows = self._accumulate(batch, objective)
            fault = "" if np.isfinite(loss) else nonfinite_reason(batch, rows, mine)
            rows["sequence"] = own_samples[rows["sequence"]]
            tokens = sum(sample_tokens(samples[index]) for index in np.unique(rows["sequence"]))
            parts.append(Learned(loss, rows, tokens, fault))
        return parts

    def _idle(self) -> None:
        """A pass of scale 0 for a rank without rows: the passes of a sharded model wait for all ranks."""
        hidden, layer = self._hidden(self.model, None), models.output_layer(self.model)
        parts = (hidden, layer.weight, layer.bias, self._values(hidden))
        (0.0 * torch.stack([part.float().sum() for part in parts if part is not None]).sum()).backward()

    def _step(self, forwarded: Sequence[Sample]) -> tuple[float, float]:
        """Clip and apply the gradient of all ranks; its norm and the learning rate."""
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        for weight in weights:
            if weight.grad is None:  # this rank had no rows, but all must send alike
                weight.grad = torch.zeros_like(weight)
        sharding.sum_gradients(weights)
        norm = sharding.clip_gradients(weights, self.stage.optimizer.grad_clip or float("inf"))
        if not np.isfinite(norm):
            names = ", ".join(str(sample.rollout.request.id) for sample in forwarded[:3])
            raise RunError(
                f"gradient norm is {norm} in update {self.version} ({names}, ...); the weights are unchanged"
            )
        rate = self._rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimizer.step()
        if self.accelerator.device.type == "cuda":
            self.optimizer.zero_grad(set_to_none=True)  # an engine wakes in this memory
        self.version += 1
        return norm, rate

    def _values(self, hidden: Tensor) -> Tensor | None:
        """float32 [N]; None without a value head."""
        return None if self.value_head is None else self.value_head(hidden.float()).squeeze(-1)

    def _pack(self, samples: Sequence[Sample]) -> list[PackedBatch]:
        return pack(
            samples,
            micro_batch_tokens=self.stage.micro_batch_tokens,
            device=self.accelerator.device,
            shared=self.shares_prompts,
        )

    def _flops(self, batch: PackedBatch) -> int:
        """Of a micro-batch's forward and backward pass through the weights: 6 a weight and token, 4 where an adapter is
        trained; attention is not in it."""
        head = models.output_layer(self.model).weight.numel()
        passed = (self.parameters - head) * batch.input_ids.numel() + head * len(batch.target)
        return (6 if self.stage.lora is None else 4) * passed

    def matmul_rate(self) -> float:
        """FLOPs a second that this machine multiplies at best in the policy's precision."""
        return matmul_rate(self.accelerator.device, torch.bfloat16 if self.autocast else self.model.dtype)

    def _rate(self) -> float:
        options = self.stage.optimizer
        shape = {"warmup": options.warmup_updates, "total": self.total_updates, "schedule": options.schedule}
        return learning_rate(self.version, peak=self.stage.learning_rate, **shape)

    def _hidden(self, model, batch: PackedBatch | None) -> Tensor:
        """Hidden states [N, D] that predict the batch's targets; of one token where there is no batch."""
        batch = batch or empty_batch(self.accelerator.device)
        with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.autocast):
            states = attention.forward(sharding.trunk(model), batch.input_ids, batch.position_ids, batch.segments)
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
        with self.watch("forward"):
            hidden = self._hidden(self.model, batch)
            loss, logp, entropy = self._loss(hidden, batch, objective)
            if (values := self._values(hidden)) is not None:
                loss = loss + value_loss(objective, batch, values).sum()
        with self.watch("backward"):
            loss.backward()
        self.watch.flops += self._flops(batch)
        columns = {
            "logp": logp,
            "entropy": entropy,
            "old": logp if batch.old is None else batch.old,
            "ref": torch.full_like(logp, float("nan")) if batch.ref is None else batch.ref,
            **{name: getattr(batch, name) for name in ("engine", "advantage", "scale", "role", "sequence")},
        }
        return float(loss.detach()), {key: value.cpu().numpy() for key, value in columns.items()}

    def _loss(self, hidden: Tensor, batch: PackedBatch, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
        """The summed loss and, detached, log-probabilities and entropies [N]; one pass where every row stands alone."""
        weight, layer = self._layer(self.model)
        options = {"kappa": objective.kappa, "anchor": batch.engine, **layer}

        def spec(logp: Tensor, entropy: Tensor, *rest) -> Tensor:
            *logq, at = rest
            return row_loss(objective, batch, logp, entropy, at, *logq)

        if objective.is_local:
            loss, logp, entropy, _ = kernels.policy_head(hidden, weight, batch.target, spec, **options)
            return loss, logp, entropy
        logp, entropy, logq = kernels.token_logps(hidden, weight, batch.target, **options)
        assert entropy is not None  # it was not declined
        loss = row_loss(objective, batch, logp, entropy, slice(0, len(logp)), logq).sum()
        return loss, logp.detach(), entropy.detach()

    def refresh_reference(self) -> None:
        """The reference becomes the policy of now (`kl.ref_refresh_steps`)."""
        assert self.reference is not None  # a recipe that refreshes it has one
        self.is_refreshed = True
        sharding.load(self.reference, lora.merged_weights(self.model))

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Weights for an engine, a tied one once and an adapter merged. Where they are sharded it is a collective, and
        they come in `engine_dtype` but for what a family keeps in float32."""
        for name, weight in lora.merged_weights(self.model):
            yield name, sharding.full_tensor(weight, None if stays_exact(self.model, name) else self.engine_dtype)

    def named_parts(self, with_base: bool) -> Iterator[tuple[str, Tensor]]:
        """For an engine that holds the adapter apart: its matrices by peft's names, before them the weights below it
        if asked for."""
        below = lora.base_weights(self.model) if with_base else ()
        return ((name, weight.detach()) for name, weight in chain(below, lora.adapter_matrices(self.model)))

    def save(self, folder: Path) -> None:
        """A Hugging Face folder that transformers and vLLM load as it is; rank 0 writes it (a collective)."""
        if self.is_split:
            portable.save_parts(self.model, folder)
        else:
            ranks.first(self._save_whole, folder)
        ranks.first(self.tokenizer.save_pretrained, folder)

    def _save_whole(self, folder: Path) -> None:
        merged = None if self.stage.lora is None else dict(self.named_tensors())
        self.model.save_pretrained(folder, state_dict=merged, safe_serialization=True)
        if self.stage.lora is not None:
            lora.save(self.model, folder)

    def save_beside(self, folder: Path) -> None:
        """What a checkpoint holds beside the state: the same folder, but where the state has the weights' parts."""
        if not self.is_split:
            self.save(folder)

    def restore(self, folder: Path) -> None:
        """Take the weights of a folder that `save_beside` wrote."""
        if self.stage.lora is not None:
            return lora.restore(self.model, folder)
        if not (files := models.weight_files(str(folder))):
            return  # the state had them
        named = sharding.stored(self.model, files) if self.is_split else None
        sharding.load(self.model, named or self._load(str(folder), self.dtype, 0).state_dict())

    def state_dict(self) -> dict:
        """What a checkpoint holds beside the weights, which stand in its folder; sharded ones stand here."""
        reference = None
        if self.reference is not None:
            reference = self.reference.state_dict() if self.is_refreshed else self.reference_digest
        head = None if self.value_head is None else self.value_head.state_dict()
        state = {"version": self.version, "optimizer": self.optimizer.state_dict(), "reference": reference}
        return state | {"value_head": head} | ({"weights": sharding.weights(self.model)} if self.is_split else {})

    def load_state_dict(self, state: dict) -> None:
        self.version = state["version"]
        sharding.load(self.model, state.get("weights", {}))
        sharding.load_moments(self.optimizer, state["optimizer"])
        if self.value_head is not None:
            sharding.load(self.value_head, state["value_head"])
        if isinstance(state["reference"], str):
            refuse_other_reference(state["reference"], self.reference_digest)
        elif self.reference is not None:
            self.is_refreshed = True
            sharding.load(self.reference, state["reference"])
