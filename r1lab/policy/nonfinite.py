"""Which problem and request made a loss that is not finite. Not what happens then (`r1lab.policy.policy`)."""

from collections.abc import Sequence

import numpy as np

from r1lab.records import PackedBatch, Sample


def blame(batch: PackedBatch, rows: dict[str, np.ndarray], samples: Sequence[Sample]) -> str:
    """Which problem and request made a loss that is not finite."""
    used_old = np.where(rows["scale"] != 0, rows["old"], 0.0)
    bad = np.flatnonzero(~np.isfinite(rows["logp"] + rows["entropy"] + used_old))
    if not len(bad):
        return (
            "the loss is not finite though the policy's log-probabilities are; the weights are unchanged "
            "(look at functions of your own under objective:)"
        )
    request = samples[batch.sequence.cpu().numpy()[bad[0]]].rollout.request
    return (
        f"the loss is not finite at problem {request.problem_id!r}, request {request.id}; the weights are unchanged "
        "(a smaller learning_rate or optimizer.grad_clip may help)"
    )
