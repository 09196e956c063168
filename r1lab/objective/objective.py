"""The eight axes of a stage as one object: plain data. Not how a recipe becomes one (`r1lab.objective.build`); what is
done with it stands in `samples` (groups to samples) and `loss` (samples to losses).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from r1lab import plugin
from r1lab.objective.entropy import Coefficient
from r1lab.objective.group import All
from r1lab.objective.step_credit import StepCredit
from r1lab.objective.term import Need, Term
from r1lab.records import Role


@dataclass(frozen=True, kw_only=True)
class Credit:
    """How advantages are changed once the step is scored; settings beside the advantage's own."""

    scale: str = "none"
    """A name of `credit.SCALES`."""
    include_demo: bool = False
    """Demonstrations are members of the group they are compared in; else their advantage is 1."""
    gamma: float = 1.0
    lam: float = 0.95
    """GAE's, like gamma."""
    value_coef: float = 0.5
    """Of the value head's loss."""
    value_rate: float = 10.0
    """The value head's learning rate, as a multiple of the policy's."""


@dataclass(frozen=True)
class KlTerm:
    """The distance to the reference model."""

    term: Term
    coef: float = 0.0
    where: str = "loss"
    """`loss`, or `reward`, where old log-probabilities stand for the policy's."""
    to_go: bool = True
    """In the reward: a token answers for all that follow it, else for itself."""
    ref_refresh_steps: int = 0
    """0: the reference stays the model the stage began with."""

    @property
    def in_loss(self) -> bool:
        return bool(self.coef) and self.where == "loss"

    @property
    def in_reward(self) -> bool:
        return bool(self.coef) and self.where == "reward"


@dataclass(frozen=True)
class Objective:
    """What a stage learns from a block of groups."""

    rule: All
    max_draws: int
    advantage: Term
    credit: Credit
    step_credit: StepCredit | None
    """How steps are credited; None where a completion has one advantage."""
    weight: Mapping[Role, Term]
    clip: tuple[float, float] | None
    """(low, high), or None where no weight clips."""
    clips_sequences: bool
    """Whether it is a sequence's mean ratio that is clipped, not a token's."""
    masks: tuple[Term, ...]
    kl: KlTerm
    entropy: Coefficient
    corrections: tuple[Term, ...]
    aggregate: Term
    mix: Callable[[Role, int], float]
    truncated: str

    @property
    def needs(self) -> frozenset[Need]:
        """What `policy.scores` computes before an update."""
        by_kl: tuple[Need, ...] = ("ref", "old") if self.kl.in_reward else ("ref",) if self.kl.coef else ()
        return frozenset(by_kl).union(*(term.needs for term in (self.advantage, *self.masks, *self.weight.values())))

    @property
    def waits(self) -> bool:
        """Whether advantages or masks read scores, so that every sample is scored before any can be left out."""
        return self.kl.in_reward or self.has_values or any(mask.scope == "batch" for mask in self.masks)

    @property
    def is_local(self) -> bool:
        """Whether a row's loss reads that row alone, so that the one-pass head may compute it."""
        terms = (*self.weight.values(), *self.corrections, *self.masks)
        return all(term.scope in ("token", "batch") for term in terms)

    @property
    def kappa(self) -> float | None:
        """The temperature of the second softmax that a weight reads, if any."""
        readers = [term for term in self.weight.values() if "logq" in term.takes]
        return plugin.settings_of(readers[0].fn)["kappa"] if readers else None

    @property
    def has_values(self) -> bool:
        """Whether a value head is learned."""
        return "values" in self.advantage.needs

    @property
    def needs_score(self) -> bool:
        """Whether something asks who is right, or shows demonstrations, which are paid what a right answer is."""
        asks = (
            hasattr(self.rule, "right") or getattr(self.rule, "by", "") == "score" or "scores" in self.advantage.takes
        )
        return asks or (self.rule.samples and self.rule.demonstrates)

    def mean_entropy(self, updates: Sequence[Mapping[str, np.ndarray]]) -> float | None:
        """Of the policy's tokens in the rows of a step's updates; None where there are none."""
        sampled = [rows["entropy"][Role.POLICY.at(rows["role"])] for rows in updates]
        entropies = np.concatenate(sampled) if sampled else np.zeros(0)
        return float(entropies.mean()) if entropies.size else None

    def observe(self, entropy: float | None) -> None:
        """The `mean_entropy` of a step that just ended."""
        self.entropy.observe(entropy)

    def state_dict(self) -> dict:
        return {"entropy": self.entropy.state_dict(), "rule": self.rule.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.entropy.load_state_dict(state["entropy"])
        self.rule.load_state_dict(state.get("rule", {}))
