"""Interfaces: of a feed to the training loop, and of verification to a feed. Not the engine's
(`r1lab.engines.protocol`)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from r1lab.records import Rollout, Settled
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

if TYPE_CHECKING:  # a recipe is checked without torch
    from r1lab.timing import Watch


class FeedProtocol(Protocol):
    """Groups of rollouts for each step: `r1lab.feed.Feed` samples them, `r1lab.rollout.sft.SftFeed` reads them."""

    watch: Watch

    def block(self, prompts: int) -> list[Settled]:
        """The groups of one step, `prompts` of them kept, in draw order."""
        ...

    def judging(self, block: Sequence[Settled]) -> tuple[int, int]:
        """Tokens that learned scorers read of a step's block, fresh or read back alike, and the FLOPs of it."""
        ...

    def observe(self, block: Sequence[Settled]) -> None:
        """Take note of the outcomes of a step's block, freshly sampled or read back from the journal."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class VerificationProtocol(Protocol):
    """Verifies rollouts: `r1lab.rollout.verification.Verification` does, in worker processes."""

    def submit(self, rollout: Rollout, problem: Problem) -> dict[str, Future[Verdict]]:
        """Start every verifier that is asked about the rollout, by name."""
        ...
