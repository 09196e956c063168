"""Say whether a stage fits a GPU: a table of estimated memory by purpose and phase, and what to change where it does
not fit. Not the estimates themselves (`r1lab.policy.memory`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import PretrainedConfig

from r1lab.engines import factory
from r1lab.errors import RecipeError
from r1lab.policy import memory, models
from r1lab.policy.memory import CARDS, GIB, USABLE_SHARE, Need
from r1lab.recipe import AnyStageConfig, LoraConfig, TrainStageConfig

PROCESSES = (2, 4, 8, 16, 32, 64)
"""That are tried where one does not fit."""
SMALLEST_ROWS_GIB = 0.05
VLLM_WORKING_BYTES = 2 * GIB
"""What vLLM takes of its share beside weights and keys."""


@dataclass(frozen=True)
class Card:
    """A GPU by name; its memory in bytes."""

    name: str
    size: float


@dataclass(frozen=True)
class Placement:
    """A stage on a card by so many processes; `tokens` is the longest sequence, `keys` the bytes of one token's keys
    and values for each byte of a number, `sequences` how many are sampled at once."""

    stage: AnyStageConfig
    config: PretrainedConfig
    card: Card
    processes: int
    engine: str
    needs_ref: bool
    reference: PretrainedConfig | None
    tokens: int
    keys: float
    sequences: int

    def need(self) -> Need:
        stage = self.stage
        if not isinstance(stage, TrainStageConfig):  # it only samples: a float32 model that scores, and an engine
            size = 2 if stage.precision == "pure_bf16" else 4
            weights = {"weights": size * models.num_parameters(self.config), "CUDA": memory.CONTEXT_BYTES}
            awake = self.vllm_share() if self.engine == "vllm" else weights["weights"]
            return Need({}, weights | {"engine": awake})
        keys = self.keys * self._compute_size() * self.tokens * self.sequences
        options: dict[str, Any] = {
            "needs_ref": self.needs_ref,
            "reference": self.reference,
            "engine": self.engine,
            "card_bytes": self.card.size,
        }
        options |= {"keys_bytes": keys, "tokens": max(self.tokens, stage.micro_batch_tokens)}
        whole = memory.need(self.config, stage, **options)
        asks = stage.parallel == "fsdp2" or (stage.parallel == "auto" and not whole.fits(self.card.size))
        is_split = self.processes > 1 and stage.lora is None and asks
        return memory.need(self.config, stage, **options, processes=self.processes) if is_split else whole

    def vllm_share(self) -> float:
        return self.stage.engine.gpu_memory_utilization * self.card.size

    def vllm_least(self) -> float:
        """Bytes that vLLM's share must have: its weights and the keys of one sequence."""
        size = self._compute_size()
        weights = size * models.num_parameters(self.config) / self.stage.engine.tensor_parallel
        return weights + self.keys * size * self.tokens + VLLM_WORKING_BYTES

    def has_room_for_vllm(self) -> bool:
        return self.engine != "vllm" or self.vllm_share() >= self.vllm_least()

    def fits(self) -> bool:
        return self.has_room_for_vllm() and self.need().fits(self.card.size)

    def changed(self, processes: int | None = None, **knobs: Any) -> "Placement":
        stage = self.stage.model_copy(update=knobs)
        return replace(self, stage=stage, processes=processes or self.processes)

    def _compute_size(self) -> int:
        return 4 if self.stage.precision == "float32" else 2


def card_of(device: str | None) -> Card | None:
    """The card of that name, else the one at hand, if any. RecipeError for a name that is not known."""
    if device is not None:
        if device.lower() not in CARDS:
            raise RecipeError(f"--device: {device!r} is not known; use one of {', '.join(CARDS)}")
        return Card(device.lower(), CARDS[device.lower()] * GIB)
    if not torch.cuda.is_available():
        return None
    found = torch.cuda.get_device_properties(torch.cuda.current_device())
    return Card(found.name, found.total_memory)


def engine_of(stage: AnyStageConfig, config: PretrainedConfig) -> str:
    """The engine that the stage has on a GPU where everything is installed."""
    if stage.engine.kind != "auto":
        return stage.engine.kind
    return "vllm" if models.num_parameters(config) >= factory.VLLM_PARAMETERS else "local"


def lines(placed: Placement) -> list[str]:
    """The table, its sums, and the verdict."""
    need, card = placed.need(), placed.card
    phases = {"learning": need.update, "sampling": need.rollout}
    phases = {name: parts for name, parts in phases.items() if parts}
    several = f", each of {placed.processes} processes" if placed.processes > 1 else ""
    told = [f"memory on {card.name} ({card.size / GIB:.1f} GiB){several}, estimated GiB:"]
    told.append(f"  {'':<20}" + "".join(f"{name:>10}" for name in phases))
    for purpose in dict.fromkeys(purpose for parts in phases.values() for purpose in parts):
        sizes = [parts.get(purpose, 0) / GIB for parts in phases.values()]
        if max(sizes) >= SMALLEST_ROWS_GIB:
            told.append(f"  {purpose:<20}" + "".join(f"{size:>10.1f}" if size else f"{'-':>10}" for size in sizes))
    told.append(f"  {'sum':<20}" + "".join(f"{sum(parts.values()) / GIB:>10.1f}" for parts in phases.values()))
    if placed.fits():
        return [*told, f"it fits ({USABLE_SHARE:.0%} of the card counts)"]
    why = f"it does not fit: {_why(placed, need)}"
    remedies = list(_remedies(placed))
    if not remedies:
        return [*told, why, "nothing that is tried here does: take a smaller model, or a card with more memory"]
    return [*told, why, f"what fits: {'; or '.join(remedies)}"]


def _why(placed: Placement, need: Need) -> str:
    if not placed.has_room_for_vllm():
        share = placed.stage.engine.gpu_memory_utilization
        return (
            f"vLLM's share ({share:g} of the card, {placed.vllm_share() / GIB:.1f} GiB) is less than its weights and "
            f"one sequence's keys take, {placed.vllm_least() / GIB:.1f}"
        )
    return f"{need.peak / GIB:.1f} of {USABLE_SHARE * placed.card.size / GIB:.1f} GiB that can be used"


def _remedies(placed: Placement) -> Iterator[str]:
    """Changes that make it fit, as a command line takes them: of how it computes, an adapter, more processes."""
    if not isinstance(placed.stage, TrainStageConfig):
        if fitted := _with_share(placed):
            yield fitted[1]
        return
    if own := _least(placed):
        yield own
    if placed.stage.lora is None and (adapted := _least(placed.changed(lora=LoraConfig()))) is not None:
        yield f"lora={{rank: {LoraConfig().rank}}} {adapted}".rstrip()
    if placed.stage.lora is None and placed.stage.parallel != "ddp":
        for processes in PROCESSES:
            if processes > placed.processes and (shared := _least(placed.changed(processes))) is not None:
                yield f"--processes {processes} {shared}".rstrip()
                return


def _least(placed: Placement) -> str | None:
    """The fewest changes of how the stage computes that make it fit; "" where it fits as it is."""
    if placed.fits():
        return ""
    kept, less = placed.stage, []
    if isinstance(kept, TrainStageConfig) and not kept.activation_checkpointing:
        less.append(("activation_checkpointing=true", {"activation_checkpointing": True}))
    if isinstance(kept, TrainStageConfig) and kept.micro_batch_tokens > placed.tokens:
        less.append((f"micro_batch_tokens={placed.tokens}", {"micro_batch_tokens": placed.tokens}))
    for count in range(len(less) + 1):
        words = [word for word, _ in less[:count]]
        changed = placed.changed(**{key: value for _, knobs in less[:count] for key, value in knobs.items()})
        if changed.fits():
            return " ".join(words)
        if fitted := _with_share(changed):
            return " ".join([*words, fitted[1]])
    return None


def _with_share(placed: Placement) -> tuple[Placement, str] | None:
    """The same with the share of vLLM that the rest leaves, where that fits."""
    if placed.engine != "vllm":
        return None
    rest = sum(placed.need().rollout.values()) - placed.vllm_share()
    share = math.floor(100 * (USABLE_SHARE - rest / placed.card.size)) / 100
    share = min(share, 0.9)
    if share <= 0:
        return None
    engine = placed.stage.engine.model_copy(update={"gpu_memory_utilization": share})
    changed = placed.changed(engine=engine)
    return (changed, f"engine.gpu_memory_utilization={share:g}") if changed.fits() else None
