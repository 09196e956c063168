"""Numbers that change over a run, as pure functions of the count of updates, steps or draws."""

import math


def learning_rate(update: int, *, peak: float, warmup: int, total: int, schedule: str) -> float:
    """Rate of update 0, 1, ...: linear warm-up to `peak`, then constant, or to 0 at `total` linearly or as a cosine."""
    if update < warmup:
        return peak * (update + 1) / warmup
    if schedule == "constant":
        return peak
    done = min(1.0, (update - warmup) / max(1, total - warmup))
    return peak * (1 - done) if schedule == "linear" else cosine(done, peak, 0.0)


def cosine(done: float, start: float, end: float) -> float:
    """From `start` at done = 0 to `end` at done = 1, and `end` from there on."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))


def warm_cosine(step: int, *, warmup: int, decay: int, peak: float, valley: float) -> float:
    """CHORD's mu at step 0, 1, ...: linear from 0 to `peak` over `warmup` steps, a cosine to `valley` over `decay`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return cosine((step - warmup) / max(1, decay), peak, valley)


def hint_probability(done: float, *, low: float = 0.05, high: float = 0.95) -> float:
    """UFT's chance of each chunk of the demonstration: low + (high - low) (1 + cos(pi done)) / 2, then 0."""
    return cosine(done, high, low) if done < 1 else 0.0
