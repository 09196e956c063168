"""Numbers that change over a run, as pure functions of the count of updates or steps."""

import math


def learning_rate(update: int, *, peak: float, warmup: int, total: int, schedule: str) -> float:
    """Rate of update 0, 1, ...: linear warm-up to `peak`, then constant, or to 0 at `total` linearly or as a cosine."""
    if update < warmup:
        return peak * (update + 1) / warmup
    if schedule == "constant":
        return peak
    done = min(1.0, (update - warmup) / max(1, total - warmup))
    return peak * (1 - done) if schedule == "linear" else peak * 0.5 * (1 + math.cos(math.pi * done))
