"""Bring the policy's weights to an engine, and check by log-probabilities that they arrived. Not how they travel, which
is `Engine.sync`'s.

An engine that repacks weights or fetches them from elsewhere can go on with old ones in some layer, or with keys that
the old ones made, and still sample plausible text. So after each sync of such an engine a fixed batch is sampled, and
scored by the policy too. One prompt is long: keys are reused by whole blocks, so a short one would not show them.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r1lab.distributed import ranks
from r1lab.distributed.partition import by_draw
from r1lab.engines.protocol import Engine, NamedTensors
from r1lab.errors import RunError
from r1lab.records import Request, RequestId, Rollout, Sample, Sampling
from r1lab.seeds import derive

BOUNDS = {torch.float32: 1e-4, torch.float16: 0.05, torch.bfloat16: 0.2}
"""Largest mean |log p of the policy - log p of the engine| by the narrower of their two types. In bfloat16 it is only a
net for gross faults: the two differ by 0.04 where nothing is wrong."""
PROMPT_TOKENS, NEW_TOKENS = (320, 33, 1), 8
"""Tokens of the batch's prompts, and of each completion."""


class ScorerProtocol(Protocol):
    """What a policy must offer for the check of a sync."""

    @property
    def temperature(self) -> float: ...

    @property
    def compute_dtype(self) -> torch.dtype: ...

    def score(self, samples: Sequence[Sample]) -> list[np.ndarray]: ...


class Trainer(ScorerProtocol, Protocol):
    """A policy whose adapter, where it has one, an engine may get in parts."""

    def named_parts(self, with_base: bool) -> NamedTensors: ...


class PolicyProtocol(Trainer, Protocol):
    """What an engine is opened for and gets its weights from: the policy in training, or a model as it stands."""

    @property
    def model(self) -> PreTrainedModel: ...

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase: ...

    @property
    def version(self) -> int: ...

    def named_tensors(self) -> NamedTensors: ...


def publish(engine: Engine | None, policy: PolicyProtocol) -> bool:
    """Bring the engine, where there is one, to the policy's weights; True where weights moved."""
    return engine is not None and send(engine, policy.named_tensors, policy.version, policy)


def send(
    engine: Engine, named_tensors: Callable[[], NamedTensors], version: int, trainer: Trainer | None = None
) -> bool:
    """Bring `engine` to `version`; True where weights moved. `named_tensors` is only called then.

    An engine that `takes_adapter` gets the trainer's adapter in their place and, once, the weights below it. With a
    `trainer`, an engine that says `has_own_layout` is probed: RunError where it scores otherwise.
    """
    if engine.version == version:
        return False
    engine.wake()
    if trainer is not None and engine.takes_adapter:
        engine.sync(trainer.named_parts(engine.version < 0), version)
    else:
        engine.sync(named_tensors(), version)
    if trainer is not None and engine.has_own_layout:
        probe(engine, version, trainer)
    return True


def probe(engine, version: int, trainer: ScorerProtocol) -> float:
    """Mean |log p of the policy - log p of the engine| on the fixed batch. RunError past its bound.

    Every rank's engine by every rank, where each has its own; of servers that all ranks share every one by all.
    """
    names = engine.shared_names or ("the engine",)
    requests = probe_requests(engine.vocabulary, engine.context, trainer.temperature, len(names))

    def sampled(asked: list[Request]) -> list[Rollout]:
        engine.submit(asked)
        rollouts = {rollout.request.id: rollout for rollout in engine.completed()}
        return [rollouts[request.id] for request in asked]

    if engine.shared_names:
        everyone = ranks.shared_out(requests, by_draw, sampled)
    else:
        everyone = [rollout for of_rank in ranks.gather(lambda: sampled(requests)) for rollout in of_rank]
    gaps = []
    for number, name in enumerate(names):
        its_own = [rollout for rollout in everyone if rollout.request.id.draw % len(names) == number]
        gaps.append(prove(its_own, version, trainer, engine.dtype, name))
    return sum(gaps) / len(gaps)


def prove(sampled: Sequence[Rollout], version: int, trainer: ScorerProtocol, dtype: torch.dtype, whose: str) -> float:
    """Mean gap of rollouts of the fixed batch by `whose` engine, which computes in `dtype`. RunError past its bound."""
    wrong = sorted({int(number) for rollout in sampled for number in rollout.version} - {version})
    if wrong:
        raise RunError(f"sync of version {version}: {whose} samples with version {wrong[0]}")
    gaps = np.concatenate([*map(np.abs, differences(sampled, trainer))])
    mean, bound = float(gaps.mean()), BOUNDS[min(dtype, trainer.compute_dtype, key=lambda kind: kind.itemsize)]
    if not mean <= bound:
        raise RunError(
            f"sync of version {version}: after it the log-probabilities of {whose} differ from the policy's by "
            f"{mean:.2g} on average (allowed is {bound:g}) and {gaps.max():.2g} at most; some of its weights or keys "
            "are not those sent"
        )
    return mean


def differences(rollouts: Sequence[Rollout], trainer: ScorerProtocol) -> list[np.ndarray]:
    """log p of the policy - log p of the engine, float64 [T] for each rollout."""
    nothing = [np.zeros(len(rollout.completion_ids), np.float32) for rollout in rollouts]
    samples = [Sample(rollout, rollout.role, zero, zero) for rollout, zero in zip(rollouts, nothing)]
    return [
        policy.astype(np.float64) - rollout.engine_logprobs for policy, rollout in zip(trainer.score(samples), rollouts)
    ]


def probe_requests(vocabulary: int, context: int, temperature: float, copies: int = 1) -> list[Request]:
    """The fixed batch, the same for every sync of a model: random tokens, from seeds of their own. Once for each of
    several copies of the weights: draw n is copy n mod `copies`'s."""
    requests = []
    for number, length in enumerate(PROMPT_TOKENS):
        seed = derive(0, "probe", number)
        tokens = np.random.default_rng(seed).integers(vocabulary, size=max(1, min(length, context - NEW_TOKENS)))
        sampling = Sampling(temperature, max_new_tokens=NEW_TOKENS)
        for copy in range(copies):
            name = RequestId("probe", number * copies + copy, 0)
            requests.append(Request(name, "-", tuple(tokens.tolist()), seed, sampling))
    return requests
