"""What a policy says where it does not go on: a loss that is not finite, another reference than it began with."""

from collections.abc import Sequence

import numpy as np

from r1lab.errors import RunError
from r1lab.records import PackedBatch, Sample


def nonfinite_reason(batch: PackedBatch, rows: dict[str, np.ndarray], samples: Sequence[Sample]) -> str:
    """Which problem and request made a loss that is not finite."""
    used_old = np.where(rows["scale"] != 0, rows["old"], 0.0)
    bad = np.flatnonzero(~np.isfinite(rows["logp"] + rows["entropy"] + used_old))
    if not len(bad):
        return (
            "the loss is not finite though the policy's log-probabilities are; the weights are unchanged "
            "(look at functions of your own under objective:)"
        )
    request = samples[int(batch.sequence[bad[0]])].rollout.request
    return (
        f"the loss is not finite at problem {request.problem_id!r}, request {request.id}; the weights are unchanged "
        "(a smaller learning_rate or optimizer.grad_clip may help)"
    )


def refuse_other_reference(before: str, now: str) -> None:
    """RunError where a frozen reference's digest is not the one of the checkpoint."""
    if before != now:
        raise RunError(
            "the reference model is another one than the run began with: its weights have changed where the recipe "
            "names it; put them back, or start anew with another out="
        )
