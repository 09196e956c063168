"""Records passed between the phases of a training step: small and frozen, arrays with their shapes.

T is the number of completion tokens of one rollout, P of its prompt, N the trained tokens of one micro-batch. `Problem`
is `r1lab_data.problem`'s, `Item` and `Verdict` are `r1lab_verifiers.verdict`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

if TYPE_CHECKING:  # a recipe is checked without torch
    from torch import Tensor

Ids = tuple[int, ...]
"""Token ids."""
Finish = Literal["eos", "stop", "length", "abort", "done", "turns", "context"]
"""Why a completion ended: by itself, at a stop string, at `max_new_tokens`, ended from outside. An episode of several
turns also because its environment said so, at `max_turns`, or where an observation no longer fitted."""
TRUNCATED = frozenset({"length", "turns", "context"})
"""Ends at a limit of ours."""
Steps = tuple[tuple[int, float], ...]
"""Where each step of a text ends, in characters, and its score."""


class Role(IntEnum):
    """Where a token comes from, which decides its loss function (`objective.weight`)."""

    POLICY = 0
    """Sampled by the policy."""
    DEMO = 1
    """Of a demonstration."""
    PREFIX = 2
    """Of a demonstration, put before a sampled rest."""
    PAIR = 3
    """Sampled, and trained as chosen or rejected (DPO)."""
    CONTEXT = 4
    """Part of the completion that is never trained: what an environment answered, a prefix that is only read."""

    def at(self, roles):
        """bool [T]: where an array or tensor holds this one; a member itself takes numpy six times as long."""
        return roles == self._value_


@dataclass(frozen=True)
class EvaluationSet:
    """A named list of held-out problems."""

    name: str
    problems: Sequence[Problem]


class Draw(NamedTuple):
    """One problem drawn for a step."""

    number: int
    """Unique in its stage: a problem drawn twice has two. Every stage walks its sources from the start."""
    problem: Problem
    group_size: int


class RequestId(NamedTuple):
    """Names a completion across tables, errors and engines."""

    purpose: str
    """`train/<stage>`, or `eval/<set>`."""
    draw: int
    index: int
    turn: int = 0
    """Of an episode; a rollout of several turns bears the id of the first."""

    def __str__(self):
        return f"{self.purpose}:{self.draw}:{self.index}" + (f":{self.turn}" if self.turn else "")


@dataclass(frozen=True)
class Sampling:
    """How one completion is sampled."""

    temperature: float = 1.0
    """0 is greedy; log-probabilities are then those of temperature 1."""
    top_p: float = 1.0
    top_k: int = 0
    """0: off."""
    min_p: float = 0.0
    max_new_tokens: int = 512
    """Tokens of the completion, forced ones included."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion once its text holds one, and leave `Rollout.text`."""
    stop_after: tuple[str, ...] = ()
    """Strings that end it too, and stay in `Rollout.text`."""

    @property
    def all_stops(self) -> tuple[str, ...]:
        return self.stop + self.stop_after


@dataclass(frozen=True)
class Asking:
    """What an evaluation asks for, whoever answers."""

    eval_set: EvaluationSet
    n: int
    """Completions a problem."""
    seed: int
    sampling: Sampling


@dataclass(frozen=True)
class Request:
    """One completion to sample."""

    id: RequestId
    problem_id: str
    prompt_ids: tuple[int, ...]
    """[P]"""
    seed: int
    sampling: Sampling
    forced_ids: tuple[int, ...] = ()
    """[F] ids that the completion begins with; never sampled, never stopped by."""
    forced_role: tuple[Role, ...] = ()
    """[F]"""


@dataclass(frozen=True)
class TurnRecord:
    """A turn of an episode: the model wrote, the environment answered."""

    end: int
    """Completion tokens up to the end of what the model wrote."""
    observed: int
    """Completion tokens up to the end of what was answered; equal to `end` where nothing was."""
    reward: float | None = None
    info: dict[str, Any] = field(default_factory=dict)
    """Plain data: `text` and `observation`, what was written and answered; what the environment notes; of the last turn
    also its `verdict`, and `failed` where that is laid on an episode whose environment failed."""


@dataclass(frozen=True, eq=False)
class Rollout:
    """One completion, token ids exactly as sampled; an episode of several turns is one, what it observed in it."""

    request: Request
    """Of an episode: that of its first turn."""
    completion_ids: tuple[int, ...]
    """[T], forced ids first, a sampled stop token included."""
    role: np.ndarray
    """int8 [T], `Role` values."""
    engine_logprobs: np.ndarray
    """float32 [T], of the temperature-scaled untruncated distribution; NaN exactly where role is not POLICY."""
    version: np.ndarray
    """int32 [T], the policy's version (optimizer updates so far) that wrote each token."""
    finish: Finish
    text: str
    """What the verifier reads: special tokens and what ended it removed, a prefilled think tag put back. Of an episode:
    the model's turns, joined by line breaks."""
    turns: tuple[TurnRecord, ...] = ()
    """Of an episode; empty where the problem has no environment."""

    @cached_property
    def num_sampled(self) -> int:
        """Tokens that the policy sampled: neither forced ones nor those of an environment; 0 of a demonstration."""
        return int(np.count_nonzero(Role.POLICY.at(self.role[len(self.request.forced_ids) :])))

    @property
    def num_trained(self) -> int:
        """Tokens that can be learned from: all but CONTEXT. Of a labelled completion all, which its scores read."""
        return len(self.role) if Role.PAIR.at(self.role).any() else int(np.count_nonzero(~Role.CONTEXT.at(self.role)))

    @property
    def length(self) -> int:
        """Tokens that count as its length: those that were sampled; of a demonstration those it is made of."""
        return self.num_sampled or self.num_trained

    @property
    def is_truncated(self) -> bool:
        """Whether it ended at a limit of ours."""
        return self.finish in TRUNCATED

    @property
    def failure(self) -> Verdict | None:
        """The verdict on an episode whose environment failed, whatever its verifiers would say."""
        last = self.turns[-1].info if self.turns else {}
        return Verdict(**last["verdict"]) if last.get("failed") else None

    @property
    def about_turns(self) -> dict[str, Any]:
        """What verifiers may read of an episode beside its text: `turns`, who said what; `environment`, its verdict."""
        if not self.turns:
            return {}
        said = [
            {"role": role, "content": turn.info[name]}
            for turn in self.turns
            for name, role in (("text", "assistant"), ("observation", "environment"))
            if turn.info.get(name) is not None
        ]
        return {"turns": said, "environment": self.turns[-1].info.get("verdict")}


@dataclass(frozen=True, eq=False)
class Scored:
    """A rollout with its verdicts and its reward."""

    rollout: Rollout
    verdict: Verdict | None
    """The problem's own verifier's; None for a demonstration, and where the problem has none."""
    reward: float | None
    """None where a part of it is an `error` or dropped: the rollout leaves its group before the baseline."""
    parts: dict[str, float] = field(default_factory=dict)
    """Each part as it was paid, weight included; they sum to `reward`."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """Verdicts behind the other parts of the reward, by name."""
    second: Verdict | None = None
    """Another verifier's, which decides nothing; None where it was not asked."""
    raw: dict[str, float | Steps] = field(default_factory=dict)
    """What learned scorers say, by the part of the reward, before weights."""
    steps: tuple[tuple[int, float], ...] | None = None
    """(end, score) of the steps that `objective.credit` reads, `end` in tokens; None where it reads none."""
    replayed_from: str = ""
    """The request that it was sampled for in an earlier step; empty where it is of this one."""

    @property
    def is_sampled(self) -> bool:
        """Whether a policy wrote it, and not the data."""
        return self.verdict is not None or bool(Role.POLICY.at(self.rollout.role).any())

    @property
    def paid(self) -> float:
        """The reward of a rollout that has one, as those have that a rule of groups sees."""
        assert self.reward is not None
        return self.reward

    @property
    def score(self) -> float:
        """What the verifier says of it, whatever is paid: 1 of a demonstration, 0 where there is no score."""
        return 1.0 if not self.is_sampled else (self.verdict and self.verdict.score) or 0.0

    @property
    def is_fresh(self) -> bool:
        """Whether it was sampled for this step: no demonstration, and not replayed."""
        return self.is_sampled and not self.replayed_from

    @property
    def failed(self) -> Verdict | None:
        """The `error` among the verdicts that are paid for, if there is one."""
        verdicts = (self.verdict, *self.verdicts.values())
        return next((each for each in verdicts if each is not None and each.status == "error"), None)


@dataclass(frozen=True, eq=False)
class Group:
    """The completions of one draw."""

    draw: Draw
    members: tuple[Scored, ...]


@dataclass(frozen=True, eq=False)
class Settled:
    """A group as drawn, and what the group rule decided. A step's block is a list of these, in draw order."""

    drawn: Group
    """Every completion drawn, errors included."""
    kept: Group | None
    """What is learned from; None where the group was dropped."""
    reason: str
    """`kept`, or why not."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One rollout ready to be learned from."""

    rollout: Rollout
    role: np.ndarray
    """int8 [T]; the rollout's, unless the group rule set another."""
    advantage: np.ndarray
    """float32 [T]"""
    scale: np.ndarray
    """float32 [T], mixing weight x mask / denominator: an update's loss is the plain sum over tokens of scale x their
    loss, however it is cut into micro-batches."""
    old: np.ndarray | None = None
    """float32 [T], log-probabilities that the ratio divides by: the trainer's before the block's first update,
    or the engine's (`old_logprobs: engine`). None where nothing reads the trainer's: one update a block, ratio 1."""
    ref: np.ndarray | None = None
    """float32 [T], the reference model's."""
    entropy: np.ndarray | None = None
    """float32 [T], the policy's before the block's first update, where something needs it."""
    values: np.ndarray | None = None
    """float32 [T], the value head's, like the entropy."""
    returns: np.ndarray | None = None
    """float32 [T], what the value head learns."""
    penalty: np.ndarray | None = None
    """float32 [T], coefficient of |logp - old|, where a mask gives one."""
    margin: np.ndarray | None = None
    """float32 [T], by how much the chosen completion of a pair has to lead; None where no loss reads it."""
    counted: np.ndarray | None = None
    """bool [T], tokens that sums over a sequence read; None: those whose scale is not 0."""
    reward: float = 0.0
    """What training pays for the rollout."""
    unit: int = 0
    """Number of the preference pair, 0: none. A pair is never split over micro-batches or ranks."""
    left_out: str = ""
    """`masked` or `zero_advantage` where its gradient is identically zero and it is not forwarded; else empty."""


class Segment(NamedTuple):
    """A prompt in a packed row and the completions right behind it: they see it and themselves, and nothing else."""

    prompt: int
    """Number of prompt tokens."""
    completions: tuple[int, ...]
    """Number of forwarded tokens of each completion: all but its last, which predicts nothing."""


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """One micro-batch: what is forwarded, and the rows [N] of trained tokens that index into it."""

    input_ids: Tensor
    """int64 [1, L], one packed row without padding; or [B, S], right-padded: causal attention never reads that."""
    position_ids: Tensor | None
    """int64 [1, L]; None where they count from 0 in every row."""
    segments: tuple[Segment, ...] | None
    """What a packed row consists of; None where each row is one sample."""
    hidden_index: Tensor
    """int64 [N] into the flattened hidden states: the position that predicts the row's target. Several rows may have
    one: the first tokens of all completions of a prompt."""
    sequence: Tensor
    """int64 [N], the sample's index in the update."""
    target: Tensor
    """int64 [N]"""
    role: Tensor
    """int64 [N]"""
    advantage: Tensor
    """float32 [N]"""
    scale: Tensor
    """float32 [N]"""
    engine: Tensor
    """float32 [N], engine_logprobs"""
    old: Tensor | None
    """float32 [N]"""
    ref: Tensor | None
    """float32 [N]"""
    unit: Tensor | None = None
    """int64 [N]; None where there are no units."""
    returns: Tensor | None = None
    """float32 [N]"""
    penalty: Tensor | None = None
    """float32 [N]"""
    margin: Tensor | None = None
    """float32 [N]"""
    counted: Tensor | None = None
    """bool [N]"""


class Scores(NamedTuple):
    """What the policy says of a completion before an update, float32 [T] each."""

    logp: np.ndarray
    entropy: np.ndarray | None
    """None where it was not asked for."""
    values: np.ndarray | None
    """None without a value head."""


class Learned(NamedTuple):
    """Loss and per-token figures of one micro-batch; `fault` says why its loss is not finite."""

    loss: float
    rows: dict[str, np.ndarray]
    tokens: int
    fault: str

    @property
    def outcome(self) -> Learned:
        """What every rank has of it."""
        return self._replace(rows={})


@dataclass(frozen=True, eq=False)
class Update:
    """What one optimizer step did, over its forwarded rows [N]."""

    loss: float
    grad_norm: float
    learning_rate: float
    forwarded_tokens: int
    """Prompt and completion tokens of the forwarded samples."""
    rows: dict[str, np.ndarray]
    """logp, entropy, old, ref (NaN without a reference), engine, advantage, scale: float32 [N]; role: int64 [N]. Of a
    reward model also score and lead, and NaN for what it has not. On rank 0; empty elsewhere."""
