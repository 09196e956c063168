"""The block of each step: read from the journal, sampled now, or sampled by a thread while the step before is learned
(`max_staleness: 1`).

    take(step, prompts) -> list[Settled]   on disk when it returns
    start(step, prompts)                   sample the next step's block meanwhile, with the weights that the engine has
    quiet()                                wait until it is on disk and nothing samples

Not how a block comes about (`r1lab.feed`), nor when weights go over (`r1lab.loop`). At `max_staleness: 0` there is
nothing to start or to wait for. A block's weights follow from its step alone, so that a run killed anywhere samples
again, or reads, what the unbroken run has.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from typing import Any

import numpy as np

from r1lab.distributed import ranks
from r1lab.errors import RunError
from r1lab.recipe import LearningStageConfig
from r1lab.records import Role, Rollout, Settled
from r1lab.rollout.protocol import FeedProtocol
from r1lab.run import journal
from r1lab.run.folder import RunFolder
from r1lab_data import Problem


class RolloutBuffer:
    """Blocks of one stage; its thread, where one runs, is the only one that uses the feed and its engine."""

    def __init__(
        self,
        stage: LearningStageConfig,
        run: RunFolder,
        feed: FeedProtocol,
        prompt_text: Callable[[Rollout], str],
        problem_of: Callable[[str], Problem],
        version: Callable[[], int],
    ):
        """`version()` is the policy's now: updates so far."""
        self.stage, self.run, self.feed = stage, run, feed
        self.prompt_text, self.problem_of, self.version = prompt_text, problem_of, version
        self.blocks: dict[int, Future[list[Settled]]] = {}
        """By step: what was started and not taken."""
        self.began = version()
        """The policy's version when the step taken last began; the block after it is sampled with that one."""
        self.paid_step = 0
        """Whose block the ledger holds already: it was sampled ahead of a step that did not come, then."""
        self.has_taken = self.is_over = False
        self.meeting = ranks.Meeting() if stage.max_staleness else nullcontext()

    def take(self, step: int, prompts: int) -> list[Settled]:
        """The step's block. RunError for a table of other weights than the schedule's."""
        if step in self.blocks:
            block = self.blocks.pop(step).result()
        elif ranks.first(self.run.rollouts(self.stage.name, step).exists):
            block = self._read(step)
        else:
            if self.due != self.version():
                self.run.note(f"stage {self.stage.name}: the block of step {step} was sampled with the newest weights: "
                              "none was sampled ahead where the stage ended before")  # fmt: skip
            block = self._sampled(step, prompts)
        self.has_taken, self.began = True, self.version()
        return block

    def start(self, step: int, prompts: int) -> None:
        """Begin to sample the block of a step, of 0 prompts none. What is on disk is not sampled again."""
        if not prompts or ranks.first(self.run.rollouts(self.stage.name, step).exists):
            return
        future = self.blocks[step] = Future()

        def sample() -> None:
            try:
                with self.meeting:
                    future.set_result(self._sampled(step, prompts))
            except BaseException as error:  # whatever it is, `quiet` raises it
                future.set_exception(error)

        threading.Thread(target=sample, name=f"step {step}", daemon=True).start()

    def quiet(self) -> None:
        """Wait for what was started; raises what befell it."""
        for future in self.blocks.values():
            future.result()

    def unused(self, step: int) -> list[Settled]:
        """The block that was sampled ahead of a step that does not come; empty where there is none. Should the stage go
        on after all, it is that step's, and paid."""
        if not self.stage.max_staleness or not ranks.first(self.run.rollouts(self.stage.name, step).exists):
            return []
        self.paid_step = step
        return self.blocks[step].result() if step in self.blocks else self._read(step)

    def unpaid(self, step: int, block: list[Settled]) -> list[Settled]:
        """What of the step's block is not on the ledger yet."""
        return [] if step == self.paid_step else block

    def close(self) -> None:
        """What still samples is of no use: an engine that is closed ends it."""
        self.is_over = True

    def state_dict(self) -> dict[str, Any]:
        return {"paid_step": self.paid_step, "began": self.began}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.paid_step, self.began = state["paid_step"], state["began"]

    @property
    def due(self) -> int:
        """The version that the schedule samples the block of the step to come with."""
        return self.began if self.stage.max_staleness else self.version()

    def _sampled(self, step: int, prompts: int) -> list[Settled]:
        """The block of a step, on disk."""
        block = self.feed.block(prompts)
        if not self.is_over:
            ranks.first(journal.write_block, self.run.rollouts(self.stage.name, step), block, self.prompt_text)
        return block

    def _read(self, step: int) -> list[Settled]:
        table = self.run.rollouts(self.stage.name, step)
        block = journal.read_block(table, self.problem_of)
        # The first step after a stage's end was raised has the newest weights, as `take` notes.
        due = {self.due} if self.has_taken else {self.due, self.version()}
        if other := versions_of(block) - due:
            raise RunError(
                f"{table}: its completions are of weights {min(other)}, and step {step} learns from those of weights "
                f"{max(due)}; remove it to sample the step anew"
            )
        return block


def versions_of(block: Sequence[Settled]) -> set[int]:
    """The versions that sampled a block's tokens; what was replayed of an earlier step aside."""
    members = [member for settled in block for member in settled.drawn.members if member.is_fresh]
    sampled = [member.rollout.version[Role.POLICY.at(member.rollout.role)] for member in members]
    return set(np.unique(np.concatenate(sampled)).tolist()) if sampled else set()
